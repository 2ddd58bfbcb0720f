"""Makes mmdet importable where mmcv has no compiled half, as mmcv-lite has not.

Its heads, losses and assigners are pure torch, but `mmdet.models` imports every detector, and these import
`mmcv.ops`. So placeholders stand for that package; nothing that is measured or tested here calls one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import nn

OPS = "mmcv.ops"


def mmdet_models() -> ModuleType:
    """`mmdet.models`, with which all of mmdet is registered.

    Raises:
        ImportError: if mmdet, mmengine or mmcv is not installed.
    """
    import_module("mmcv")
    if find_spec("mmcv._ext") is None:  # the compiled half
        sys.meta_path.insert(0, _Placeholders())
    return import_module("mmdet.models")


class _Placeholders(MetaPathFinder, Loader):
    """Finds `mmcv.ops` and whatever is asked for in it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        mine = name == OPS or name.startswith(f"{OPS}.")
        return ModuleSpec(name, self, is_package=True) if mine else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Placeholder(ModuleType):
    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})
