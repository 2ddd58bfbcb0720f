"""The files that `predict.py` writes: predictions.json, in COCO's results format, and predictions.csv."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import supervision as sv

from errors import UsageError
from inference.drawing import as_supervision
from inference.found import Found


class Results:
    """Collects detections; both files are complete when the `with` block ends, also by an error.

    Attributes:
        images, skipped: how many gave a result, and why each of the others did not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.images, self.skipped = folder, 0, list[str]()
        self._rows: list[dict[str, Any]] = []
        self._table = sv.CSVSink(str(folder / "predictions.csv"))
        self._names: set[str] = set()
        self._start = time.perf_counter()

    def __enter__(self) -> Results:
        self._table.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.close()
        (self.folder / "predictions.json").write_bytes(msgspec.json.encode(self._rows))

    def add(self, found: Found, image_id: int, name: str) -> None:
        """The detections of one image or frame."""
        self.images += 1
        self._rows += found.coco(image_id)
        self._table.append(as_supervision(found), {"image_id": image_id, "image": name})

    def skip(self, problem: str) -> None:
        """An image without a result."""
        self.skipped.append(problem)

    def picture_name(self, path: Path) -> str:
        """The file name of the annotated picture of `path`; images of other folders may have it, too."""
        name, number = f"{path.stem}.jpg", 2
        while name in self._names:
            name, number = f"{path.stem}-{number}.jpg", number + 1
        self._names.add(name)
        return name

    def summary(self) -> str:
        """Counts and speed in one line."""
        seconds = time.perf_counter() - self._start
        parts = [f"{self.images} images", f"{len(self._rows)} detections"]
        parts += [f"{len(self.skipped)} left out"] if self.skipped else []
        return f"{', '.join(parts)}, {self.images / seconds:.1f} images per second,"


class _Image(msgspec.Struct):
    id: int
    file_name: str


class _File(msgspec.Struct):
    images: list[_Image]


def ids_of(files: list[Path], annotations: Path | None) -> dict[Path, int]:
    """The image id of each file, in the order in which they are to be predicted.

    With a COCO-format file these are its ids and its order, and files that it does not list are left out.
    Without one, the numbers that the names are made of, as COCO's 000000000139.jpg, or else 1, 2, 3, ...

    Raises:
        UsageError: if the file is no such file, or lists none of the images.
    """
    if annotations is not None:
        try:
            listed = msgspec.json.decode(annotations.read_bytes(), type=_File).images
        except OSError as error:
            raise UsageError(f"annotations={annotations} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise UsageError(f"annotations={annotations} is no COCO-format file: {error}") from error
        by_name = {file.name: file for file in files}
        ids = {by_name[name]: image.id for image in listed if (name := Path(image.file_name).name) in by_name}
        if not ids:
            raise UsageError(f"annotations={annotations} lists none of the {len(files)} images")
        return ids
    numbers = [int(file.stem) for file in files if file.stem.isascii() and file.stem.isdigit()]
    if len(set(numbers)) == len(files):
        return dict(zip(files, numbers, strict=True))
    return {file: number for number, file in enumerate(files, start=1)}
