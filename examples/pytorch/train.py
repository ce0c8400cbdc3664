"""A plain loop with a DataLoader whose workers count as well: `python train.py --lr 0.01`."""

import argparse

import torch
from torch.utils.data import DataLoader, Dataset

import energyopt  # 1

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--batch-size", type=int, default=50)
args = parser.parse_args()


class Waves(Dataset):
    """Samples that are costly to make, so that workers make them."""

    def __len__(self):
        return 2000

    def __getitem__(self, index):
        noise = torch.randn(100, 10, generator=torch.Generator().manual_seed(index))
        sample = noise.cumsum(0).mean(0) / 6
        return sample, sample[:2].sum(0, keepdim=True).sin()


run = energyopt.Run(monitor="val_loss", mode="min", target=0.05)  # 2
torch.manual_seed(0)
loader = DataLoader(Waves(), args.batch_size, shuffle=True, num_workers=2)
inputs, answers = next(iter(DataLoader(Waves(), 500)))
model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
loss_of = torch.nn.MSELoss()

run.begin(model=model, optimizer=optimizer)  # 3
for epoch in run.epochs(5):  # 4, instead of range(5)
    for batch, answer in loader:
        optimizer.zero_grad()
        loss_of(model(batch), answer).backward()
        optimizer.step()
    with run.evaluation(), torch.inference_mode():  # 5
        val_loss = loss_of(model(inputs), answers)
    run.report(val_loss)  # 6
    print(f"epoch {epoch}: {val_loss:.4f}")
