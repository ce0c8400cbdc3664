"""The job of our own app: what a preflight says of the CPU packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from energyopt.config.trial_factory import TrialFactory
from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware import powercap
from energyopt.hardware.lease import PACKAGES, Lease
from energyopt.jobs.job import check_readiness
from tests import fake_rapl
from tests.composing import composed

WORDS = ("task=wine", "model=mlp", "hardware=rapl", "hardware.lease_wait_s=0")
BOTH = (fake_rapl.PACKAGE, fake_rapl.OTHER_PACKAGE)


def test_trials_that_read_the_cpu_packages_hold_them_one_at_a_time(tmp_path: Path):
    with fake_rapl.installed(tmp_path) as tree, tree.alive(*BOTH):
        with TrialFactory(composed(*WORDS)) as setup:
            ready = check_readiness(setup)
            with (
                TrialFactory(composed(*WORDS)) as rival,
                pytest.raises(GpusBusyError, match="CPU packages"),
            ):
                check_readiness(rival)
        assert (ready.max_parallel, ready.holds_packages, ready.gpu) == (1, True, "")
        assert ready.provenance.meter == "RAPL"
        assert Lease(PACKAGES).take()


def test_a_package_that_stands_still_ends_a_study_before_its_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(powercap, "STILL_S", 0.1)
    with (
        fake_rapl.installed(tmp_path) as tree,
        tree.alive(fake_rapl.PACKAGE),
        TrialFactory(composed(*WORDS)) as setup,
        pytest.raises(HardwareError, match=r"package-1 .* stands still"),
    ):
        check_readiness(setup)
