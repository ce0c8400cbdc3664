"""Another Hydra app, searched by `python train.py -m`."""

import hydra
import torch
from torch.utils.data import DataLoader, TensorDataset

import energyopt


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    run = energyopt.Run(monitor="val_loss", mode="min", target=0.05)
    torch.manual_seed(0)
    inputs = torch.randn(2000, 10)
    data = TensorDataset(inputs, inputs[:, :2].sum(1, keepdim=True).sin())
    loader = DataLoader(data, batch_size=cfg.batch_size, shuffle=True)
    model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    loss_of = torch.nn.MSELoss()
    run.begin(model=model, optimizer=optimizer)
    for epoch in run.epochs(cfg.epochs):
        for batch, answer in loader:
            optimizer.zero_grad()
            loss_of(model(batch), answer).backward()
            optimizer.step()
        with run.evaluation(), torch.inference_mode():
            val_loss = loss_of(model(inputs), data.tensors[1])
        run.report(val_loss)


if __name__ == "__main__":
    main()
