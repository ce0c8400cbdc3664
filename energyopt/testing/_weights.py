"""Comparison of models' weights, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from energyopt.testing._check import require

if TYPE_CHECKING:
    import torch


def _differing(
    weights: Mapping[str, torch.Tensor], other_weights: Mapping[str, torch.Tensor]
) -> list[str]:
    """Return the names of tensors that differ."""
    import torch

    return [
        name for name, tensor in weights.items() if not torch.equal(tensor, other_weights[name])
    ]


def _require_same_names(
    weights: Mapping[str, torch.Tensor], other_weights: Mapping[str, torch.Tensor], expected: str
) -> None:
    unmatched = sorted(weights.keys() ^ other_weights.keys())
    require(
        not unmatched,
        f"{expected}: the same tensors each time",
        f"{', '.join(unmatched[:3])} in one alone",
        "save the same tensors each time",
    )


def require_same_weights(
    weights: Mapping[str, torch.Tensor],
    other_weights: Mapping[str, torch.Tensor],
    expected: str,
    remedy: str,
) -> None:
    """Require that two models have the same weights, bit by bit."""
    _require_same_names(weights, other_weights, expected)
    names = _differing(weights, other_weights)
    require(
        not names,
        expected,
        f"other values in {', '.join(names[:3])} ({len(names)} of {len(weights)} tensors)",
        remedy,
    )


def require_other_weights(
    weights: Mapping[str, torch.Tensor],
    other_weights: Mapping[str, torch.Tensor],
    expected: str,
    remedy: str,
) -> None:
    """Require that two models do not have the same weights."""
    _require_same_names(weights, other_weights, expected)
    require(
        _differing(weights, other_weights),
        expected,
        f"the same values in all {len(weights)} tensors",
        remedy,
    )
