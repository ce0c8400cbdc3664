"""Composition of our own app's configs outside of Hydra, and the folders of code for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from energyopt.errors import ConfigError
from energyopt.utils.paths import conf_dir


def config_folders(config: DictConfig | None = None) -> tuple[Path, ...]:
    """Return the folders whose modules a config may name: the working folder and --config-dir.

    Args:
        config: A config with its hydra node; the running job's if None.
    """
    hydra = HydraConfig.get() if config is None else config.hydra
    config_dirs = [
        Path(source.path)
        for source in hydra.runtime.config_sources
        if source.provider == "command-line" and source.schema == "file"
    ]
    return (Path(hydra.runtime.cwd), *config_dirs)


def compose_here(overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """Return the config of a training that no Hydra job runs.

    Args:
        overrides: The overrides that compose it.
        config_dir: A folder of the user's own configs.

    Raises:
        ConfigError: If there is no such folder.
    """
    search_path = []
    if config_dir is not None:
        if not config_dir.is_dir():  # Hydra only warns
            raise ConfigError(
                f"--config-dir {config_dir} is not a folder; give that of your configs"
            )
        search_path.append(f"hydra.searchpath=[file://{config_dir.resolve()}]")
    with initialize_config_dir(
        version_base="1.3", config_dir=str(conf_dir()), job_name="energyopt"
    ):
        return compose("config", overrides=[*overrides, *search_path])


def folders_here(config_dir: Path | None = None) -> tuple[Path, ...]:
    """Return the folders whose modules such a config may name: the current one and its own."""
    current = Path.cwd()
    return (current,) if config_dir is None else (current, config_dir.resolve())
