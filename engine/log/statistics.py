"""What an assigner does to the truths: the numbers that explain AP.

Shape legend: G truths of a batch, K positives.
"""

from __future__ import annotations

import torch

from assigners.core.boxes import area
from assigners.core.ranking import counts
from assigners.core.types import Assignment, GroundTruth
from engine.distributed import sum_over_ranks

# COCO's buckets, here by the area in the network input, which is what an assigner sees.
BUCKETS = ("small", "medium", "large")
EDGES = (32.0**2, 96.0**2)


class AssignmentStatistics:
    """Sums over batches, kept on the device so that counting costs no synchronisation."""

    def __init__(self, device: torch.device) -> None:
        self._truths = torch.zeros(3, device=device)
        self._starved = torch.zeros(3, device=device)
        self._positives = torch.zeros((), device=device)
        self._score = torch.zeros((), device=device)
        self._edges = torch.tensor(EDGES, device=device)

    def update(self, assignment: Assignment, truth: GroundTruth) -> None:
        """Counts one batch."""
        starved_G = counts(assignment.truth_K, len(truth)) == 0
        bucket_G = torch.bucketize(area(truth.boxes_G4), self._edges)
        self._truths += counts(bucket_G, 3)
        self._starved.scatter_add_(0, bucket_G, starved_G.float())
        self._positives += len(assignment)
        self._score += assignment.score_K.sum()

    def read(self) -> dict[str, float]:
        """The shares of all ranks since the last read, which also starts the count anew (collective)."""
        sums = torch.cat((self._truths, self._starved, self._positives[None], self._score[None]))
        *counts, positives, score = sum_over_ranks(sums).tolist()
        truths, starved = counts[:3], counts[3:]
        for total in (self._truths, self._starved, self._positives, self._score):
            total.zero_()
        values = {
            "assign/positives_per_truth": positives / max(1.0, sum(truths)),
            "assign/mean_score": score / max(1.0, positives),
            "assign/starved": sum(starved) / max(1.0, sum(truths)),
        }
        for bucket, all_, without in zip(BUCKETS, truths, starved, strict=True):
            if all_:
                values[f"assign/starved_{bucket}"] = without / all_
        return values
