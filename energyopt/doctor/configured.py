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
    words: tuple[str, ...],
    folders: tuple[Path, ...],
    *,
    probe: bool,
    gpus: int,
) -> Configured:
    """Build the meter of a trial, leases included, and meter a short window.

    Args:
        cfg: The composed config.
        words: The overrides that led to it.
        folders: Folders whose modules it may name.
        probe: Check that its power limit may be set.
        gpus: How many NVIDIA GPUs there are.
    """
    checks = Checks()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        # First: what the trial leaves visible to CUDA is what `auto` would see then.
        auto = checks.ask("device", partial(resolve_device, "auto"), remedy="reinstall torch")
        found = checks.ask(
            "energy", lambda: _try(cfg, words, folders, probe=probe), remedy=_CORRECT
        )
    if found is None:
        found = Configured(words, measurable=False)
    checks += _verdict(found)
    # Torch tells of a driver that is too old by a warning.
    told = dict.fromkeys(str(w.message) for w in warned if issubclass(w.category, UserWarning))
    for text in told:
        checks.add("note", "warning", " ".join(text.split()))
    if auto is not None:
        named = OmegaConf.select(cfg, "device", throw_on_resolution_failure=False)
        here = f"device=auto trains on {auto}"
        trains = here if named == "auto" else f"device={named} is configured; {here}"
        checks.add("info", "device", trains)
        if gpus and auto == "cpu":
            checks.add("note", "torch", _no_cuda(gpus), _CUDA_REMEDY)
    return replace(found, checks=tuple(checks))


def _try(
    cfg: DictConfig, words: tuple[str, ...], folders: tuple[Path, ...], *, probe: bool
) -> Configured:
    wait_s = cfg.hardware.lease_wait_s
    cfg.hardware.lease_wait_s = 0
    try:
        with TrialFactory(cfg, folders, repair=False) as setup:
            if probe:
                setup.check_limit()
            start = setup.start
            return Configured(
                words,
                measurable=True,
                device=setup.device,
                provenance=start.provenance,
                window=_window(setup),
                gpus=start.machine.gpus if start.machine else (),
                flags=start.flags,
            )
    except GpusBusyError as taken:
        says = str(taken).partition(": energy counters")[0]
        remedy = (
            f"ask again when it is free (a trial waits hardware.lease_wait_s={wait_s} s for it), "
            "or choose others with hardware.gpus=[...]"
        )
        checks = (Check("note", "energy", f"not tried: {says}", remedy),)
        return Configured(words, measurable=None, checks=checks)


def _no_cuda(gpus: int) -> str:
    import torch

    return f"{count(gpus, 'NVIDIA GPU')} here, but torch {torch.__version__} sees no CUDA device"


def _window(setup: TrialFactory) -> Energy:
    _begin(setup.device)
    return check_meter(setup.meter) or Energy()


def _begin(device: str) -> None:
    """Begin to use a device: then a meter compares its GPU with the one that trains."""
    import torch

    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise HardwareError(
            f"torch cannot use {device}: {str(error).splitlines()[0]}; compare the driver with "
            "torch's build in the versions below, or choose device=cpu"
        ) from error


def _verdict(found: Configured) -> Sequence[Check]:
    if found.provenance is None or found.window is None:
        return found.checks
    checks = Checks()
    provenance, window = found.provenance, found.window
    where = ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in found.gpus)
    level: Level = "ok" if provenance.kind == "measured" else "note"
    source = f"{provenance.meter}{' of ' if where else ''}{where}"
    checks.add(level, f"{provenance.kind} by", source)
    checks.add("info", "scope", f"{provenance.scope}; {provenance.uncertainty}")
    spent = f"{joules(window.total_j)} in {quantity(window.time_s, 's')}"
    checks.add("ok", "tried", spent)
    for flag in found.flags:
        checks.refuse(
            "mind", f"{flag}: {REMEDIES[flag]}" if flag in REMEDIES else flag, level="note"
        )
    return checks
