"""Valid and invalid values of the root keys."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from energyopt.config.root_keys import check_roots
from energyopt.config.trial_factory import TrialFactory
from energyopt.errors import ConfigError
from tests.composing import composed

WHOLE = "a whole number of at least 1"
NUMBER = "a number above 0"
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("key", "refused", "says"),
    [
        ("lr", [0, -1, INF, NAN, "fast", "0.1", True, None, [1]], NUMBER),
        ("epochs", [0, -1, INF, NAN, "3", None], NUMBER),
        ("target", [NAN, INF, -INF, "high", True, None], "a finite number"),
        (
            "monitor",
            ["", " ", "a\nb", "x" * 61, 3, True],
            "the name of a metric, such as val_loss, or null",
        ),
        ("mode", ["maximize", "MIN", "", 1, True], "min or max or null"),
        ("seed", [-1, 1.5, 2**63, None, True, "7"], "a whole number of at least 0"),
        ("batch_size", [0, -8, 16.0, "16", True, None, [16]], WHOLE),
        ("num_threads", [0, 1.5, None], WHOLE),
        ("n_trials", [0, 1.5, None, INF], WHOLE),
        ("n_jobs", [0, -1, None], WHOLE),
        ("eval_every", [0, 0.5, "never", False], f"{WHOLE} or null"),
        ("patience", [0, False, 2.0], f"{WHOLE} or null"),
        ("max_failures", [0, "all"], f"{WHOLE} or null"),
        ("trial_timeout_s", [0, -1, INF, NAN, "1", True], "a number of seconds above 0 or null"),
        ("search_budget_j", [0, -1, INF, NAN, "1", True], "a number of joules above 0 or null"),
        ("search_budget_s", [0, -1, INF, NAN, "1", True], "a number of seconds above 0 or null"),
        (
            "planned_trainings",
            [0, -1, INF, NAN, "often", True],
            "a number of trainings above 0 or null",
        ),
        (
            "report",
            ["cheap", 3, {"x": 1}],
            "a group of the keys carbon_g_per_kwh, currency, price_per_kwh, pue or null",
        ),
        ("report.pue", [0.9, INF, "1.2", True], "a number of at least 1 or null"),
        ("report.carbon_g_per_kwh", [-1, INF, NAN, "green"], "a number of at least 0 or null"),
        ("report.price_per_kwh", [-0.1, INF, "high"], "a number of at least 0 or null"),
        ("report.currency", ["", 3, True], "a word, such as EUR, or null"),
        ("trusted_targets", ["timm", None, [1], {"a": 1}], "a list of packages, such as [timm],"),
    ],
)
def test_a_root_key_holds_only_what_it_may(key, refused, says):
    config = composed()
    for value in refused:
        OmegaConf.update(config, key, value, merge=False)
        with pytest.raises(ConfigError) as caught:
            TrialFactory(config)
        assert str(caught.value) == f"{key}={value} is not allowed: {says} is needed"


@pytest.mark.parametrize("target", [0, -0.1, 1.01, 95])
@pytest.mark.parametrize("words", [(), ("monitor=accuracy",), ("monitor=accuracy", "mode=max")])
def test_the_target_of_an_accuracy_is_a_share(words, target):
    with pytest.raises(ConfigError, match=r"at most 1 is needed for an accuracy; .*monitor=val_"):
        _ = TrialFactory(composed(f"target={target}", *words)).monitor


def test_a_metric_has_a_name_and_a_direction():
    with pytest.raises(ConfigError, match=r"^monitor=val_loss needs mode=min"):
        TrialFactory(composed("monitor=val_loss"))
    with pytest.raises(ConfigError, match=r"^mode=min needs the name"):
        TrialFactory(composed("mode=min"))


def test_a_root_key_that_was_deleted_is_missed():
    with pytest.raises(ConfigError, match=r"^lr=None is not allowed"):
        TrialFactory(composed("~lr"))


@pytest.mark.parametrize(
    "words",
    [
        ("lr=1", "epochs=0.5", "target=1", "seed=0", "batch_size=1"),
        ("eval_every=null", "patience=null", "max_failures=null"),
        ("search_budget_j=1e-3", "search_budget_s=0.5", "planned_trainings=1"),
        (
            "report.pue=1",
            "report.carbon_g_per_kwh=0",
            "report.price_per_kwh=0",
            "report.currency=p",
        ),
        ("~report",),
        ("lr=1e-300", f"seed={2**63 - 1}", "trusted_targets=[]"),
        ("trusted_targets=[timm,torchvision]",),
    ],
)
def test_root_keys_at_their_limits(words):
    check_roots(composed(*words))


@pytest.mark.parametrize("word", ["lr=${nothing}", "lr=${oc.env:NO_SUCH_VARIABLE}"])
def test_a_root_key_that_cannot_be_resolved_is_named(word):
    with pytest.raises(ConfigError, match=r"^lr: .*(nothing|NO_SUCH_VARIABLE)"):
        TrialFactory(composed(word))
