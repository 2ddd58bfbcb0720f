"""Points inside regions are ignored, unless they are positive."""

from dataclasses import replace

import torch

from assigners import FCOS, Assignment, GroundTruth, ignore_inside
from tests.helpers.assigner_cases import GRID, copies, truths
from tests.helpers.assigner_check import check_same, check_wellformed
from tests.oracles.scene import inside, scenes

BOX = [20.0, 20.0, 50.0, 44.0]
REGIONS = truths([[10.0, 4.0, 36.0, 60.0], [30.0, 8.0, 90.0, 30.0]], [], [[40.0, 40.0, 41.0, 41.0]], label=-1)


def _case() -> tuple[Assignment, GroundTruth]:
    truth = truths([BOX], [BOX], [])
    return FCOS()(GRID, copies(GRID, BOX, BOX, BOX), truth), truth


def test_background_inside_a_region_is_ignored_and_positives_are_not() -> None:
    found, truth = _case()
    ignoring = ignore_inside(found, GRID, REGIONS, 3)
    check_wellformed(ignoring, GRID, copies(GRID, BOX, BOX, BOX), truth)
    positive = set(zip(found.image_K.tolist(), found.point_K.tolist(), strict=True))
    expected = set()
    for image, (scene, _) in enumerate(scenes(GRID, copies(GRID, BOX, BOX, BOX), REGIONS)):
        for point, place in enumerate(scene.points):
            if any(inside(place, box) for box in scene.boxes) and (image, point) not in positive:
                expected.add((image, point))
    assert set(zip(ignoring.image_N.tolist(), ignoring.point_N.tolist(), strict=True)) == expected
    assert len(expected) > 20
    assert not expected & positive
    assert bool((ignoring.weight_N == 0).all())
    rows = {"image_N": found.image_N, "point_N": found.point_N, "weight_N": found.weight_N}
    check_same(replace(ignoring, **rows), found)


def test_rows_of_the_assigner_stay_outside_the_regions() -> None:
    found, _ = _case()
    inside_region = int(ignore_inside(found, GRID, REGIONS, 3).point_N[0])
    rows = {
        "image_N": torch.tensor([0, 1, int(found.image_K[0])]),
        "point_N": torch.tensor([inside_region, 3, int(found.point_K[0])]),
        "weight_N": torch.tensor([0.5, 0.25, 0.75]),
    }
    weight_BP = ignore_inside(replace(found, **rows), GRID, REGIONS, 3).background_weight(3, len(GRID))
    assert weight_BP[0, inside_region] == 0
    assert weight_BP[1, 3] == 0.25
    assert weight_BP[found.image_K[0], found.point_K[0]] == 0.75
    assert weight_BP[2].min() == 1


def test_no_region_changes_nothing() -> None:
    found, _ = _case()
    assert ignore_inside(found, GRID, truths([], [], []), 3) is found
