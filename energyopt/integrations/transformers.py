"""A callback for Hugging Face's `Trainer`: its trainings report to energyopt, pause and resume."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError("EnergyCallback needs: pip install 'energyopt[transformers]'") from error

from energyopt.core.metric import Mode
from energyopt.errors import ConfigError
from energyopt.integrations.trainer_loop import LoopCallback, TrainerLoop

_PREFIX = "eval_"


class EnergyCallback(LoopCallback, TrainerCallback):
    """Report the training of a `Trainer` as a `Run`.

        callback = EnergyCallback("eval_loss", "min", target=0.35)
        trainer = Trainer(model, arguments, ..., callbacks=[callback])
        trainer.train(resume_from_checkpoint=callback.checkpoint)

    The trainer has no hook at the start of an evaluation: its window opens where the step or the
    epoch ends that asked for it. A pause lets the trainer write its own checkpoint after an
    evaluation, and moves it from the output folder into that of the trial, so that
    `save_total_limit` never deletes it. In a study, a pause ends the program in `train`.

    Args:
        monitor: Name of a metric of the evaluations, with or without "eval_".
        mode: "max" if more of it is better, "min" if less is.
        target: Value of the metric to reach. A study's run may leave out all three.
        **options: Others of `Run`, such as `params`, `name`, `folder`, `meter`, `stop_at_target`.

    Raises:
        ConfigError: If an argument is not allowed, or differs from the study's.
        HardwareError: If the energy of the device cannot be read.
        TrialError: If another run is open in this process.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode | None = None,
        target: float | None = None,
        **options: Any,
    ) -> None:
        self._energies: dict[str, float] = {}
        self._loop = TrainerLoop(
            self._energies.update, monitor=monitor, mode=mode, target=target, **options
        )
        self._takes_checkpoint = False
        self._state: TrainerState | None = None
        self._written: Path | None = None  # the checkpoint of a pause
        self._samples_per_step = 0
        self._unmonitored: dict[str, float] | None = None  # what an evaluation had instead

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint for `train(resume_from_checkpoint=...)`; None where it begins.

        Raises:
            TrialError: If it is gone.
        """
        self._takes_checkpoint = True
        path = self._loop.checkpoint
        return None if path is None else str(path)

    # The loop ------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin the training."""
        if self._loop.is_over:
            return
        if self._loop.run.start_epoch and not state.global_step:
            raise ConfigError(
                "a paused training resumes from callback.checkpoint: "
                "trainer.train(resume_from_checkpoint=callback.checkpoint)"
            )
        self._loop.check_ranks(args.world_size, "one process")
        self._state = state
        per_device = args.per_device_train_batch_size * args.gradient_accumulation_steps
        self._samples_per_step = per_device * max(args.n_gpu, 1)
        self._loop.begin()
        self._loop.begin_bodies(self._bodies(args, state))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count an optimizer step; open the window of an evaluation that follows."""
        self._check_monitored()
        if not self._loop.is_over:
            self._loop.run.step(self._samples_per_step)
        self._expect_evaluation(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the window of an evaluation that follows."""
        self._expect_evaluation(control)

    def on_prediction_step(self, *_: Any, **__: Any) -> None:
        """Open the window of an evaluation that another callback asked for."""
        if not self._loop.is_over and self._loop.run.session.is_begun:
            self._loop.begin_evaluation()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Close the window of an evaluation, and report its metric."""
        self._loop.end_evaluation()
        if self._loop.is_over or not self._loop.run.session.is_begun or not state.global_step:
            return  # before the training, such as eval_on_start
        named = self._named(metrics or {})
        if self._loop.run.monitor.name not in named:  # that of another data set may have it
            self._unmonitored = named
            return
        self._unmonitored = None
        value = self._loop.metric(named)
        can_pause = self._takes_checkpoint and args.save_strategy != "best"
        can_pause = can_pause and not args.save_only_model
        checkpoint = self._checkpoint if can_pause else None
        self._loop.run.report(value, metrics=metrics, checkpoint=checkpoint)
        state.log_history.append(
            {**self._energies, "epoch": state.epoch, "step": state.global_step}
        )
        if self._loop.is_pausing:
            control.should_save = True
        elif self._loop.is_ending:
            self._loop.advance()
            control.should_training_stop = True
        elif state.global_step < state.max_steps:
            self._loop.advance()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Pause, now that the trainer has written its checkpoint."""
        if self._loop.is_pausing:
            written = Path(args.output_dir, f"checkpoint-{state.global_step}")
            path = self._written = self._loop.checkpoint_path(written.name)
            # By rank 0, once all have written their part.
            self._loop.run.session.ranks.share("its checkpoint", {}, lambda _: _take(written, path))
            self._loop.advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Add the energies to what later callbacks log."""
        if logs is not None:
            logs.update(self._energies)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the run."""
        self._check_monitored()
        self._loop.finish()

    # Parts ---------------------------------------------------------------------------------------

    def _bodies(self, args: TrainingArguments, state: TrainerState) -> Iterator[Any]:
        """Return the bodies of the training: from one evaluation to the next.

        Raises:
            ConfigError: If nothing is evaluated.
        """
        if args.eval_strategy == "epoch":
            return self._loop.run.epochs(state.num_train_epochs)
        if args.eval_strategy == "steps":
            return self._loop.run.steps(state.max_steps, evaluate_every=state.eval_steps)
        raise ConfigError(
            "TrainingArguments(eval_strategy='no') evaluates nothing, so that no energy to a "
            "target can be known; set it to 'epoch' or 'steps'"
        )

    def _check_monitored(self) -> None:
        """Check that the last evaluations had the metric.

        Raises:
            ConfigError: If none had.
        """
        if self._unmonitored is not None and not self._loop.is_over:
            self._loop.metric(self._unmonitored)

    def _expect_evaluation(self, control: TrainerControl) -> None:
        if control.should_evaluate and not self._loop.is_over:
            self._loop.begin_evaluation()

    def _named(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return metrics by their names, and those of evaluations also without "eval_"."""
        short = {name.removeprefix(_PREFIX): value for name, value in metrics.items()}
        return {**short, **metrics}

    def _checkpoint(self) -> Path:
        assert self._written is not None  # noqa: S101  # on_save comes first
        return self._written


def _take(written: Path, path: Path) -> None:
    """Move a checkpoint out of the output folder, whose old ones the trainer deletes."""
    if path.exists():
        shutil.rmtree(path)
    try:
        written.rename(path)
    except OSError:  # another file system
        shutil.copytree(written, path)
