"""Try the configured hardware as a trial would."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.energy import Energy
from energyopt.core.units import count, joules, quantity
from energyopt.doctor.checks import Checks
from energyopt.doctor.records import Check, Configured, Level
from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware.host import resolve_device
from energyopt.hardware.plausibility import check_meter
from energyopt.report.flags import REMEDIES

_CUDA_REMEDY = "install a CUDA build of torch that fits the driver, to train on the GPU"
_CORRECT = "change that; `python -m energyopt --cfg job` shows all keys, with their values"


def examine_configured(
    cfg: DictConfig,
    overrides: tuple[str, ...],
    folders: tuple[Path, ...],
    *,
    probe: bool,
    gpus: int,
) -> Configured:
    """Build the meter of a trial, leases included, and meter a short window.

    Args:
        cfg: The composed config.
        overrides: The overrides that it was composed with.
        folders: Folders whose modules it may name.
        probe: Check that its power limit may be set.
        gpus: Number of NVIDIA GPUs of this machine.
    """
    checks = Checks()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        # First: the trial may hide GPUs from CUDA, and `auto` would not see them any more.
        auto = checks.run("device", partial(resolve_device, "auto"), remedy="reinstall torch")
        result = checks.run(
            "energy", lambda: _try_trial(cfg, overrides, folders, probe=probe), remedy=_CORRECT
        )
    if result is None:
        result = Configured(overrides, measurable=False)
    checks += _verdict(result)
    # Torch reports a driver that is too old by a warning.
    texts = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    for text in texts:
        checks.add("note", "warning", " ".join(text.split()))
    if auto is not None:
        device = OmegaConf.select(cfg, "device", throw_on_resolution_failure=False)
        text = f"device=auto trains on {auto}"
        checks.add(
            "info", "device", text if device == "auto" else f"device={device} is configured; {text}"
        )
        if gpus and auto == "cpu":
            checks.add("note", "torch", _no_cuda(gpus), _CUDA_REMEDY)
    return replace(result, checks=tuple(checks))


def _try_trial(
    cfg: DictConfig, overrides: tuple[str, ...], folders: tuple[Path, ...], *, probe: bool
) -> Configured:
    """Build a trial as `energyopt` would, and meter a short window with it."""
    wait_s = cfg.hardware.lease_wait_s
    cfg.hardware.lease_wait_s = 0
    try:
        with TrialFactory(cfg, folders, repair=False) as factory:
            if probe:
                factory.check_limit()
            start = factory.start
            return Configured(
                overrides,
                measurable=True,
                device=factory.device,
                provenance=start.provenance,
                window=_meter_window(factory),
                gpus=start.machine.gpus if start.machine else (),
                flags=start.flags,
            )
    except GpusBusyError as error:
        reason = str(error).partition(": energy counters")[0]
        remedy = (
            f"ask again when it is free (a trial waits hardware.lease_wait_s={wait_s} s for it), "
            f"or choose {_other(error)}"
        )
        checks = (Check("note", "energy", f"not tried: {reason}", remedy),)
        return Configured(overrides, measurable=None, checks=checks)


def _other(error: GpusBusyError) -> str:
    """Return what else to choose: other GPUs, or for the one CPU of a machine another meter."""
    if "CPU packages" not in str(error):
        return "others with hardware.gpus=[...]"
    return "hardware.cpu=false" if "hardware.cpu=false" in str(error) else "hardware=estimate"


def _no_cuda(gpus: int) -> str:
    import torch

    return f"{count(gpus, 'NVIDIA GPU')} here, but torch {torch.__version__} sees no CUDA device"


def _meter_window(factory: TrialFactory) -> Energy:
    _initialize(factory.device)
    return check_meter(factory.meter) or Energy()


def _initialize(device: str) -> None:
    """Initialise a device: a meter then compares its GPU with the training one."""
    import torch

    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise HardwareError(
            f"torch cannot use {device}: {str(error).splitlines()[0]}; compare the driver with "
            "torch's build in the versions below, or choose device=cpu"
        ) from error


def _verdict(result: Configured) -> Sequence[Check]:
    if result.provenance is None or result.window is None:
        return result.checks
    checks = Checks()
    provenance, window = result.provenance, result.window
    gpus = ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in result.gpus)
    level: Level = "ok" if provenance.kind == "measured" else "note"
    source = f"{provenance.meter}{' of ' if gpus else ''}{gpus}"
    checks.add(level, f"{provenance.kind} by", source)
    checks.add("info", "scope", f"{provenance.scope}; {provenance.uncertainty}")
    reading = f"{joules(window.total_j)} in {quantity(window.time_s, 's')}"
    checks.add("ok", "tried", reading)
    for flag in result.flags:
        checks.refuse(
            "mind", f"{flag}: {REMEDIES[flag]}" if flag in REMEDIES else flag, level="note"
        )
    return checks
