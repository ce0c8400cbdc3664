"""A network's trunk and head, and loading and saving of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from energyopt.errors import ConfigError

_MAX_NAMES = 3  # of tensors in a message


def head_of(model: nn.Module) -> str:
    """Return the name of a network's head: its module `head`, else its last linear layer.

    Raises:
        ConfigError: If it has neither.
    """
    if isinstance(getattr(model, "head", None), nn.Module):
        return "head"
    linear: list[str] = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear or not linear[-1]:
        raise ConfigError(
            f"the model {type(model).__name__} has neither a module named head nor a linear layer "
            "after others, so its trunk is not known; name its last layer head"
        )
    return linear[-1]


def freeze_trunk(model: nn.Module) -> str:
    """Freeze all of a network but its head, and return the name of the head.

    Raises:
        ConfigError: If it has none.
    """
    head = head_of(model)
    model.requires_grad_(requires_grad=False)
    model.get_submodule(head).requires_grad_(requires_grad=True)
    return head


def load_trunk(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load the weights of another network's trunk; the head is not changed.

    Raises:
        ConfigError: If they do not fit, or the network has no trunk.
    """
    trunk = _without_head(model, model.state_dict())
    if not trunk:
        raise ConfigError(
            f"the model {type(model).__name__} is a head without a trunk: there is nothing to "
            "learn elsewhere; choose a deeper model"
        )
    trunk_weights = _without_head(model, weights)
    _validate(trunk, trunk_weights)
    model.load_state_dict(trunk_weights, strict=False)


def load_all(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load the weights of a whole network.

    Raises:
        ConfigError: If they do not fit.
    """
    _validate(model.state_dict(), weights)
    model.load_state_dict(dict(weights))


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors by name to a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def _without_head(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = f"{head_of(model)}."
    return {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}


def _validate(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    """Check that weights have the names and shapes of a model, and are finite."""
    if missing := expected.keys() - weights.keys():
        raise ConfigError(f"the weights lack {_listed(missing)}; they are another's")
    if extra := weights.keys() - expected.keys():
        raise ConfigError(
            f"the weights have {_listed(extra)}, which the model has not; they are another's"
        )
    for name, tensor in expected.items():
        loaded = weights[name]
        if loaded.shape != tensor.shape:
            raise ConfigError(
                f"the weights have {name} of shape {tuple(loaded.shape)}, and the model "
                f"{tuple(tensor.shape)}; the same model on samples of the same shape is needed"
            )
        if loaded.is_floating_point() and not bool(loaded.isfinite().all()):
            raise ConfigError(f"the weights have numbers in {name} that are not finite")


def _listed(names: set[str]) -> str:
    rest = len(names) - _MAX_NAMES
    more = f" and {rest} more" if rest > 0 else ""
    return f"{', '.join(sorted(names)[:_MAX_NAMES])}{more}"
