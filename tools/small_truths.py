"""Prints, as a Markdown table, which share of small truths each assigner by places leaves without a positive.

    python -m tools.small_truths

Squares lie at random places of an image of 640 px, with strides 8 to 128. Assigners that read predictions are
left out: what they do depends on the model.
"""

from __future__ import annotations

import torch

from assigners import ATSS, FCOS, RFLA, Assigner, GroundTruth, MaxIoU, PointGrid, Predictions

SIDES = (2, 4, 6, 8, 12, 16, 24, 32)
COUNT = 500  # truths of each side, each alone in its image
SIZE, STRIDES = 640, (8, 16, 32, 64, 128)
ASSIGNERS: dict[str, Assigner] = {
    "ATSS": ATSS(),
    "ATSS, `force_match`": ATSS(force_match=True),
    "FCOS": FCOS(),
    "max IoU": MaxIoU(),
    "max IoU, no `force_match`": MaxIoU(force_match=False),
    "RFLA": RFLA(),
}


def positives(assigner: Assigner, side: int, count: int = COUNT) -> torch.Tensor:
    """How many positives each of `count` squares of this side in px has, (count,) int64."""
    generator = torch.Generator().manual_seed(side)
    corner_G2 = torch.rand(count, 2, generator=generator) * (SIZE - side)
    labels_G = torch.zeros(count, dtype=torch.long)
    truth = GroundTruth(torch.cat((corner_G2, corner_G2 + side), 1), labels_G, torch.arange(count))
    grid = PointGrid.for_image(SIZE, SIZE, STRIDES)
    # One image per truth; places alone decide, so that all may share one prediction.
    nothing = torch.zeros(1).expand(count, len(grid), 1)
    found = assigner(grid, Predictions(nothing, torch.zeros(1).expand(count, len(grid), 4)), truth)
    return torch.bincount(found.truth_K, minlength=count)


def table() -> str:
    """A line per assigner: share without a positive and mean number of positives, by side."""
    lines = [f"| side in px | {' | '.join(map(str, SIDES))} |", f"|---|{'---|' * len(SIDES)}"]
    for name, assigner in ASSIGNERS.items():
        cells = []
        for side in SIDES:
            count_G = positives(assigner, side)
            cells.append(f"{100 * (count_G == 0).float().mean():.0f}%, {count_G.float().mean():.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    print(table())


if __name__ == "__main__":
    main()
