"""Small trainings by trainers of other packages, made of local data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, BATCH = 128, 32


def data(samples: int = SAMPLES) -> TensorDataset:
    """Return products of two of eight numbers, the same in each call."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 8, generator=generator)
    return TensorDataset(x, x[:, :1] * x[:, 1:2])


def network() -> nn.Module:
    """Return a network that draws random numbers in training."""
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def lightning_fit(
    callback: Any, epochs: int = 4, *, ckpt: bool = True, plateau: bool = True, **options: Any
) -> Any:
    """Fit a module by Lightning. Returns its trainer.

    Args:
        callback: Reports it.
        epochs: Number of epochs.
        ckpt: Whether it resumes where it paused.
        plateau: Whether a scheduler for plateaus is told each epoch.
        **options: Others of `Trainer`.
    """
    import lightning
    from lightning.pytorch import Trainer

    options = {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "logger": False,
        "max_epochs": epochs,
        **options,
    }
    lightning.seed_everything(1, verbose=False)
    trainer = Trainer(callbacks=[callback], **options)
    train, validation = DataLoader(data(), BATCH, shuffle=True), DataLoader(data(64), 64)
    given = {"ckpt_path": callback.ckpt_path} if ckpt else {}
    trainer.fit(_module(plateau), train, validation, **given)
    return trainer


def _module(has_plateau: bool) -> Any:
    from lightning.pytorch import LightningModule

    class Regression(LightningModule):  # type: ignore[misc]  # not there in each environment
        """A regression whose learning rate changes with each epoch, and on a plateau."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Any, _: int) -> Any:
            loss = nn.functional.mse_loss(self.network(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            loss = nn.functional.mse_loss(self.network(batch[0]), batch[1])
            self.log("val_loss", loss, sync_dist=True)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), 0.01)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, threshold=0.5, patience=0
            )
            schedulers: list[Any] = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)]
            if has_plateau:
                plateau = lr_scheduler.ReduceLROnPlateau(optimizer, threshold=0.5, patience=0)
                schedulers.append({"scheduler": plateau, "monitor": "val_loss"})
            return [optimizer], schedulers

    return Regression()


def transformers_train(callback: Any, folder: Path, epochs: int = 4, **options: Any) -> Any:
    """Train by Hugging Face's `Trainer`. Returns it."""
    from transformers import Trainer, TrainingArguments, set_seed

    options = {
        "eval_strategy": "epoch",
        "num_train_epochs": epochs,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 0.01,
        "logging_strategy": "epoch",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    set_seed(1)
    trainer = Trainer(
        _Model(),
        TrainingArguments(str(folder), **options),
        train_dataset=_Rows(SAMPLES),
        eval_dataset=_Rows(64),
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=callback.checkpoint)
    return trainer


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:
        predicted = self.network(x)
        return {"loss": nn.functional.mse_loss(predicted, labels), "logits": predicted}


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, samples: int) -> None:
        self._data = data(samples)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y = self._data[index]
        return {"x": x, "labels": y}
