"""Builds the wheel from the repository's `assigners/` and `adapters/`, of which no second copy is kept.

The folders are copied beside this file, as one package, for as long as setuptools needs them. In a source
archive the package lies there already, and no repository is around it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PACKAGE = HERE / "matchpoint_assigners"


@contextmanager
def _package() -> Iterator[None]:
    if not (REPOSITORY / "assigners").is_dir():
        yield
        return
    made = [PACKAGE, HERE / "build", HERE / "matchpoint_assigners.egg-info", HERE / "LICENSE"]
    try:
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "assigners", PACKAGE, ignore=skip)
        shutil.copytree(REPOSITORY / "adapters", PACKAGE / "adapters", ignore=skip)
        shutil.copy(REPOSITORY / "LICENSE", HERE)
        yield
    finally:
        for path in made:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def build_wheel(directory: str, config: Any = None, metadata: str | None = None) -> str:
    with _package():
        return build_meta.build_wheel(directory, config, metadata)


def build_sdist(directory: str, config: Any = None) -> str:
    with _package():
        return build_meta.build_sdist(directory, config)


def get_requires_for_build_wheel(config: Any = None) -> list[str]:
    return []


def get_requires_for_build_sdist(config: Any = None) -> list[str]:
    return []
