"""A training by Hugging Face's `Trainer`, searched as a Hydra app: `python train.py -m`."""

import hydra
import torch
from transformers import Trainer, TrainingArguments, set_seed

from energyopt.integrations.transformers import EnergyCallback  # 1


class Regression(torch.nn.Module):
    """A small regression that returns what `Trainer` needs."""

    def __init__(self):
        super().__init__()
        hidden, output = torch.nn.Linear(8, 32), torch.nn.Linear(32, 1)
        self.net = torch.nn.Sequential(hidden, torch.nn.Tanh(), output)

    def forward(self, inputs, labels):
        outputs = self.net(inputs)
        return {"loss": torch.nn.functional.mse_loss(outputs, labels), "logits": outputs}


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    energy = EnergyCallback("eval_loss", "min", target=0.05)  # 2
    set_seed(0)
    inputs = torch.randn(1000, 8)
    labels = inputs[:, :2].sum(1, keepdim=True).sin()
    data = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    arguments = TrainingArguments(
        f"outputs/{hydra.core.hydra_config.HydraConfig.get().job.id}",
        num_train_epochs=cfg.epochs,
        learning_rate=cfg.lr,
        per_device_train_batch_size=cfg.batch_size,
        per_device_eval_batch_size=500,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        Regression(), arguments, train_dataset=data, eval_dataset=data, callbacks=[energy]
    )
    trainer.train(resume_from_checkpoint=energy.checkpoint)  # 3


if __name__ == "__main__":
    main()
