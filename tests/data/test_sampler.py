from __future__ import annotations

import numpy as np
import pytest

from data.sampler import EpochSampler
from errors import UsageError


def sampler(images: int, batch_size: int, portraits: int = 0, **place: int) -> EpochSampler:
    return EpochSampler(np.arange(images) < portraits, batch_size, **{"seed": 0, **place})


def images(own: EpochSampler) -> list[int]:
    return [index for request in own for _, index in request.own]


def test_an_epoch_visits_each_image_at_most_once_in_its_own_order() -> None:
    own = sampler(23, 4)
    orders = []
    for epoch in (0, 1):
        own.set(epoch)
        batches = list(own)
        assert [len(batch.own) for batch in batches] == [4] * 5 == [4] * len(own)
        assert {e for batch in batches for e, _ in batch.own} == {epoch}
        orders.append(images(own))
        assert len(set(orders[-1])) == 20
        assert set(orders[-1]) <= set(range(23))
    assert orders[0] != orders[1]
    assert images(sampler(23, 4)) == orders[0]
    assert images(sampler(23, 4, seed=1)) != orders[0]


@pytest.mark.parametrize("portraits", [0, 9])
def test_an_epoch_continues_where_it_stopped(portraits: int) -> None:
    own = sampler(23, 4, portraits)
    own.set(3)
    whole = list(own)
    own.set(3, start=2)
    assert list(own) == whole[2:]
    own.set(3, start=5)
    assert list(own) == []
    assert len(own) == 5


@pytest.mark.parametrize(("count", "batch_size"), [(23, 4), (24, 4), (5, 4)])
def test_ranks_share_an_epoch(count: int, batch_size: int) -> None:
    ranks = [list(sampler(count, batch_size, 7, rank=rank, ranks=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == max(1, count // (2 * batch_size))
    whole = list(sampler(count, 2 * batch_size, 7))
    for one, *shares in zip(whole, *ranks, strict=True):
        assert sorted(one.own) == sorted(index for share in shares for index in share.own)
        for share in shares:  # whoever is not loaded here counts for the canvas
            assert sorted([*share.own, *share.beside]) == sorted(one.own)
    seen = [index for request in whole for _, index in request.own]
    assert len(seen) == len(set(seen)) == (count // 8 * 8 or count)


@pytest.mark.parametrize(("accumulate", "batch_size"), [(1, 12), (3, 4)])
def test_steps_are_of_one_orientation_as_far_as_they_can(accumulate: int, batch_size: int) -> None:
    """100 images in steps of 12, 40 of them portraits: at most the images left over are mixed."""
    own = sampler(100, batch_size, 40, accumulate=accumulate)
    requests = list(own)
    steps = [requests[start : start + accumulate] for start in range(0, len(requests), accumulate)]
    kinds = [{index < 40 for batch in step for _, index in batch.own} for step in steps]
    assert [len(kind) for kind in kinds[:6]] == [1] * 6
    assert sum(len(kind) for kind in kinds) <= len(kinds) + 1
    assert len({bool(kind == {True}) for kind in kinds[:6]}) == 2, "both kinds come, in turn"
    for step in steps:
        for batch in step:
            everyone = [index for other in step for index in other.own]
            assert sorted([*batch.own, *batch.beside]) == sorted(everyone)


def test_a_batch_of_a_step_has_the_images_of_a_larger_batch() -> None:
    """Two batches of 4, added up, make the step of one batch of 8."""
    added, whole = list(sampler(64, 4, 30, accumulate=2)), list(sampler(64, 8, 30))
    for number, request in enumerate(whole):
        assert [*added[2 * number].own, *added[2 * number + 1].own] == list(request.own)


def test_rare_portraits_are_seen() -> None:
    """3 portraits fill no batch of 8, and in each epoch 7 of 55 images are left out: not always the same."""
    own, seen = sampler(55, 8, 3), np.zeros(55)
    for epoch in range(60):
        own.set(epoch)
        seen[images(own)] += 1
    assert seen.min() > 40


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(UsageError):
        sampler(1, 4, rank=0, ranks=2)
    with pytest.raises(UsageError):
        sampler(5, 0)


def test_all_images_of_a_step_get_one_square() -> None:
    """The side depends on seed, epoch and step, not on the number of processes or the place in the epoch."""
    sides = (256, 320, 384)

    def drawn(epoch: int, start: int = 0, **options: object) -> list[int]:
        own = EpochSampler(
            np.zeros(400, dtype=bool), **{"batch_size": 4, "seed": 0, "sides": sides, **options}
        )  # type: ignore[arg-type]
        own.set(epoch, start)
        requests = list(own)
        assert all(not request.beside for request in requests)
        return [request.side for request in requests]

    whole = drawn(0)
    assert set(whole) == set(sides)
    assert drawn(0, start=30) == whole[30:]
    assert drawn(0, batch_size=2, ranks=2, rank=1) == whole
    assert drawn(0, batch_size=2, accumulate=2) == [side for side in whole for _ in range(2)]
    assert drawn(1) != whole
    assert drawn(0, seed=1) != whole
    assert {request.side for request in sampler(23, 4)} == {0}
