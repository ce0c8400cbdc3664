"""A fit by Lightning, searched as a Hydra app: `python train.py -m`."""

import hydra
import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from energyopt.integrations.lightning import EnergyCallback  # 1


class Regression(lightning.LightningModule):
    """A small regression."""

    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        hidden, output = torch.nn.Linear(8, 32), torch.nn.Linear(32, 1)
        self.net = torch.nn.Sequential(hidden, torch.nn.Tanh(), output)

    def training_step(self, batch, _):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    energy = EnergyCallback("val_loss", "min", target=0.05)  # 2
    lightning.seed_everything(0, verbose=False)
    inputs = torch.randn(1000, 8)
    data = TensorDataset(inputs, inputs[:, :2].sum(1, keepdim=True).sin())
    trainer = lightning.Trainer(
        max_epochs=cfg.epochs,
        callbacks=[energy],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(
        Regression(cfg.lr),
        DataLoader(data, cfg.batch_size, shuffle=True),
        DataLoader(data, 500),
        ckpt_path=energy.ckpt_path,  # 3
    )


if __name__ == "__main__":
    main()
