"""Prediction of the next character of a text: a small language model on any file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from energyopt.core.protocols import Split, Tokens
from energyopt.errors import ConfigError
from energyopt.tasks._splits import DataSet, check_int, check_share


class Text(DataSet):
    """The character that follows `context` others, in a text file in UTF-8.

    The text is cut into three stretches: training, validation and test; a sample lies within one of
    them. Samples are evenly spaced over their stretch. The characters of the training stretch are
    numbered by their code; all others, in any stretch, share the last class. Accuracy is the share
    of correctly predicted characters.

    Args:
        path: The file: any text that you may use, such as a book in the public domain.
        context: Characters that a prediction is based on.
        n_train: Training samples; None takes one at each character.
        n_validation: Validation samples, likewise.
        n_test: Test samples, likewise.
        validation_share: Share of the text for validation.
        test_share: Share of the text for testing.

    Attributes:
        characters: Characters of the training stretch, in the order of their numbers.
    """

    characters: str

    def __init__(
        self,
        path: str | Path,
        *,
        context: int = 64,
        n_train: int | None = 20_000,
        n_validation: int | None = 2_000,
        n_test: int | None = 2_000,
        validation_share: float = 0.1,
        test_share: float = 0.1,
    ) -> None:
        check_int("context", context, 1)
        check_share("validation_share", validation_share, 0.5)
        check_share("test_share", test_share, 0.5)
        codes = _read(Path(path).expanduser())
        ends = [
            round(len(codes) * (1 - share)) for share in (validation_share + test_share, test_share)
        ]
        stretches = np.split(codes, ends)
        characters = np.unique(stretches[0])
        if len(characters) < 2:  # noqa: PLR2004
            raise ConfigError(
                f"task.path={path} holds {len(codes)} characters, all of which are alike in the "
                f"training stretch: give a text."
            )
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        self.train, self.validation, self.test = (
            _cut_samples(name, size, _to_numbers(stretch, characters), context)
            for stretch, (name, size) in zip(stretches, sizes.items(), strict=True)
        )
        self.input_shape = Tokens((context,))
        self.num_classes = len(characters) + 1
        self.characters = "".join(map(chr, characters))


def _read(path: Path) -> NDArray[np.uint32]:
    """Return the code of each character of a file."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(
            f"task.path={path} cannot be read ({error.strerror}): let it name a text file, such "
            f"as a book of https://www.gutenberg.org (see its licence page)."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"task.path={path} is no text in UTF-8 ({error.reason} at byte {error.start}): "
            f"convert it, or name another file."
        ) from error
    return np.frombuffer(text.removeprefix("\ufeff").encode("utf-32-le"), np.uint32)


def _to_numbers(codes: NDArray[np.uint32], characters: NDArray[np.uint32]) -> torch.Tensor:
    """Return the number of each character; `len(characters)` for those not in `characters`."""
    numbers = np.searchsorted(characters, codes).clip(max=len(characters) - 1)
    numbers[characters[numbers] != codes] = len(characters)
    return torch.from_numpy(numbers.astype(np.int32))


def _cut_samples(name: str, size: int | None, numbers: torch.Tensor, context: int) -> Split:
    """Return evenly spaced samples of a stretch, each labelled with the following character."""
    available = len(numbers) - context
    if size is not None:
        check_int(name, size, 1)
    if available < (size or 1):
        raise ConfigError(
            f"task.{name}={size} asks for more than the {max(available, 0)} samples of "
            f"{context} characters (task.context) that this stretch of {len(numbers)} characters "
            f"holds: choose fewer, a shorter context, or a longer text."
        )
    begins = torch.arange(available) if size is None else torch.arange(size) * available // size
    # A view of the text: windows overlap, and copying all would take `context` times its memory.
    windows = numbers.unfold(0, context, 1)
    inputs = windows[:-1] if size is None else windows[begins]
    return Split(inputs, numbers[begins + context].long())
