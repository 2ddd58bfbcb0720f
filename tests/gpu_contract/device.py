"""A GPU without a GPU: tensors that hold their values on the CPU and claim to be on "cuda".

Within `Contract`, tensors made for "cuda" are such tensors. Every operation on one checks that all its
operands are, as a GPU would, and counts when the host would wait for the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.assigners.launches import is_view, waits

CUDA = torch.device("cuda", 0)


class WrongDeviceError(Exception):
    """An operand of an operation on the device lies on the CPU."""


class OnDevice(Tensor):
    """A tensor whose values are `value`, on the CPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> OnDevice:
        wrapped = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=value.device,
            requires_grad=value.requires_grad,
        )
        wrapped.value = value.detach()
        return wrapped  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat = tensors_of((args, kwargs))
        if func.overloadpacket.__name__ not in MAY_MIX:
            foreign = [t for t in flat if not isinstance(t, cls) and t.dim()]
            if foreign:
                raise WrongDeviceError(f"{func} got a CPU tensor of shape {tuple(foreign[0].shape)}")
        Contract.note(func, args, kwargs)
        # In-place operations return their input.
        owners = {id(t.value): t for t in flat if isinstance(t, cls)}
        result = func(*mapped(bare, args), **mapped(bare, kwargs))
        return mapped(lambda x: owners[id(x)] if id(x) in owners else claimed(x), result)


MAY_MIX = ("copy_", "_to_copy")  # what moves values between devices


def tensors_of(x: Any) -> list[Tensor]:
    """The tensors within the arguments of a call. (torch's pytree does this too, but dominates a step.)"""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        x = x.values()
    elif not isinstance(x, list | tuple):
        return []
    return [tensor for item in x for tensor in tensors_of(item)]


def mapped(change: Callable[[Any], Any], x: Any) -> Any:
    """The arguments or the result of a call with every value changed."""
    if isinstance(x, dict):
        return {key: mapped(change, item) for key, item in x.items()}
    if type(x) in (list, tuple):
        return type(x)(mapped(change, item) for item in x)
    return change(x)


def bare(x: Any) -> Any:
    return x.value if isinstance(x, OnDevice) else x


def claimed(x: Any) -> Any:
    """The same tensor, on the device."""
    return OnDevice(x) if isinstance(x, Tensor) and not isinstance(x, OnDevice) else x


def on_device(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on the device."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            part.register_parameter(name, nn.Parameter(OnDevice(parameter.detach()), parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = OnDevice(buffer)
    return module


class Contract(TorchFunctionMode):
    """Makes tensors for "cuda" ones of OnDevice, and counts.

    Attributes:
        operations: on the device, views left out.
        waits: of the host for the device.
        uploads: values that the host sends, which delays it as well.
    """

    current: Contract | None = None

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __enter__(self) -> Contract:
        Contract.current = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        Contract.current = None

    @classmethod
    def note(cls, func: Any, args: Any, kwargs: Any) -> None:
        if cls.current is None:
            return
        name = func.overloadpacket.__name__
        if not is_view(func):
            cls.current.operations[name] += 1
        if waits(func, args, kwargs) or name == "nms":  # torchvision's reads a mask on the host
            cls.current.waits[name] += 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        # The tensor that `to` takes its device from is not moved itself.
        held = any(isinstance(t, OnDevice) for t in tensors_of(args[:1] if name == "to" else (args, kwargs)))
        if held and name in ("tolist", "cpu"):
            self.waits[name] += 1
            return func(*mapped(bare, args), **kwargs)
        if held and name in ("numpy", "__array__"):
            raise WrongDeviceError("numpy reads the CPU only")
        if held and name == "new_tensor":
            self.uploads[name] += 1
            return claimed(func(*mapped(bare, args), **kwargs))
        target = _target(name, args, kwargs)
        if target is None:
            return func(*args, **kwargs)
        args, kwargs = _on_cpu(args), _on_cpu(kwargs)
        if name == "to" and held and target.type == "cpu":
            self.waits[name] += 1
            return func(*mapped(bare, args), **kwargs)
        if target.type != "cuda":
            return func(*args, **kwargs)
        if name in ("tensor", "as_tensor") or (name == "to" and not held):
            self.uploads[name] += 1
        if name == "to" and held:
            return func(*args, **kwargs)
        return claimed(func(*mapped(bare, args), **kwargs))


def _target(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """The device that a call names, if any."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    if name == "to":
        for x in args[1:]:
            if isinstance(x, str | torch.device):
                return torch.device(x)
            if isinstance(x, Tensor):
                return x.device
    return None


def _on_cpu(arguments: Any) -> Any:
    def moved(x: Any) -> Any:
        is_device = isinstance(x, torch.device) or (isinstance(x, str) and x.startswith("cuda"))
        return torch.device("cpu") if is_device else x

    return mapped(moved, arguments)
