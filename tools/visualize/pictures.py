"""Draws the positives that tools.visualize.statistics has collected; nothing is computed here.

Shape legend: K positives, G truths, L levels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from torch.nn.functional import avg_pool2d

from engine.log.report import assigner_title
from errors import UsageError
from tools.visualize.statistics import Markers, Scene

DPI, WIDTH = 100, 12.0  # 1200 pixels
# Dark enough to be distinguished on a faded grey picture.
TRUTH_COLORS = (
    "#d62728", "#1f5fd0", "#0f8a3c", "#e07b00", "#8b3fc4",
    "#00929c", "#d4229b", "#7a4a1e", "#6b7f00", "#3b3b98",
)  # fmt: skip
SHADES = 16
SCORES_SHOWN = (0.1, 0.4, 0.7, 1.0)


def assignment_figure(scene: Scene, found: Mapping[str, Markers], note: str) -> Figure:
    """Rows are assigners, columns are levels; the size of a marker is its soft score."""
    strides = scene.grid.strides
    figure, axes, panel = _grid(len(found), len(strides), scene, header=0.95)
    largest = _largest(scene, panel)
    for row, (name, markers) in enumerate(found.items()):
        for level, stride in enumerate(strides):
            ax, shown = axes[row][level], markers[markers.level_K == level]
            _background(ax, scene)
            _points(ax, shown, largest)
            if row == 0:
                ax.set_title(f"P{stride.bit_length() - 1}, a point every {stride} px", fontsize=12)
            _note(ax, f"{len(shown)} positive" + "s" * (len(shown) != 1))
        axes[row][0].set_ylabel(
            f"{assigner_title(name)}: {len(markers)} positives", fontsize=13, fontweight="bold"
        )
    return _titled(figure, scene, found, f"by assigner and FPN level\n{note}", largest)


def family_figure(scene: Scene, found: Mapping[str, Markers], note: str, columns: int = 4) -> Figure:
    """One panel for each assigner, with the positives of all levels."""
    figure, axes, panel = _grid(-(-len(found) // columns), columns, scene, header=0.95, gap=0.3)
    largest = _largest(scene, panel)
    for ax, (name, markers) in zip(axes.flat, found.items(), strict=False):
        _background(ax, scene)
        _points(ax, markers, largest)
        ax.set_title(f"{assigner_title(name)}: {len(markers)}", fontsize=11)
    for ax in axes.flat[len(found) :]:
        ax.axis("off")
    return _titled(figure, scene, found, f"all levels together\n{note}", largest)


def _titled(figure: Figure, scene: Scene, found: Mapping[str, Markers], how: str, largest: float) -> Figure:
    figure.suptitle(
        f"The positives of each of {len(scene.truth)} truths, {how}",
        fontsize=13, y=1 - 0.12 / figure.get_figheight(), va="top",
    )  # fmt: skip
    _legend(figure, largest, any(markers.certain_K.any() for markers in found.values()))
    return figure


def progress_figure(scene: Scene, found: Mapping[float, Markers], tops: Sequence[float]) -> Figure:
    """One column per progress: all levels in one picture, below it the scores; `tops` are the values of T."""
    wide = WIDTH / len(found)
    panel = wide * scene.image.shape[1] / scene.image.shape[2]
    tall, legend, largest = panel + 3.7, 0.5, _largest(scene, wide)
    room = ConstrainedLayoutEngine(rect=(0, legend / tall, 1, 1 - legend / tall))
    figure = Figure(figsize=(WIDTH, tall), dpi=DPI, layout=room)
    axes = figure.subplots(2, len(found), squeeze=False, height_ratios=(panel, 2.4))
    for column, ((progress, markers), top) in enumerate(zip(found.items(), tops, strict=True)):
        _background(axes[0][column], scene)
        _points(axes[0][column], markers, largest)
        axes[0][column].set_title(f"progress {progress:g}: T = {top:.2g}", fontsize=13)
        ax = axes[1][column]
        ax.axhline(top, color="0.25", linewidth=1.2, linestyle="--", zorder=2)
        _points(ax, markers, largest, np.stack((markers.truth_K, markers.score_K), axis=1))
        ax.set(xlim=(-0.6, len(scene.truth) - 0.4), ylim=(0, 1.09), xlabel="truth")
        ax.set_xticks(range(len(scene.truth)), [str(row + 1) for row in range(len(scene.truth))])
        ax.grid(axis="y", color="0.9")
        for row, label in enumerate(ax.get_xticklabels()):
            label.set_color(_color(row))
            label.set(fontweight="bold", fontsize=10 if len(scene.truth) <= 12 else 6.5)
    axes[1][0].set_ylabel("soft score (the class target)", fontsize=11)
    figure.suptitle("The soft positives fade while training goes on, the certain one stays", fontsize=14)
    line = Line2D([], [], color="0.25", linewidth=1.2, linestyle="--", label="T, the highest soft target")
    _legend(figure, largest, True, line)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG of 256 colours: a third of the bytes of a full one, and no difference to be seen.

    Raises:
        UsageError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    try:
        with Image.open(buffer) as picture:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another out=DIR") from error


def _grid(
    rows: int, columns: int, scene: Scene, header: float, gap: float = 0.07
) -> tuple[Figure, np.ndarray, float]:
    """Panels of the image's shape between a title and a legend, and the width of a panel in inches."""
    left, legend = 0.4, 0.5
    height, width = scene.image.shape[-2:]
    panel = (WIDTH - left - gap * columns) / columns
    tall = panel * height / width
    total = header + rows * (tall + gap) + legend
    figure = Figure(figsize=(WIDTH, total), dpi=DPI)
    axes = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={
            "left": left / WIDTH, "right": 1 - gap / WIDTH, "wspace": gap / panel,
            "bottom": legend / total, "top": 1 - header / total,
            "hspace": gap / tall,
        },
    )  # fmt: skip
    return figure, axes, panel


