"""A detector for inference, its BatchNorms folded into the convolutions before them.

A BatchNorm in evaluation mode is a product and a sum per channel, which the convolution's weights can hold.
Which norm follows which convolution is observed in one pass, since timm's modules do not say.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detector.backbone.fixed_norm import FixedNorm
from detector.detector import Detector
from detector.winograd import WinogradConv2d

# By exact type: a subclass may do more than its base, standardise weights for example.
_CONVOLUTIONS = (nn.Conv2d, WinogradConv2d)
_NORMS = (nn.BatchNorm2d, FixedNorm, BatchNormAct2d)


@torch.no_grad()
def folded(detector: Detector) -> Detector:
    """A copy in evaluation mode, with the same outputs but for rounding; it cannot be trained.

    A norm stays where its convolution has another reader, or either of them is used more than once.
    """
    fast = copy.deepcopy(detector).eval()
    names = {module: name for name, module in fast.named_modules()}
    for convolution, norm in _pairs(fast):
        fast.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        fast.set_submodule(names[norm], rest)
    for module in fast.modules():
        if isinstance(module, WinogradConv2d):
            module.fixed = True
        elif isinstance(module, nn.Hardswish):
            module.inplace = True
    return fast


def _pairs(detector: Detector) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution that one norm alone reads, and that norm."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the maps, so that no other takes their id
    read: list[tuple[nn.BatchNorm2d, int]] = []
    hooks: list[Any] = []
    for module in detector.modules():
        if type(module) in _CONVOLUTIONS:
            hooks.append(module.register_forward_hook(lambda own, _, out: made.update({id(out): (own, out)})))
        elif type(module) in _NORMS and module.track_running_stats:
            hooks.append(
                module.register_forward_pre_hook(lambda own, inputs: read.append((own, id(inputs[0]))))
            )
    side = detector.strides[-1]
    with _Readers() as readers:
        detector.outputs(detector.mean.new_zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    uses = Counter(own for own, _ in made.values()) + Counter(own for own, _ in read)
    return [
        (made[key][0], norm)
        for norm, key in read
        if key in made and readers.count[key] == 1 and uses[norm] == 1 and uses[made[key][0]] == 1
    ]


class _Readers(TorchDispatchMode):
    """Counts the operations that read each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        self.count.update(read)
        results = func(*args, **(kwargs or {}))
        for made in {id(leaf) for leaf in tree_leaves(results)} - read:
            self.count[made] = 0  # a tensor that is gone may have had this id
        return results
