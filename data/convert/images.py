"""Copies photographs such that their pixels lie as their labels mean them."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image, ImageOps

_ORIENTATION = 0x0112  # EXIF
_AS_STORED = (0, 1)


def copy_upright(source: Path, target: Path, said: tuple[int, int] | None) -> bool:
    """Copies an image, and turns it upright if its EXIF orientation asks for that.

    Training reads pixels as stored; labelling programs show them upright, so that is what labels mean. Where
    a label gives the size of the stored pixels, it means those, and the image stays as it is.

    Args:
        said: (width, height) that the label gives, or None.

    Returns:
        Whether it was turned.

    Raises:
        ValueError: with the reason, if it is no image or not one of 8 bits.
    """
    try:
        with Image.open(source) as file:
            if file.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits per channel")
            file.load()
            turned = file.getexif().get(_ORIENTATION, 1) not in _AS_STORED
            upright = ImageOps.exif_transpose(file) if turned else file
            if turned and not (said == file.size != upright.size):
                kept = {"icc_profile": profile} if (profile := file.info.get("icc_profile")) else {}
                quality = {"quality": 95, "subsampling": 0} if file.format in ("JPEG", "MPO") else {}
                upright.save(target, format="JPEG" if quality else file.format, **quality, **kept)
                return True
    except ValueError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise ValueError("image that cannot be read") from error
    shutil.copyfile(source, target)
    return False
