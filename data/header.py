"""What the header of an image file must say."""

from __future__ import annotations

from PIL import Image


def header_problem(file: Image.Image, size: tuple[int, int]) -> str | None:
    """Why this is not an 8-bit image of `size` (height, width), or None."""
    height, width = size
    if file.size != (width, height):
        return f"is {file.width}x{file.height}, but the annotations say {width}x{height}"
    if file.mode.startswith(("I", "F")):
        return f"has more than 8 bits per channel (mode {file.mode}); convert it to 8 bits"
    return None
