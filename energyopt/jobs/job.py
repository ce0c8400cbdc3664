"""The job of our own app: build a configuration, train once, judge the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.journal import NAME, JournalWriter
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.outcome import outcome_of
from energyopt.core.protocols import Paradigm
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import Provenance, TrialResult, TrialStart
from energyopt.errors import HardwareError, TrialError
from energyopt.hardware.plausibility import check_meter
from energyopt.jobs.app_config import config_folders
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import Keep, ResumeState, check_same, load, save_to
from energyopt.training.trial import run_trial
from energyopt.utils.garbage import without_collection


@dataclass(frozen=True, slots=True)
class Readiness:
    """The result of a preflight job.

    Attributes:
        provenance: Where the joules will come from.
        flags: Warnings about them, as short words.
        gpu: Model of the GPUs that a trial holds; empty where none is held.
        max_parallel: Number of trials that can hold their counters at the same time; None where
            none is held.
        holds_packages: Whether a trial holds the CPU packages.
        limit_w: The power limit in force, in W; None without GPUs.
        limits_w: The lowest and the highest limit that can be set, in W; None without GPUs.
        monitor: The metric of its evaluations.
    """

    provenance: Provenance
    flags: tuple[str, ...] = ()
    gpu: str = ""
    max_parallel: int | None = None
    holds_packages: bool = False
    limit_w: float | None = None
    limits_w: tuple[float, float] | None = None
    monitor: Monitor = ACCURACY


_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def job(cfg: DictConfig) -> Outcome | Readiness:
    """Run one job of a study.

    Returns:
        The outcome for the study; for a preflight job its readiness.

    Raises:
        EnergyoptError: If the configuration cannot be built or metered.
    """
    context = RunContext.from_environment()
    if context.preflight:
        with TrialFactory(cfg, config_folders(), context=context) as setup:
            return check_readiness(setup)
    journal, resumed = _open_journal(journal_path(), resume=context.resume)
    keep = save_to(journal_path().with_name(PAUSED))
    with (
        TrialFactory(cfg, config_folders(), context=context, on_wait=journal.began) as setup,
        ready_trial(setup, journal, keep=keep, resumed=resumed) as trial,
    ):
        return outcome_of(trial.train(), setup.objective)


def _open_journal(path: Path, *, resume: bool) -> tuple[JournalWriter, ResumeState | None]:
    """Open the journal of a trial that begins, or that resumes from where it paused."""
    if not resume:
        return JournalWriter(path, is_rerun=True), None
    state = load(path.with_name(PAUSED))
    pause_point = {
        "pause": state.get("pause"),
        "samples": state["samples"],
    }  # states from older versions have no number
    journal = JournalWriter(path, is_rerun=True, **pause_point)
    if journal.resumed is None:
        raise TrialError(f"the paused trial cannot go on: {path} does not say what it measured")
    check_same(path.with_name(PAUSED), journal.resumed.at)
    return journal, ResumeState(journal.resumed, state)


def check_readiness(setup: TrialFactory) -> Readiness:
    """Build everything and train nothing."""
    setup.check_limit()
    _ = setup.rules  # builds them: a mistake must show now
    start = setup.start
    setup.build_without_pretraining()
    setup.make_paradigm()
    check_meter(setup.meter)
    gpus = start.machine.gpus if start.machine else ()
    lows = [gpu.min_limit_w for gpu in gpus if gpu.min_limit_w is not None]
    highs = [gpu.max_limit_w for gpu in gpus if gpu.max_limit_w is not None]
    if highs and setup.gpus.options.max_power_limit_w is not None:
        highs.append(setup.gpus.options.max_power_limit_w)
    return Readiness(
        provenance=start.provenance,
        flags=start.flags,
        gpu=gpus[0].name if gpus else "",
        max_parallel=setup.gpus.max_parallel,
        holds_packages=setup.gpus.holds_packages,
        limit_w=start.machine.limit_w if start.machine else None,
        limits_w=(max(lows), min(highs)) if lows and highs else None,
        monitor=start.monitor,
    )


@dataclass(slots=True)
class ReadyTrial:
    """A trial that can begin: its GPUs are held, its power limit is set.

    Attributes:
        start: The record of the trial's start.
        train: Trains it; see `run_trial`.
        paradigm: The trained paradigm, once it is built.
    """

    start: TrialStart
    train: Callable[[], TrialResult]
    paradigm: Paradigm | None = None


@contextmanager
def ready_trial(
    setup: TrialFactory,
    journal: JournalWriter,
    *,
    keep: Keep | None = None,
    resumed: ResumeState | None = None,
) -> Iterator[ReadyTrial]:
    """Hold the GPUs and the power limit of a trial from before its first window to after its last.

    The caller calls its `train` directly, so that the stack of a training is short.

    Args:
        setup: Builds the objects of the trial.
        journal: Records its progress.
        keep: Saves the training state at a pause; None never pauses.
        resumed: The pause from which it resumes, at the power limit of that time.
    """

    def make_paradigm() -> Paradigm:
        trial.paradigm = setup.make_paradigm()
        return trial.paradigm

    with setup.limited() as limit:
        chosen_w = resumed.record.conditions.limit_w if resumed else None
        profiler = setup.profiler(limit, chosen_w)
        start = setup.start
        train = partial(
            run_trial,
            make_paradigm,
            setup.meter,
            setup.plan,
            start,
            journal,
            gpus=setup.gpus,
            calibration=setup.calibration,
            profiler=profiler,
            rules=setup.stopping,
            keep=keep,
            resumed=resumed,
            learn=setup.learn if setup.sources else None,
        )
        trial = ReadyTrial(start, train)
        yield trial


def journal_path() -> Path:
    """Return the path of the journal of the Hydra job that runs in this process."""
    return Path(HydraConfig.get().runtime.output_dir) / NAME


@without_collection()
def warm_up(config: DictConfig) -> str | None:
    """Do once what each forked trial would repeat: imports, and the first optimizer.

    One thread only: a server warmed with two threads deadlocks children that use two.

    Args:
        config: The multirun's own config.

    Returns:
        None: jobs may be forked then.
    """
    import torch

    torch.set_num_threads(1)
    import energyopt.models.cnn
    import energyopt.paradigms.scratch
    import energyopt.tasks.digits  # noqa: F401  # imported for the forked trials
    from energyopt.hardware.host import package_versions

    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    package_versions()
    if _meters_gpus(config):
        from energyopt.hardware.zeus import preload

        preload()
    return None


def restore_limits(wait_s: float = 0.0) -> list[str]:
    """Restore the power limits that killed jobs left. Returns a sentence for each change.

    Args:
        wait_s: Time to wait for jobs that are about to die, in s.
    """
    from energyopt.hardware.power_limit_recovery import restore_all

    try:
        return [str(restored) for restored in restore_all(wait_s=wait_s)]
    except HardwareError as error:
        return [str(error)]


def _meters_gpus(config: DictConfig) -> bool:
    """Return True if jobs will meter GPUs; a study with estimates never imports zeus."""
    gpus = OmegaConf.select(config, "hardware.gpus")
    # The driver is not queried: its state would be useless in a fork.
    return any(map(Path.exists, _GPU_DEVICES)) if gpus == "auto" else gpus is not None
