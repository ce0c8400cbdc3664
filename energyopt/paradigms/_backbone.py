"""A network as a trunk and a head, its weights as a file, and weights that must fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from energyopt.errors import ConfigError

_FEW = 3


def head_of(model: nn.Module) -> str:
    """Name of a network's head: its module `head`, else its last linear layer.

    Raises:
        ConfigError: If it has none.
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


def load_trunk(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network the weights of another one's trunk; its own head stays.

    Raises:
        ConfigError: If they do not fit, or there is nothing but a head.
    """
    head = f"{head_of(model)}."
    own = {name: of for name, of in model.state_dict().items() if not name.startswith(head)}
    if not own:
        raise ConfigError(
            f"the model {type(model).__name__} is a head without a trunk: there is nothing to "
            "learn elsewhere; choose a deeper model"
        )
    given = {name: of for name, of in weights.items() if not name.startswith(head)}
    _check(own, given)
    model.load_state_dict(given, strict=False)


def load_all(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network its weights.

    Raises:
        ConfigError: If they do not fit.
    """
    _check(model.state_dict(), weights)
    model.load_state_dict(dict(weights))


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors by name to a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def _check(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> None:
    for what, names in (("lack", own.keys() - given.keys()), ("have", given.keys() - own.keys())):
        if names:
            beyond = ", which the model has not" if what == "have" else ""
            raise ConfigError(f"the weights {what} {_some(names)}{beyond}; they are another's")
    for name, of in own.items():
        if given[name].shape != of.shape:
            raise ConfigError(
                f"the weights have {name} of shape {tuple(given[name].shape)}, and the model "
                f"{tuple(of.shape)}; the same model on samples of the same shape is needed"
            )
        if given[name].is_floating_point() and not bool(given[name].isfinite().all()):
            raise ConfigError(f"the weights have numbers in {name} that are not finite")


def _some(names: set[str]) -> str:
    few = sorted(names)[:_FEW]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(few)}{more}"
