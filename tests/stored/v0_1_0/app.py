"""An app of somebody else: all that it knows of a study is what it returns."""

import hydra
import optuna


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    """Return two numbers; some trials fail, some are pruned."""
    if cfg.y == 0:
        raise optuna.TrialPruned("not this one")
    if cfg.y == 1:
        raise RuntimeError("boom")
    return cfg.x**2 + cfg.y**2, cfg.x


if __name__ == "__main__":
    main()
