import argparse

import torch
from torch.utils.data import DataLoader, TensorDataset

import energyopt

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--batch-size", type=int, default=50)
parser.add_argument("--epochs", type=int, default=10)
args = parser.parse_args()

run = energyopt.Run(monitor="val_loss", mode="min", target=0.05)
torch.manual_seed(0)
inputs = torch.randn(2000, 10)
data = TensorDataset(inputs, inputs[:, :2].sum(1, keepdim=True).sin())
loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
loss_of = torch.nn.MSELoss()

run.begin(model=model, optimizer=optimizer)
for epoch in run.epochs(args.epochs):
    for batch, answer in loader:
        optimizer.zero_grad()
        loss_of(model(batch), answer).backward()
        optimizer.step()
    with run.evaluation(), torch.inference_mode():
        val_loss = loss_of(model(inputs), data.tensors[1]).item()
    run.report(val_loss)
    print(f"epoch {epoch}: {val_loss:.4f}")
