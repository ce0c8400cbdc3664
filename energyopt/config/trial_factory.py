"""From a composed config to the objects of a trial, each built at its first use.

Constructors get the arguments that they name: a model with a parameter `input_shape` gets the
task's; a paradigm with `task` gets the data. What nothing uses is not built.
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from omegaconf import DictConfig, OmegaConf

from energyopt.config import prerequisites as sources
from energyopt.config.gpu_node import gpu_options
from energyopt.config.instantiate import Instantiator, error_context, plain
from energyopt.config.monitor import monitor_of
from energyopt.config.objective_factory import make_objective
from energyopt.config.root_keys import check_roots
from energyopt.core.calibration import Calibration, shape_of_work
from energyopt.core.energy import Energy
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.moved_code import as_stored
from energyopt.core.protocols import EnergyMeter, Objective, Paradigm, PretrainedModel, StoppingRule
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialStart
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import ConfigError, TrialError
from energyopt.training.plan import Plan

if TYPE_CHECKING:
    from energyopt.hardware.gpu_allocation import GpuAllocation
    from energyopt.hardware.gpu_options import GpuOptions
    from energyopt.hardware.power_limit import PowerLimit
    from energyopt.hardware.systems import System
    from energyopt.stopping.rules import Rules
    from energyopt.training.power_profiler import PowerProfiler
    from energyopt.training.pretraining import PretrainingSpec
    from energyopt.training.recorder import Recorder

_INJECTED_ROOTS = ("lr", "batch_size", "epochs", "target", "seed", "num_threads")
# Default where the objective or a teacher needs inference: ten update periods (100 ms) of a GPU's
# energy counter, so that its quantisation is at most 10 %.
_INFERENCE_S = 1.0
GROUPS = (
    *("task", "model", "paradigm", "optimizer", "scheduler", "hardware", "objective", "stopping"),
)


class TrialFactory:
    """All objects of one trial, each built when first asked for.

    Args:
        cfg: The composed config of a job.
        folders: Folders whose modules a config may name; the current one if empty.
        context: What a study passes to its job; empty outside of one.
        repair: Restore a power limit that a dead process left on the trial's GPUs.
        on_wait: Called with a text while the GPUs are held by another process.

    Raises:
        ConfigError: If the value of a root key is not allowed.
    """

    def __init__(
        self,
        cfg: DictConfig,
        folders: tuple[Path, ...] = (),
        *,
        context: RunContext = RunContext(),  # noqa: B008  # frozen
        repair: bool = True,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        check_roots(cfg)
        self._cfg = cfg
        self._context = context
        self._repair = repair
        self._on_wait = on_wait
        self._folders = folders or (Path.cwd(),)
        for folder in folders:
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
        self._pretrained: dict[str, PretrainedModel] = {}
        injected: Mapping[str, Callable[[], Any]] = {
            "task": lambda: self.task,
            "model": lambda: self.model,
            "make_model": lambda: self.make_model,
            "optimizer": lambda: self._instantiator.make("optimizer", cfg.optimizer),
            "scheduler": lambda: self._instantiator.make("scheduler", cfg.scheduler),
            "input_shape": lambda: self.task.input_shape,
            "num_classes": lambda: self.task.num_classes,
            "device": lambda: self.device,
            "gpus": lambda: self.gpus.boards,
            "cpu": lambda: self._gpu_options.cpu,
            "monitor": lambda: self.monitor,
            **{key: partial(cfg.__getitem__, key) for key in _INJECTED_ROOTS},
        }
        self._instantiator = Instantiator(self._folders, list(cfg.trusted_targets), injected)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the GPUs, and the CPU packages."""
        if "gpus" in self.__dict__:
            self.gpus.close()

    @property
    def device(self) -> str:
        """Training device: "cpu", "cuda:N" or "mps"."""
        return self.gpus.device

    @cached_property
    def gpus(self) -> GpuAllocation:
        """The GPUs that the trial holds from its first use on; empty where none is metered."""
        from energyopt.hardware.gpu_selection import claim
        from energyopt.hardware.host import resolve_device

        device, options = resolve_device(str(self._cfg.device)), self._gpu_options
        if self.calibration is not None:  # in a study, a GPU that is held must not fail a trial
            options = replace(options, lease_wait_s=math.inf)
        return claim(options, device, repair=self._repair, on_wait=self._on_wait)

    @cached_property
    def _gpu_options(self) -> GpuOptions:
        return gpu_options(self._cfg.hardware)

    @cached_property
    def system(self) -> System | None:
        """Published data of the system named in the config; None without a name."""
        node = self._cfg.hardware.get("system")
        return node and cast("System", self._instantiator.make("hardware.system", node))

    @property
    def calibration(self) -> Calibration | None:
        """Hardware measurements of the study's earlier trials; None outside of a study."""
        return self._context.calibration

    @cached_property
    def monitor(self) -> Monitor:
        """The metric: see `monitor_of`; in a study the study's, or it is refused."""
        monitor = monitor_of(self._cfg, self._instantiator.find)
        self._context.check_monitor(monitor)
        return monitor

    @cached_property
    def task(self) -> Any:
        """The data."""
        return self._instantiator.make("task", self._cfg.task)

    @cached_property
    def model(self) -> Any:
        """The network, freshly initialised."""
        return self._instantiator.make("model", self._cfg.model)

    def make_model(self, num_classes: int | None = None) -> Any:
        """Return another network of the same kind.

        Args:
            num_classes: Its number of outputs; the task's if None.
        """
        extra = {} if num_classes is None else {"num_classes": lambda: num_classes}
        return self._instantiator.make("model", self._cfg.model, extra)

    @cached_property
    def meter(self) -> EnergyMeter:
        """The energy meter; one of the CPU packages holds them from now on."""
        meter: EnergyMeter = self._instantiator.make("hardware.meter", self._cfg.hardware.meter)
        self.gpus.hold_packages_for(meter, self._on_wait)
        return meter

    @cached_property
    def objective(self) -> Objective:
        """The objective of the study."""
        return make_objective(self._instantiator, self._cfg.objective)

    @cached_property
    def rules(self) -> Mapping[str, StoppingRule]:
        """The stopping rules, by name."""
        node = self._cfg.stopping.rules
        if node is None:
            return {}
        if not isinstance(node, DictConfig):
            raise ConfigError(f"stopping.rules={node} is not rules by name; choose stopping=[...]")
        names = list(map(str, node))
        rules = {
            name: self._instantiator.make(f"stopping.rules.{name}", node[name]) for name in names
        }
        for name, rule in rules.items():
            if not hasattr(rule, "decide"):
                raise ConfigError(
                    f"stopping.rules.{name}._target_={node[name].get('_target_')} has no decide; "
                    "a rule has decide(progress, rivals)"
                )
        return rules

    @property
    def stopping(self) -> Rules | None:
        """The rules with the study's history; None without a history."""
        from energyopt.stopping.rules import Rules

        history = self._context.history
        return None if history is None else Rules(self.rules, history)

    @property
    def plan(self) -> Plan:
        """The limits of the training, and its evaluation interval."""
        cfg = self._cfg
        return Plan(
            target=cfg.target,
            epochs=cfg.epochs,
            max_samples=cfg.max_samples,
            eval_every=cfg.eval_every,
            patience=cfg.patience,
            stop_at_target=self.objective.stops_at_target,
            pause_at_j=self._context.pause_at_j,
            inference_s=self._inference_s,
            test_at_end=self._cfg.test_at_end,
        )

    @property
    def _inference_s(self) -> float | None:
        """Seconds of inference to meter; a default where the objective or a teacher needs it."""
        inference_s: float | None = self._cfg.inference_s
        needed = getattr(self.objective, "needs_inference", False) or "teacher" in self.sources
        return _INFERENCE_S if inference_s is None and needed else inference_s

    @property
    def start(self) -> TrialStart:
        """The record of the trial's start, with the current settings of the GPUs."""
        from energyopt.hardware.auto import condition_flags
        from energyopt.hardware.unused_gpu import unused_gpu_flags

        machine = self.gpus.machine()
        mismatches = () if self.system is None else self.system.flags(machine.gpus)
        flags = (*condition_flags(self.meter, self.device), *self.gpus.flags, *mismatches)
        unused = unused_gpu_flags(self._gpu_options, str(self._cfg.device), self.device)
        return TrialStart(
            target=self._cfg.target,
            epochs=self._cfg.epochs,
            seed=self._cfg.seed,
            provenance=self.meter.provenance,
            flags=(*flags, *unused),
            machine=machine,
            quality_periods=tuple(self._gpu_options.quality_periods),
            monitor=self.monitor,
        )

    def check_limit(self) -> None:
        """Check that the power limit can be set, and that the meter would see its effect.

        Raises:
            ConfigError: If this meter would not see it.
            PowerLimitRefusedError: If it is out of range, or may not be set.
        """
        self.gpus.check_limit_is_metered(self.meter.provenance)
        self.gpus.check_limit()

    def limited(self) -> AbstractContextManager[PowerLimit | None]:
        """Hold the configured power limit; see `GpuAllocation.limited`.

        Raises:
            ConfigError: If this meter would not see it.
        """
        self.gpus.check_limit_is_metered(self.meter.provenance)
        return self.gpus.limited()

    def profiler(
        self, limit: PowerLimit | None, chosen_w: float | None = None
    ) -> PowerProfiler | None:
        """Return the profiler of power limits, or set the limit of an earlier profile.

        Args:
            limit: The limit to change; None if it may not be changed.
            chosen_w: The limit that a resumed trial had before its pause, in W.

        Returns:
            None if no profiling is needed.
        """
        options = self._gpu_options
        if limit is None or not options.profiles:
            return None
        if chosen_w is not None:
            limit.set(chosen_w)
            return None
        from energyopt.training.power_profiler import profiler_for

        shape = shape_of_work(
            self.gpus.boards[0].name,
            plain("model", self._cfg.model),
            self._cfg.batch_size,
            sources.without(plain("paradigm", self._cfg.paradigm), self.sources),
        )
        return profiler_for(self.gpus, options, limit, shape, self.calibration)

    def make_paradigm(self) -> Paradigm:
        """Load the data and build the paradigm, from the seed."""
        import numpy as np
        import torch

        torch.set_num_threads(self._cfg.num_threads)
        torch.manual_seed(self._cfg.seed)
        random.seed(self._cfg.seed)  # our code draws from neither; a user's may
        np.random.seed(self._cfg.seed % 2**32)  # noqa: NPY002
        paradigm = self._instantiator.make(
            "paradigm", self._paradigm_node(), self._pretrained_arguments()
        )
        missing = [
            name for name in ("epoch_samples", "train", "evaluate") if not hasattr(paradigm, name)
        ]
        if missing:
            raise ConfigError(
                f"paradigm._target_={self._cfg.paradigm.get('_target_')} has no "
                f"{', '.join(missing)}; a paradigm has epoch_samples, train(samples) and evaluate()"
            )
        return cast(Paradigm, paradigm)

    @cached_property
    def sources(self) -> Mapping[str, DictConfig]:
        """The paradigm's `source` and `teacher` nodes, by name: see `prerequisites.nodes`."""
        return sources.nodes(self._cfg.paradigm)

    def learn(self, recorder: Recorder) -> None:
        """Get the models that the paradigm starts from: trained now, cached, or read from a file.

        Args:
            recorder: The trial's recorder, which records the energy used.

        Raises:
            ConfigError: If a model cannot be built, or its weights do not fit.
        """
        from energyopt.training.pretraining import train_or_load

        reuse = self._check_sources()
        for name, node in self.sources.items():
            child = self._child(name, node)
            if node.weights is not None:
                state, upfront = self._read(name, node)
            else:
                if self.meter.provenance.kind == "replayed":
                    raise ConfigError(
                        f"paradigm.{name}: hardware=replay plays one training back, and not that "
                        f"of its {name}; give its weights: paradigm.{name}.weights=..."
                    )
                folder = self._folders[0] / str(self._cfg.knowledge)
                with error_context(f"paradigm.{name}"):
                    state, upfront = train_or_load(child.course(name), folder, recorder)
            self._pretrained[name] = PretrainedModel(state, partial(child.model_with, state))
            recorder.add_upfront_cost(replace(upfront, reuse=reuse))

    def build_without_pretraining(self) -> None:
        """Build everything with untrained prerequisites, to fail early."""
        self._check_sources()
        for name, node in self.sources.items():
            child = self._child(name, node)
            with error_context(f"paradigm.{name}"):
                if node.weights is not None:
                    state, _ = self._read(name, node)
                else:
                    child.make_paradigm()
                    state = child.model.state_dict()
                self._pretrained[name] = PretrainedModel(state, partial(child.model_with, state))

    def _check_sources(self) -> float:
        """Check the prerequisites. Returns the number of trainings that share them."""
        for name, node in self.sources.items():
            sources.given_j(name, node)
        return sources.reuse(self._cfg.paradigm)

    def course(self, name: str) -> PretrainingSpec:
        """Return the specification of this training as the pretraining of another."""
        import torch

        from energyopt.training.pretraining import PretrainingSpec

        cfg, start = self._cfg, self.start
        keys = ("task", "model", "optimizer", "paradigm")
        spec = {key: plain(key, cfg[key]) for key in keys}
        spec |= {key: cfg[key] for key in ("lr", "batch_size", "epochs", "target", "seed")}
        if self.monitor != ACCURACY:  # entries from before other metrics existed stay valid
            spec["monitor"] = asdict(self.monitor)
        spec |= {"num_threads": cfg.num_threads, "device": self.device.partition(":")[0]}
        spec |= {"joules": start.provenance.binding, "torch": str(torch.__version__)}
        plan = Plan(target=cfg.target, epochs=cfg.epochs, stop_at_target=True)
        return PretrainingSpec(
            name, as_stored(spec), self.make_paradigm, self.meter, plan, start, self.gpus
        )

    def model_with(self, state: Mapping[str, Any]) -> Any:
        """Return the network with the given weights.

        Raises:
            ConfigError: If they do not fit.
        """
        from energyopt.paradigms._backbone import load_all

        model = self.make_model()
        load_all(model, state)
        return model

    def _child(self, name: str, node: DictConfig) -> TrialFactory:
        """Return the factory of a prerequisite's training."""
        with error_context(f"paradigm.{name}"):
            child = TrialFactory(
                sources.config_of(self._cfg, name, node), self._folders, repair=False
            )
            child.monitor  # noqa: B018  # checks the target
        child.gpus = self.gpus
        # A simulated meter counts energy by batch, and the child has its own batch size.
        if "batch_size" not in inspect.signature(type(self.meter)).parameters:
            child.meter = self.meter
        return child

    def _read(self, name: str, node: DictConfig) -> tuple[Any, UpfrontCost]:
        from energyopt.training.pretraining import read_weights

        path = self._folders[0] / str(node.weights)
        state, file_digest = read_weights(path, f"paradigm.{name}.weights")
        given_j = sources.given_j(name, node)
        upfront = UpfrontCost(
            name, "loaded", Energy(), given_j=given_j, fresh=False, digest=file_digest
        )
        return state, upfront

    def _paradigm_node(self) -> Any:
        """Return the paradigm's node without the keys that its constructor does not take."""
        if not self.sources:
            return self._cfg.paradigm
        options = plain("paradigm", self._cfg.paradigm)
        return OmegaConf.create(sources.without(options, self.sources))

    def _pretrained_arguments(self) -> dict[str, Callable[[], Any]]:
        missing = sorted(self.sources.keys() - self._pretrained.keys())
        if missing:
            raise TrialError(f"the {missing[0]} was not trained before the paradigm was built")
        return {name: partial(self._pretrained.__getitem__, name) for name in self._pretrained}
