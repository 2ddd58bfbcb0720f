"""The points of a network input, and what is constant about them.

Shape legend: P points of all L feature levels, M some of the points. A trailing 2 is (x, y), a trailing 4 the
axes x, y, -x and -y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor


def constant(make: Callable[[PointGrid], Tensor]) -> cached_property[Tensor]:
    """A property that is computed once, and outside of inference mode: training reads the same grids."""

    def outside(self: PointGrid) -> Tensor:
        with torch.inference_mode(False):
            return make(self)

    outside.__doc__ = make.__doc__
    return cached_property(outside)


@dataclass(frozen=True)
class PointGrid:
    """The points of all FPN levels of one network input, level after level, row after row.

    Point (i, j) of stride s sits at ((j + offset) s, (i + offset) s).

    Attributes:
        centers_P2: float32, x and y in pixels.
        stride_P: float32, the stride of each point's level.
        level_slices: where each level lies in P.
        strides: the stride of each level.
        shapes: (rows, columns) of each level.
        height, width: of the network input in pixels.
        offset: 0.5 where points are the centres of their cells, 0 where they are the corners.
    """

    centers_P2: Tensor
    stride_P: Tensor
    level_slices: tuple[slice, ...]
    strides: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    height: int
    width: int
    offset: float = 0.5

    @classmethod
    def for_image(
        cls,
        height: int,
        width: int,
        strides: Sequence[int],
        device: torch.device | str | None = None,
        offset: float = 0.5,
    ) -> PointGrid:
        """Lays ceil(height / s) x ceil(width / s) points for each stride s.

        Raises:
            ValueError: if the image has no extent or a stride is not positive.
        """
        if height < 1 or width < 1 or not strides or min(strides) < 1:
            raise ValueError(
                f"a grid needs a positive height, width and strides, got {height}x{width}, {tuple(strides)}"
            )
        shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
        return cls.for_maps(shapes, strides, height, width, device, offset)

    @classmethod
    def for_maps(
        cls,
        shapes: Sequence[tuple[int, int]],
        strides: Sequence[int],
        height: int,
        width: int,
        device: torch.device | str | None = None,
        offset: float = 0.5,
    ) -> PointGrid:
        """The points of feature maps of the given (rows, columns), one for each stride.

        Equal arguments may give the same object, which is not to be written to.
        """
        place = str(torch.get_default_device() if device is None else device)
        maps, steps = tuple((rows, columns) for rows, columns in shapes), tuple(strides)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # tensors of a trace must not outlive it
            return cls._lay(maps, steps, height, width, place, offset)
        with torch.inference_mode(False):
            return _laid(maps, steps, height, width, place, offset)

    @classmethod
    def _lay(
        cls,
        shapes: tuple[tuple[int, int], ...],
        strides: tuple[int, ...],
        height: int,
        width: int,
        device: str,
        offset: float,
    ) -> PointGrid:
        centers, stride_of_point, slices, start = [], [], [], 0
        for (rows, columns), stride in zip(shapes, strides, strict=True):
            y = (torch.arange(rows, device=device, dtype=torch.float32) + offset) * stride
            x = (torch.arange(columns, device=device, dtype=torch.float32) + offset) * stride
            grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
            centers.append(torch.stack((grid_x, grid_y), dim=-1).reshape(-1, 2))
            stride_of_point.append(torch.full((rows * columns,), float(stride), device=device))
            slices.append(slice(start, start + rows * columns))
            start += rows * columns
        return cls(
            torch.cat(centers),
            torch.cat(stride_of_point),
            tuple(slices),
            strides,
            shapes,
            height,
            width,
            offset,
        )

    def __len__(self) -> int:
        return len(self.stride_P)

    def points(self, point_M: Tensor) -> tuple[Tensor, Tensor]:
        """Place and stride of some points, (M, 2) and (M, 1), laid out column by column."""
        place_M2, stride_M1 = self._columns_3P.index_select(1, point_M).t().split((2, 1), dim=1)
        return place_M2, stride_M1

    @constant
    def _columns_3P(self) -> Tensor:
        return torch.cat((self.centers_P2.t(), self.stride_P[None]))

    @constant
    def sign_4(self) -> Tensor:
        """Of the axes x, y, -x and -y, (4,) float32."""
        return torch.tensor([1.0, 1.0, -1.0, -1.0], device=self.stride_P.device)

    @constant
    def offset_4(self) -> Tensor:
        """The offset on these axes, (4,) float32: cell j of -x is cell -j of x."""
        return self.offset * self.sign_4

    @constant
    def early_4(self) -> Tensor:
        """The same and a thousandth of a cell more."""
        return self.offset_4 + 1e-3

    @constant
    def cell_limits_2L4(self) -> Tensor:
        """The lowest and the highest cell that a range of cells may begin with on these axes, (2, L, 4)."""
        limits = [[[0, 0, 1 - w, 1 - h] for h, w in self.shapes], [[w, h, 1, 1] for h, w in self.shapes]]
        return torch.tensor(limits, dtype=torch.float32, device=self.stride_P.device)

    @constant
    def extent_4(self) -> Tensor:
        """Width and height of the network input, twice, (4,) float32."""
        return torch.tensor([float(self.width), float(self.height)] * 2, device=self.stride_P.device)

    @constant
    def stride_L(self) -> Tensor:
        """The stride of each level, (L,) float32."""
        return torch.tensor(self.strides, dtype=torch.float32, device=self.stride_P.device)

    @constant
    def size_L2(self) -> Tensor:
        """Columns and rows of each level, (L, 2) int64: in the order of x and y."""
        return torch.tensor([s[::-1] for s in self.shapes], device=self.stride_P.device)

    @constant
    def last_L2(self) -> Tensor:
        """The last column and row of each level, (L, 2) float32."""
        return (self.size_L2 - 1).float()

    @constant
    def box_limits_24(self) -> Tensor:
        """Between these two, (2, 4) float32, lie the sides of a finite box that overlaps the image."""
        inf = float("inf")
        limits = [[-inf, -inf, 0.0, 0.0], [float(self.width), float(self.height), inf, inf]]
        return torch.tensor(limits, device=self.stride_P.device)

    @constant
    def start_L(self) -> Tensor:
        """The first point of each level, (L,) int64."""
        return torch.tensor([s.start for s in self.level_slices], device=self.stride_P.device)

    def level_of(self, point_M: Tensor) -> Tensor:
        """The row of the level of each point, (M,) int64."""
        return torch.bucketize(point_M, self.start_L, right=True) - 1


_laid = lru_cache(maxsize=64)(PointGrid._lay)
