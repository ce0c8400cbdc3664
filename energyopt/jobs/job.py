"""What a job of our own app does: compose a config, train once, judge the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from energyopt.config.trial_factory import Setup
from energyopt.core.journal import NAME, JournalWriter
from energyopt.core.protocols import Paradigm
from energyopt.core.trial_result import Outcome, Provenance, TrialResult, TrialStart
from energyopt.errors import ConfigError, HardwareError, TrialError
from energyopt.hardware.plausibility import check_meter
from energyopt.objectives import judge
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import Keep, Resumed, keep_in, load
from energyopt.training.trial import run_trial
from energyopt.utils.paths import conf_dir

PREFLIGHT = "preflight"
"""Config key of a job that only builds everything and says where its joules would come from."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a preflight job found.

    Attributes:
        provenance: Where the joules will come from.
        flags: What is doubtful about them, as short words.
        gpu: Model of the GPUs that a trial holds; empty where none is held.
        rivals: How many trials can have GPUs at the same time; None where none is held.
        limit_w: The power limit in force, in W; None without GPUs.
        limits_w: The lowest and the highest that can be set, in W; None likewise.
    """

    provenance: Provenance
    flags: tuple[str, ...] = ()
    gpu: str = ""
    rivals: int | None = None
    limit_w: float | None = None
    limits_w: tuple[float, float] | None = None


_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def job(cfg: DictConfig) -> Outcome | Readiness:
    """One job of a study.

    Returns:
        What is told to the study; for a preflight job what it found.

    Raises:
        EnergyoptError: If the setup cannot be built or metered.
    """
    if cfg.get(PREFLIGHT):
        with Setup(cfg, config_folders()) as setup:
            return check_readiness(setup)
    journal, resumed = _taken_up(journal_path(), resume=bool(cfg.stopping.resume))
    keep = keep_in(journal_path().with_name(PAUSED))
    with Setup(cfg, config_folders(), on_wait=journal.began) as setup:
        return judge(train(setup, journal, keep=keep, resumed=resumed), setup.objective)


def _taken_up(path: Path, *, resume: bool) -> tuple[JournalWriter, Resumed | None]:
    """The journal of a trial that begins, or goes on from where it paused."""
    if not resume:
        return JournalWriter(path, again=True), None
    state = load(path.with_name(PAUSED))
    journal = JournalWriter(path, again=True, samples=state["samples"])
    if journal.resumed is None:
        raise TrialError(f"the paused trial cannot go on: {path} does not say what it measured")
    return journal, Resumed(journal.resumed, state)


def check_readiness(setup: Setup) -> Readiness:
    """Build everything and train nothing."""
    setup.check_limit()
    _ = setup.rules  # what cannot be built is known now
    start = setup.start
    setup.assume()
    setup.make_paradigm()
    check_meter(setup.meter)
    gpus = start.machine.gpus if start.machine else ()
    lows = [gpu.min_limit_w for gpu in gpus if gpu.min_limit_w is not None]
    highs = [gpu.max_limit_w for gpu in gpus if gpu.max_limit_w is not None]
    if highs and setup.rig.options.max_power_limit_w is not None:
        highs.append(setup.rig.options.max_power_limit_w)
    return Readiness(
        provenance=start.provenance,
        flags=start.flags,
        gpu=gpus[0].name if gpus else "",
        rivals=setup.rig.rivals,
        limit_w=start.machine.limit_w if start.machine else None,
        limits_w=(max(lows), min(highs)) if lows and highs else None,
    )


def train(
    setup: Setup,
    journal: JournalWriter,
    *,
    make_paradigm: Callable[[], Paradigm] | None = None,
    began: Callable[[TrialStart], None] | None = None,
    keep: Keep | None = None,
    resumed: Resumed | None = None,
) -> TrialResult:
    """Train one setup, with its progress in a journal.

    Args:
        setup: What to train.
        journal: Where its progress is kept.
        make_paradigm: Builds what is trained; the setup's own way if None.
        began: Is told what is known beforehand.
        keep: Keeps what it takes to go on after a pause; None never pauses.
        resumed: The pause that it goes on from, at the power limit that it had.
    """
    with setup.limited() as limit:
        chosen_w = resumed.record.conditions.limit_w if resumed else None
        profiler = setup.profiler(limit, chosen_w)
        start = setup.start
        if began is not None:
            began(start)
        return run_trial(
            make_paradigm or setup.make_paradigm,
            setup.meter,
            setup.plan,
            start,
            journal,
            rig=setup.rig,
            known=setup.known,
            profiler=profiler,
            rules=setup.stopping,
            keep=keep,
            resumed=resumed,
            learn=setup.learn if setup.sources else None,
        )


def journal_path() -> Path:
    """The journal of the Hydra job that runs here."""
    return Path(HydraConfig.get().runtime.output_dir) / NAME


def config_folders(config: DictConfig | None = None) -> tuple[Path, ...]:
    """The folders whose modules a config may name: where the command ran, and --config-dir.

    Args:
        config: A config with its hydra node; the running job's if None.
    """
    hydra = HydraConfig.get() if config is None else config.hydra
    given = [
        Path(source.path)
        for source in hydra.runtime.config_sources
        if source.provider == "command-line" and source.schema == "file"
    ]
    return (Path(hydra.runtime.cwd), *given)


def compose_here(words: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """The config of a training that no Hydra job runs.

    Args:
        words: Overrides.
        config_dir: A folder of the user's own configs.

    Raises:
        ConfigError: If there is no such folder.
    """
    search = []
    if config_dir is not None:
        if not config_dir.is_dir():  # Hydra only warns
            raise ConfigError(
                f"--config-dir {config_dir} is not a folder; give that of your configs"
            )
        search.append(f"hydra.searchpath=[file://{config_dir.resolve()}]")
    with initialize_config_dir(
        version_base="1.3", config_dir=str(conf_dir()), job_name="energyopt"
    ):
        return compose("config", overrides=[*words, *search])


def folders_here(config_dir: Path | None = None) -> tuple[Path, ...]:
    """The folders whose modules such a config may name: the current one, and its own."""
    here = Path.cwd()
    return (here,) if config_dir is None else (here, config_dir.resolve())


def warm_up(config: DictConfig) -> None:
    """Pay once what each forked trial would pay again: imports, and the first optimizer.

    With one thread: a server warmed with two deadlocks children that use two.

    Args:
        config: The multirun's own.
    """
    import torch

    torch.set_num_threads(1)
    import energyopt.models.cnn
    import energyopt.paradigms.scratch
    import energyopt.tasks.digits  # noqa: F401  # imported for the forked trials
    from energyopt.hardware.software import package_versions

    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    package_versions()
    if _meters_gpus(config):
        from energyopt.hardware.zeus import preload

        preload()


def restore_limits(wait_s: float = 0.0) -> list[str]:
    """Put back the power limits that killed jobs left; what was done, in sentences.

    Args:
        wait_s: How long to wait for jobs that are about to die, in s.
    """
    from energyopt.hardware.power_limit_recovery import restore_all

    try:
        return [str(restored) for restored in restore_all(wait_s=wait_s)]
    except HardwareError as error:
        return [str(error)]


def _meters_gpus(config: DictConfig) -> bool:
    """Whether jobs will meter GPUs; a study on an estimate never imports zeus."""
    gpus = OmegaConf.select(config, "hardware.gpus")
    # Not by asking the driver: what a fork inherits of that is of no use.
    return any(map(Path.exists, _GPU_DEVICES)) if gpus == "auto" else gpus is not None
