"""From a composed config to the objects of a trial, each built when it is first asked for.

An option gets from here what its constructor names: a model that takes `input_shape` is told
the task's; a paradigm that takes `task` gets the data. What is not asked for is not built.
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from omegaconf import DictConfig, OmegaConf

from energyopt.config import prerequisites as sources
from energyopt.config.instantiate import Instantiator, plain, saying, value
from energyopt.config.objective_factory import make_objective
from energyopt.config.root_keys import check_roots
from energyopt.core.calibration import Calibration, digest, shape_of_work
from energyopt.core.energy import Energy
from energyopt.core.protocols import EnergyMeter, Objective, Paradigm, PretrainedModel, StoppingRule
from energyopt.core.run_context import RunContext
from energyopt.core.target_names import as_stored
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

_NO_RIG_OPTIONS = ("meter", "system")
_OFFERED_ROOTS = ("lr", "batch_size", "epochs", "target", "seed", "num_threads")
_INFERENCE_S = 1.0  # where somebody needs it and says nothing: ten periods of a GPU's counter
GROUPS = (
    *("task", "model", "paradigm", "optimizer", "scheduler", "hardware", "objective", "stopping"),
)


class TrialFactory:
    """All objects of one trial, each built when first asked for.

    Args:
        cfg: The composed config of a job.
        folders: Folders whose modules a config may name; the current one if none is given.
        context: What a study tells the job; nothing outside of one.
        repair: Put back a power limit that a dead process left on the trial's GPUs.
        on_wait: Is told who is waited for, where the GPUs are held.

    Raises:
        ConfigError: If a root key holds what it may not.
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
        self._knowledge: dict[str, PretrainedModel] = {}
        offers: Mapping[str, Callable[[], Any]] = {
            "task": lambda: self.task,
            "model": lambda: self.model,
            "make_model": lambda: self.make_model,
            "optimizer": lambda: self._maker.make("optimizer", cfg.optimizer),
            "scheduler": lambda: self._maker.make("scheduler", cfg.scheduler),
            "input_shape": lambda: self.task.input_shape,
            "num_classes": lambda: self.task.num_classes,
            "device": lambda: self.device,
            "gpus": lambda: self.rig.boards,
            "cpu": lambda: self._rig_options.cpu,
            **{key: partial(cfg.__getitem__, key) for key in _OFFERED_ROOTS},
        }
        self._maker = Instantiator(self._folders, list(cfg.trusted_targets), offers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the GPUs back."""
        if "rig" in self.__dict__:
            self.rig.close()

    @property
    def device(self) -> str:
        """Where to train: "cpu", "cuda:N" or "mps"."""
        return self.rig.device

    @cached_property
    def rig(self) -> GpuAllocation:
        """The GPUs that the trial holds from now on; none where none is metered."""
        from energyopt.hardware.gpu_selection import claim
        from energyopt.hardware.host import resolve_device

        device, options = resolve_device(str(self._cfg.device)), self._rig_options
        if self.known is not None:  # a study has begun: a GPU that is held is no fault of a setup
            options = replace(options, lease_wait_s=math.inf)
        return claim(options, device, repair=self._repair, on_wait=self._on_wait)

    @cached_property
    def _rig_options(self) -> GpuOptions:
        from energyopt.hardware.gpu_options import GpuOptions

        node = self._cfg.hardware
        options = {k: value(f"hardware.{k}", node, k) for k in node if k not in _NO_RIG_OPTIONS}
        known = {field.name for field in fields(GpuOptions)}
        wrong = sorted(options.keys() - known)
        if wrong:
            raise ConfigError(
                f"hardware.{wrong[0]}: there is no such key; there are meter, "
                f"{', '.join(sorted(known))}"
            )
        return GpuOptions(**options)

    @cached_property
    def system(self) -> System | None:
        """What is published of the named system that the trial is to run on."""
        node = self._cfg.hardware.get("system")
        return None if node is None else cast("System", self._maker.make("hardware.system", node))

    @property
    def known(self) -> Calibration | None:
        """What earlier trials of the study found out about its hardware; None in no study."""
        return self._context.calibration

    @cached_property
    def task(self) -> Any:
        """The data."""
        return self._maker.make("task", self._cfg.task)

    @cached_property
    def model(self) -> Any:
        """The network, freshly initialised."""
        return self._maker.make("model", self._cfg.model)

    def make_model(self, num_classes: int | None = None) -> Any:
        """Another network of the same kind.

        Args:
            num_classes: Its number of outputs; the task's if None.
        """
        told = {} if num_classes is None else {"num_classes": lambda: num_classes}
        return self._maker.make("model", self._cfg.model, told)

    @cached_property
    def meter(self) -> EnergyMeter:
        """What meters the windows."""
        return cast(EnergyMeter, self._maker.make("hardware.meter", self._cfg.hardware.meter))

    @cached_property
    def objective(self) -> Objective:
        """What is told to a study."""
        return make_objective(self._maker, self._cfg.objective)

    @cached_property
    def rules(self) -> Mapping[str, StoppingRule]:
        """What may stop a trial, by name."""
        node = self._cfg.stopping.rules
        if node is None:
            return {}
        if not isinstance(node, DictConfig):
            raise ConfigError(f"stopping.rules={node} is not rules by name; choose stopping=[...]")
        names = list(map(str, node))
        rules = {name: self._maker.make(f"stopping.rules.{name}", node[name]) for name in names}
        for name, rule in rules.items():
            if not hasattr(rule, "decide"):
                raise ConfigError(
                    f"stopping.rules.{name}._target_={node[name].get('_target_')} has no decide; "
                    "a rule has decide(progress, rivals)"
                )
        return rules

    @property
    def stopping(self) -> Rules | None:
        """The rules with what the earlier trials of the study did; None where no study says so."""
        from energyopt.stopping.rules import Rules

        history = self._context.history
        return None if history is None else Rules(self.rules, history)

    @property
    def plan(self) -> Plan:
        """How long to train and when to evaluate."""
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
        )

    @property
    def _inference_s(self) -> float | None:
        """How long answers are asked for; also where the objective or a teacher needs them."""
        given: float | None = self._cfg.inference_s
        asked = getattr(self.objective, "needs_inference", False) or "teacher" in self.sources
        return _INFERENCE_S if given is None and asked else given

    @property
    def start(self) -> TrialStart:
        """What is known before the first window, with the GPUs as they are set now."""
        from energyopt.hardware.auto import condition_flags

        machine = self.rig.machine()
        unlike = () if self.system is None else self.system.flags(machine.gpus)
        return TrialStart(
            target=self._cfg.target,
            epochs=self._cfg.epochs,
            seed=self._cfg.seed,
            provenance=self.meter.provenance,
            flags=(*condition_flags(self.meter, self.device), *self.rig.flags, *unlike),
            machine=machine,
            quality_periods=tuple(self._rig_options.quality_periods),
        )

    def check_limit(self) -> None:
        """Refuse a power limit that could not be held, or could not be seen in the joules.

        Raises:
            ConfigError: If this meter would not see it.
            PowerLimitRefusedError: If it is out of range, or may not be set.
        """
        self._refuse_unseen_limit()
        self.rig.check_limit()

    def limited(self) -> AbstractContextManager[PowerLimit | None]:
        """Hold the power limit that is asked for; see `GpuAllocation.limited`.

        Raises:
            ConfigError: If this meter would not see it.
        """
        self._refuse_unseen_limit()
        return self.rig.limited()

    def _refuse_unseen_limit(self) -> None:
        wanted = self._rig_options.power_limit_w
        provenance = self.meter.provenance
        if wanted is not None and provenance.kind == "estimated":
            raise ConfigError(
                f"hardware.power_limit_w={wanted}: the joules are estimated by {provenance.meter}, "
                "which sees no effect of a power limit; choose a meter of the GPU, such as "
                "hardware=nvidia, or leave it null"
            )

    def profiler(
        self, limit: PowerLimit | None, chosen_w: float | None = None
    ) -> PowerProfiler | None:
        """What looks for the best power limit, or sets the one that an earlier trial found.

        Args:
            limit: The limit to change; None where it may not be.
            chosen_w: The one that a trial which goes on had before, in W.
        """
        options = self._rig_options
        if limit is None or not options.profiles:
            return None
        if chosen_w is not None:
            limit.set(chosen_w)
            return None
        from energyopt.hardware.power_limit_policy import selector
        from energyopt.training.power_profiler import PowerProfiler, limits_to_try

        select = selector(options, len(self.rig.boards))
        shape = shape_of_work(
            self.rig.boards[0].name,
            plain("model", self._cfg.model),
            self._cfg.batch_size,
            sources.without(plain("paradigm", self._cfg.paradigm), self.sources),
        )
        low_w, high_w = self.rig.limits_w()
        points = self.known.profiles.get(digest(shape)) if self.known else None
        if points and low_w <= select(points) <= high_w:
            limit.set(select(points))
            return None
        return PowerProfiler(
            set_limit_w=limit.set,
            limits_w=limits_to_try(low_w, high_w, options.power_step_w),
            select=select,
            slice_s=options.profile_slice_s,
            settle_s=options.profile_settle_s,
            shape=shape,
            original_w=min(limit.limit_w(), high_w),
            policy=options.power_policy,
        )

    def make_paradigm(self) -> Paradigm:
        """Load the data and build what is trained, from the seed."""
        import numpy as np
        import torch

        torch.set_num_threads(self._cfg.num_threads)
        torch.manual_seed(self._cfg.seed)
        random.seed(self._cfg.seed)  # ours draws from neither; a user's own code may
        np.random.seed(self._cfg.seed % 2**32)  # noqa: NPY002
        paradigm = self._maker.make("paradigm", self._own_paradigm(), self._learnt())
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
        """What the paradigm starts from, by name: see `prerequisites.nodes`."""
        return sources.nodes(self._cfg.paradigm)

    def learn(self, recorder: Recorder) -> None:
        """Get what the paradigm starts from: train it, take what is kept of it, or read it.

        Args:
            recorder: The trial's, which books what is burnt.

        Raises:
            ConfigError: If it cannot be built, or does not fit.
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
                with saying(f"paradigm.{name}"):
                    state, upfront = train_or_load(child.course(name), folder, recorder)
            self._knowledge[name] = PretrainedModel(state, partial(child.model_with, state))
            recorder.add_upfront_cost(replace(upfront, reuse=reuse))

    def assume(self) -> None:
        """Take what the paradigm starts from as learnt, to see whether all can be built."""
        self._check_sources()
        for name, node in self.sources.items():
            child = self._child(name, node)
            with saying(f"paradigm.{name}"):
                if node.weights is not None:
                    state, _ = self._read(name, node)
                else:
                    child.make_paradigm()
                    state = child.model.state_dict()
                self._knowledge[name] = PretrainedModel(state, partial(child.model_with, state))

    def _check_sources(self) -> float:
        """How many trainings use what the paradigm starts from, once all of that can be."""
        for name, node in self.sources.items():
            sources.given_j(name, node)
        return sources.reuse(self._cfg.paradigm)

    def course(self, name: str) -> PretrainingSpec:
        """How what this setup trains is learnt, for another one."""
        from energyopt.training.pretraining import PretrainingSpec

        cfg, start = self._cfg, self.start
        keys = ("task", "model", "optimizer", "paradigm")
        asked = {key: plain(key, cfg[key]) for key in keys}
        asked |= {key: cfg[key] for key in ("lr", "batch_size", "epochs", "target", "seed")}
        asked |= {"num_threads": cfg.num_threads, "device": self.device.partition(":")[0]}
        asked |= {"joules": start.provenance.binding, "torch": _torch_version()}
        asked = as_stored(asked)
        plan = Plan(target=cfg.target, epochs=cfg.epochs, stop_at_target=True)
        return PretrainingSpec(name, asked, self.make_paradigm, self.meter, plan, start, self.rig)

    def model_with(self, state: Mapping[str, Any]) -> Any:
        """The network with weights.

        Raises:
            ConfigError: If they do not fit.
        """
        from energyopt.paradigms._backbone import load_all

        model = self.make_model()
        load_all(model, state)
        return model

    def _child(self, name: str, node: DictConfig) -> TrialFactory:
        """The setup of a training that this one's paradigm starts from."""
        with saying(f"paradigm.{name}"):
            child = TrialFactory(
                sources.config_of(self._cfg, name, node), self._folders, repair=False
            )
        child.rig = self.rig
        # A made-up meter counts joules by the batch, and the child has its own.
        if "batch_size" not in inspect.signature(type(self.meter)).parameters:
            child.meter = self.meter
        return child

    def _read(self, name: str, node: DictConfig) -> tuple[Any, UpfrontCost]:
        from energyopt.training.pretraining import read_weights

        path = self._folders[0] / str(node.weights)
        state, found = read_weights(path, f"paradigm.{name}.weights")
        given_j = sources.given_j(name, node)
        upfront = UpfrontCost(name, "loaded", Energy(), given_j=given_j, fresh=False, digest=found)
        return state, upfront

    def _own_paradigm(self) -> Any:
        """The paradigm's node without what is not for its constructor."""
        if not self.sources:
            return self._cfg.paradigm
        own = plain("paradigm", self._cfg.paradigm)
        return OmegaConf.create(sources.without(own, self.sources))

    def _learnt(self) -> dict[str, Callable[[], Any]]:
        missing = sorted(self.sources.keys() - self._knowledge.keys())
        if missing:
            raise TrialError(f"the {missing[0]} was not trained before the paradigm was built")
        return {name: partial(self._knowledge.__getitem__, name) for name in self._knowledge}


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
