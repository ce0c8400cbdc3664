"""A callback for Lightning's `Trainer`: its fits report to energyopt, and pause and resume."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities.data import extract_batch_size
except ImportError as error:  # names the extra; `pytorch_lightning` has classes of its own
    raise ImportError("EnergyCallback needs: pip install 'energyopt[lightning]'") from error

from energyopt.core.metric import Mode
from energyopt.errors import ConfigError
from energyopt.integrations.trainer_loop import LoopCallback, TrainerLoop

_ENDLESS = (None, -1)  # values of Trainer(max_epochs=...)


class EnergyCallback(LoopCallback, Callback):
    """Report the fits of a `Trainer` as a `Run`.

        callback = EnergyCallback("val_loss", "min", target=0.35)
        trainer = Trainer(max_epochs=20, callbacks=[callback])
        trainer.fit(model, data, ckpt_path=callback.ckpt_path)

    Validations are the windows of evaluation, what is between them is training, and the sanity
    check counts as loading. A study pauses between two epochs: Lightning's own checkpoint keeps
    the training, this callback the random generators. In a study, a pause ends the program in
    `fit`, like the end of a loop of `Run.epochs`.

    Args:
        monitor: Name of a logged metric, of a validation or of a training epoch.
        mode: "max" if more of it is better, "min" if less is.
        target: Value of the metric to reach. A study's run may leave out all three.
        **options: Others of `Run`, such as `params`, `name`, `folder`, `meter`, `stop_at_target`.

    Attributes:
        run: The run.

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
        self._loop = TrainerLoop(self._log, monitor=monitor, mode=mode, target=target, **options)
        self._trainer: Trainer | None = None
        self._takes_checkpoint = False
        self._is_validated: bool | None = None  # whether the metric is that of a validation
        self._validations = 0
        self._reported_epoch = 0  # epochs at the last report
        self._counts_steps = False  # evaluations are counted, since no epoch has an end
        self._samples = 0  # since the last optimizer step
        self._global_step = 0

    @property
    def ckpt_path(self) -> Path | None:
        """The checkpoint for `fit(ckpt_path=...)`; None where the training begins.

        Raises:
            TrialError: If it is gone.
        """
        self._takes_checkpoint = True
        return self._loop.checkpoint

    # The loop ------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random generators, before the loader of a resumed fit draws from them."""
        if self._loop.is_over:
            return
        self._trainer = trainer
        self._loop.check_ranks(trainer.world_size, "Trainer(devices=1)")
        if self._loop.run.start_epoch and not self._takes_checkpoint:
            raise ConfigError(
                "a paused fit resumes from callback.ckpt_path: "
                "trainer.fit(..., ckpt_path=callback.ckpt_path)"
            )
        self._loop.run.session.restore_random()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the training."""
        if self._loop.is_over:
            return
        self._global_step = trainer.global_step
        self._loop.begin()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report an epoch that was not validated, and pause or stop where a study wants it to."""
        if self._loop.is_over:
            return
        if not self._loop.has_bodies:
            if trainer.current_epoch != self._loop.run.start_epoch:
                raise ConfigError(
                    f"the fit begins at epoch {trainer.current_epoch}, with a checkpoint that is "
                    "not that of its study: give fit(ckpt_path=callback.ckpt_path)"
                )
            # Lightning takes a fit that restarts for one whose epoch was over, and would not tell
            # a scheduler for plateaus of the epoch that begins.
            trainer.fit_loop.restarting = False
            self._loop.begin_bodies(self._bodies(trainer))
        else:
            self._report_epoch(trainer)
            if not self._counts_steps:
                self._loop.advance()
        trainer.should_stop |= self._loop.is_over

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of an optimizer step."""
        self._samples += _batch_size(batch)
        if self._loop.is_over or trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        if self._samples:
            self._loop.run.step(self._samples)
        self._samples = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the window of an evaluation."""
        if self._records(trainer):
            if self._is_validated is None and self._name in trainer.callback_metrics:
                self._is_validated = False
            self._loop.begin_evaluation()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the window of an evaluation, and report its metric."""
        if not self._records(trainer):
            return
        self._loop.end_evaluation()
        self._validations += 1
        if self._is_validated is None and self._name in trainer.callback_metrics:
            self._is_validated = True
        if not self._is_validated:
            return
        if self._counts_steps:
            self._report(trainer, None)
            if self._loop.run.pending is None:
                self._loop.advance()
        elif trainer.is_last_batch or math.isinf(trainer.num_training_batches):
            self._report(trainer, trainer.current_epoch + 1)
        else:
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            self._report(trainer, trainer.current_epoch + batches / trainer.num_training_batches)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last epoch, and end the run."""
        if self._loop.is_over:
            return
        self._report_epoch(trainer)
        self._loop.finish()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the run with what ended the fit."""
        if trainer.state.fn == "fit":
            self._loop.fail(exception)

    # Parts ---------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._loop.run.monitor.name

    def _records(self, trainer: Trainer) -> bool:
        """Return whether a validation is one of the recorded fit."""
        is_fit = trainer.state.fn == "fit" and not trainer.sanity_checking
        return is_fit and not self._loop.is_over and self._loop.run.session.is_begun

    def _bodies(self, trainer: Trainer) -> Iterator[Any]:
        """Return the bodies of the fit: its epochs, or its evaluations where no epoch ends.

        Raises:
            ConfigError: If it has no end.
        """
        batches, max_steps = trainer.num_training_batches, trainer.max_steps
        if trainer.max_epochs not in _ENDLESS:
            return self._loop.run.epochs(trainer.max_epochs)
        if max_steps in _ENDLESS:
            raise ConfigError(
                "Trainer(max_epochs=-1) trains without an end, so that no energy to a target can "
                "be compared; give max_epochs or max_steps"
            )
        if not math.isinf(batches):
            steps = math.ceil(batches / trainer.accumulate_grad_batches)
            return self._loop.run.epochs(math.ceil(max_steps / steps))
        self._counts_steps = True
        interval = trainer.val_check_batch
        if interval is None or math.isinf(interval):
            raise ConfigError(
                "a loader without a length needs Trainer(val_check_interval=...) as a number of "
                "batches: an evaluation is where the energy is compared"
            )
        every = math.ceil(interval / trainer.accumulate_grad_batches)
        return self._loop.run.steps(max_steps, evaluate_every=every)

    def _report_epoch(self, trainer: Trainer) -> None:
        """Report the epoch that is over, unless its validation did, or is still to come."""
        if self._is_validated or self._counts_steps:
            return
        if self._name not in trainer.callback_metrics and not self._is_due(trainer):
            return
        epoch = trainer.current_epoch
        if epoch > self._reported_epoch:
            self._report(trainer, epoch)

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether the metric must have been logged by now."""
        return self._validations > 0 or not trainer.num_val_batches or not trainer.training

    def _report(self, trainer: Trainer, epoch: float | None) -> None:
        value = self._loop.metric(trainer.callback_metrics)
        checkpoint = None if not self._takes_checkpoint or self._counts_steps else self._save
        self._reported_epoch = int(epoch or 0)
        self._loop.run.report(value, epoch, metrics=trainer.callback_metrics, checkpoint=checkpoint)
        trainer.should_stop |= self._loop.is_ending

    def _save(self) -> Path:
        """Let Lightning write its checkpoint at the start of an epoch. Returns its path.

        There its schedulers have made their steps, those for plateaus included. The loop of the
        epoch is reset next, and must be in the checkpoint as well: else it resumes after the epoch.
        """
        assert self._trainer is not None  # noqa: S101  # it reported
        self._trainer.fit_loop.epoch_loop.reset()
        path = self._loop.checkpoint_path(f"epoch-{self._trainer.current_epoch}.ckpt")
        self._trainer.save_checkpoint(path)
        return path

    def _log(self, energies: dict[str, float]) -> None:
        if self._trainer is not None:
            for logger in self._trainer.loggers:
                logger.log_metrics(energies, step=self._trainer.global_step)


def _batch_size(batch: Any) -> int:
    """Return the samples of a batch; 0 if that cannot be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it may be another dimension
        try:
            return int(extract_batch_size(batch))
        except Exception:  # Lightning's own, of batches without a tensor
            return 0
