"""A training over two processes: `torchrun --nproc-per-node 2 train.py --lr 0.01`."""

import argparse

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import energyopt  # 1

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
args = parser.parse_args()

run = energyopt.Run(monitor="val_loss", mode="min", target=0.05)  # 2
dist.init_process_group("gloo")
torch.manual_seed(0)
inputs = torch.randn(2000, 10)
data = TensorDataset(inputs, inputs[:, :2].sum(1, keepdim=True).sin())
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=25, sampler=sampler)
net = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
model = DistributedDataParallel(net)
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
loss_of = torch.nn.MSELoss()

run.begin(model=model, optimizer=optimizer)  # 3
for epoch in run.epochs(10):  # 4, instead of range(10)
    sampler.set_epoch(epoch)
    for batch, answer in loader:
        optimizer.zero_grad()
        loss_of(model(batch), answer).backward()
        optimizer.step()
    with run.evaluation(), torch.inference_mode():  # 5
        val_loss = loss_of(net(inputs), data.tensors[1])
    run.report(val_loss)  # 6
    if dist.get_rank() == 0:
        print(f"epoch {epoch}: {val_loss:.4f}")