def _background(ax: Axes, scene: Scene) -> None:
    """The picture in faded grey, so that only truths and markers have colour; the boxes upon it."""
    # Without fine noise and in few shades: it is the background, and the file stays small.
    gray = avg_pool2d(scene.image.float().mean(0, keepdim=True), 3, 1, 1, count_include_pad=False)[0].numpy()
    dark, bright = np.quantile(gray, (0.01, 0.99))
    shade = np.round(SHADES * ((gray - dark) / max(bright - dark, 1.0)).clip(0, 1)) / SHADES
    height, width = gray.shape
    place = (0, width, height, 0)
    ax.imshow(0.66 + 0.31 * shade, cmap="gray", vmin=0, vmax=1, extent=place, interpolation="nearest")
    for row, (x1, y1, x2, y2) in enumerate(scene.truth.boxes_G4.tolist()):
        box = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=_color(row), linewidth=1.6)
        ax.add_patch(box)
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def _points(ax: Axes, markers: Markers, largest: float, xy_K2: np.ndarray | None = None) -> None:
    """Markers in the colours of their truths, at their points or at other places; certain ones as stars."""
    xy_K2 = markers.xy_K2 if xy_K2 is None else xy_K2
    colors = np.array([_color(row) for row in markers.truth_K.tolist()], dtype=object)
    for rows, shape, edge, larger in (
        (~markers.certain_K, "o", "white", 1.0),
        (markers.certain_K, "*", "black", 2.6),
    ):
        if rows.any():
            (x_K, y_K), area_K = xy_K2[rows].T, larger * _area(markers.score_K[rows], largest)
            ax.scatter(
                x_K, y_K, s=area_K, c=colors[rows].tolist(), marker=shape,
                edgecolors=edge, linewidths=0.7, zorder=3,
            )  # fmt: skip


def _largest(scene: Scene, width: float) -> float:
    """The area of a marker of score 1 in square points, so that neighbours in a panel do not overlap."""
    pitch = width * 72 * scene.grid.strides[0] / scene.image.shape[2]
    return min(max(0.88 * pitch, 4.5), 9.0) ** 2


def _area(score_K: Any, largest: float) -> Any:
    """Marker areas, nearly proportional to the score, but never invisible."""
    return largest * (0.07 + 0.93 * score_K)


def _color(row: int) -> str:
    return TRUTH_COLORS[row % len(TRUTH_COLORS)]


def _note(ax: Axes, text: str) -> None:
    box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    ax.text(0.985, 0.02, text, transform=ax.transAxes, fontsize=10, ha="right", va="bottom", bbox=box)


def _legend(figure: Figure, largest: float, certain: bool, line: Artist | None = None) -> None:
    gray: dict[str, Any] = {"linestyle": "none", "color": "0.35", "markeredgecolor": "white"}
    handles: list[Artist] = []
    for score in SCORES_SHOWN:
        size = _area(score, largest) ** 0.5
        handles.append(Line2D([], [], marker="o", markersize=size, label=f"soft score {score:g}", **gray))
    if certain:
        star = {**gray, "markeredgecolor": "black"}
        handles.append(Line2D([], [], marker="*", markersize=14, label="certain (O2F)", **star))
    handles.append(Patch(facecolor="none", edgecolor="0.35", linewidth=1.6, label="truth"))
    handles += [line] if line else []
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), fontsize=11, frameon=False,
        handletextpad=0.4, columnspacing=1.6,
    )  # fmt: skip
