"""Downloads COCO 2017 for detection: python -m data.coco.download_coco root=DIR

The same command continues what was interrupted and skips what is complete. An archive is deleted once it is
unpacked: about 40 GB are needed at the peak, 21 GB in the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)  # fmt: skip

from command_line import new_folder, option, run
from data.coco.download import Show, fetch, partial, size
from errors import UsageError

CHUNK = 1 << 22  # bytes


@dataclass(frozen=True)
class Archive:
    """One zip of the official site.

    Attributes:
        path: below `source`.
        folder: the one folder in it.
        size, unpacked: bytes; `unpacked` is rounded up.
        md5: of the zip.
    """

    path: str
    folder: str
    size: int
    unpacked: int
    md5: str


ARCHIVES = {
    "train": Archive(
        "zips/train2017.zip", "train2017", 19_336_861_798, 19_500_000_000, "cced6f7f71b7629ddf16f17bbcfab6b2"
    ),
    "val": Archive(
        "zips/val2017.zip", "val2017", 815_585_330, 820_000_000, "442b8da7639aecaf257c1dceb8ba8c80"
    ),
    "annotations": Archive(
        "annotations/annotations_trainval2017.zip", "annotations", 252_907_541, 900_000_000,
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
}  # fmt: skip


@dataclass
class Options:
    """What the command line can set."""

    root: str = option(help="folder for images and annotations, data.root in training; it is created")
    parts: list[str] = option(list(ARCHIVES), choices=tuple(ARCHIVES), help="what to download")
    source: str = option("http://images.cocodataset.org", help="address of the archives, for mirrors")

    def __post_init__(self) -> None:
        if not self.source.startswith(("http://", "https://", "file://")):
            raise UsageError(f"source={self.source} must begin with http://, https:// or file://")


def main(words: Sequence[str] | None = None) -> None:
    """Downloads and unpacks what the command line asks for."""
    run(Options, _download, __doc__, words)


def _download(options: Options) -> None:
    try:
        download(options, Console())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise


def download(options: Options, console: Console) -> None:
    """Brings every part that is not there yet.

    Raises:
        UsageError: if there is too little space, the server fails, or an archive is not the official one.
    """
    root = new_folder(options.root, "root=DIR")
    missing = [ARCHIVES[part] for part in options.parts if not (root / ARCHIVES[part].folder).exists()]
    _check_space(root, missing)
    for archive in (ARCHIVES[part] for part in options.parts):
        if archive not in missing:
            console.print(f"{root / archive.folder} is there", soft_wrap=True)
            continue
        target = root / Path(archive.path).name
        if not target.exists():
            with _shown(console, f"downloading {target.name}") as show:
                fetch(f"{options.source.rstrip('/')}/{archive.path}", target, show)
        with _shown(console, f"checking {target.name}") as show:
            _check_md5(target, archive, show)
        with _shown(console, f"unpacking {archive.folder}") as show:
            _unpack(target, root, archive.folder, show)
        target.unlink()
        console.print(f"{root / archive.folder} is complete", soft_wrap=True)


def _check_space(root: Path, archives: list[Archive]) -> None:
    """The archives go one after another, and each is deleted once it is unpacked."""
    needed, kept = 0, 0
    for archive in archives:
        target = root / Path(archive.path).name
        to_come = 0 if target.exists() else max(0, archive.size - size(partial(target)))
        needed = max(needed, kept + to_come + archive.unpacked)
        kept += archive.unpacked - (archive.size - to_come)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UsageError(
            f"{root} has {free / 1e9:.1f} GB free, but needs {needed / 1e9:.1f} GB to download and unpack: "
            "free some, choose another root=DIR, or fewer parts=[val,annotations]"
        )


def _check_md5(path: Path, archive: Archive, show: Show) -> None:
    digest, done, whole = hashlib.md5(usedforsecurity=False), 0, size(path)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            show(done, whole)
    if digest.hexdigest() != archive.md5:
        path.unlink()
        raise UsageError(
            f"{path} was not the official archive: {whole} bytes of MD5 {digest.hexdigest()}, expected "
            f"{archive.size} of {archive.md5}. It is deleted: give the same command again, or another "
            "source=URL"
        )


def _unpack(path: Path, root: Path, folder: str, show: Show) -> None:
    """Unpacks beside the folder, checks each file's CRC, and renames, so that what is there is whole."""
    beside = root / f"{folder}.part"
    shutil.rmtree(beside, ignore_errors=True)  # of an interrupted attempt
    done = 0
    try:
        with zipfile.ZipFile(path) as file:
            whole = sum(member.file_size for member in file.infolist())
            for member in file.infolist():
                if not member.filename.startswith(f"{folder}/"):
                    raise UsageError(f"{path} holds {member.filename}, expected nothing beside {folder}/")
                file.extract(member, beside)
                done += member.file_size
                show(done, whole)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UsageError(f"{path} is damaged ({error}): delete it and give the same command again") from error
    except OSError as error:
        raise UsageError(
            f"{beside} cannot be written ({error.strerror}): free space and give the same command again"
        ) from error
    os.replace(beside / folder, root / folder)
    beside.rmdir()


@contextmanager
def _shown(console: Console, title: str) -> Iterator[Show]:
    """A progress bar; where there is no terminal, one line."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if not console.is_terminal:
            console.print(title, soft_wrap=True)
        task = bar.add_task(title, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


if __name__ == "__main__":
    main()
