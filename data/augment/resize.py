"""The size that an image is resized to: a rule that needs no pixels. Sizes are (height, width) in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from errors import UsageError

LEAST = 2  # px; torch's resize of uint8 to a side of one pixel fails or returns other pixels


class Resize(Protocol):
    """A rule for the size of an image; it may draw from torch's generator."""

    def size(self, height: int, width: int) -> tuple[int, int]: ...


class KeepRatio:
    """Shorter side to one of `short`, longer side at most `long`, ratio kept to the pixel.

    Raises:
        UsageError: if a size is below 8.
    """

    def __init__(self, short: int | Sequence[int], long: int) -> None:
        self.short = [short] if isinstance(short, int) else list(short)
        self.long = long
        if not self.short or min(*self.short, long) < 8:
            raise UsageError(f"short={short}, long={long}: image sizes must be at least 8 pixels")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The size of an image of (height, width); draws one of several shorter sides."""
        short = self.short[int(torch.randint(len(self.short), ()))]
        scale = min(short / min(height, width), self.long / max(height, width))
        return max(LEAST, round(height * scale)), max(LEAST, round(width * scale))


class Square:
    """Both sides to `side`, ratio not kept."""

    def __init__(self, side: int) -> None:
        self.side = side

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(side, side)."""
        return self.side, self.side
