"""An objective of Optuna's that counts joules: learning rate and batch size of a small network."""

import torch
from sklearn.datasets import load_digits

import energyopt  # 1

torch.set_num_threads(1)
images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float() / 16


def objective(trial):
    lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    batch_size = trial.suggest_categorical("batch_size", [32, 64, 128])
    run = energyopt.integrations.optuna.Run(trial)  # 2
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in run.epochs():  # 3
        for batch in torch.randperm(1400).split(batch_size):
            optimizer.zero_grad()
            loss_of(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        with run.evaluation(), torch.no_grad():  # 4
            val_loss = loss_of(model(images[1400:]), labels[1400:]).item()
        run.report(val_loss)  # 5
    return val_loss


study = energyopt.create_study(monitor="val_loss", mode="min", target=0.4, epochs=8)  # 6
study.optimize(objective, n_trials=8)
