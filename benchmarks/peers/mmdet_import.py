"""Imports mmdet's assigners where the compiled half of mmcv is not installed.

The assigners are pure torch, but the packages around them import mmcv and, through `mmdet.models`, every
detector. So stand-ins take the place of mmcv and of those packages for as long as the import lasts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

ASSIGNERS = "mmdet.models.task_modules.assigners"
CLASSES = {
    "ATSSAssigner": "atss_assigner",
    "TaskAlignedAssigner": "task_aligned_assigner",
    "SimOTAAssigner": "sim_ota_assigner",
}


def assigner_classes() -> dict[str, Any]:
    """The classes in `CLASSES` by name.

    Raises:
        ImportError: if mmdet or mmengine is not installed.
    """
    if find_spec("mmcv") is not None:
        package = import_module(ASSIGNERS)
        return {name: getattr(package, name) for name in CLASSES}
    with _stand_ins(_mmcv()):
        root = import_module("mmdet").__path__[0]
        with _stand_ins(_hollow_packages(root)):
            import_module(f"{ASSIGNERS}.iou2d_calculator")  # registers the IoU that the assigners look up
            # The registry imports its packages at the first look-up: now, while the hollow ones are there.
            import_module("mmdet.registry").TASK_UTILS.import_from_location()
            return {
                name: getattr(import_module(f"{ASSIGNERS}.{module}"), name)
                for name, module in CLASSES.items()
            }


def _mmcv() -> dict[str, ModuleType]:
    """All of mmcv that is imported on the way to the assigners; none of it is called."""
    mmcv, ops, roi_align = (ModuleType(name) for name in ("mmcv", "mmcv.ops", "mmcv.ops.roi_align"))
    mmcv.__version__ = "2.1.0"  # type: ignore[attr-defined]  # mmdet checks it
    roi_align.roi_align = None  # type: ignore[attr-defined]
    return {module.__name__: module for module in (mmcv, ops, roi_align)}


def _hollow_packages(root: str) -> dict[str, ModuleType]:
    """The packages above the assigners: they lead to their modules, but run nothing of their own."""
    packages = {}
    for name in ("mmdet.models", "mmdet.models.task_modules", ASSIGNERS):
        packages[name] = ModuleType(name)
        packages[name].__path__ = [str(Path(root, *name.split(".")[1:]))]
    return packages


@contextmanager
def _stand_ins(modules: dict[str, ModuleType]) -> Iterator[None]:
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
