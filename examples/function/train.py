"""A function whose learning rate and batch size are searched, each trial in its own process."""

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.datasets import load_digits

import energyopt  # 1

SPACE = {
    "lr": FloatDistribution(1e-3, 1e-1, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
}


def train(run):
    torch.set_num_threads(1)
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=run.params["lr"])
    loss_of = torch.nn.CrossEntropyLoss()
    run.begin(model=model, optimizer=optimizer)  # 2
    for _ in run.epochs(8):  # 3
        for batch in torch.randperm(1400).split(run.params["batch_size"]):
            optimizer.zero_grad()
            loss_of(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        with run.evaluation(), torch.no_grad():  # 4
            val_loss = loss_of(model(images[1400:]), labels[1400:]).item()
        run.report(val_loss)  # 5


energyopt.optimize(  # 6
    train, SPACE, monitor="val_loss", mode="min", target=0.4, n_trials=8, study_name="function"
)
