"""The picture of the augmentations shows what training gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import parse
from errors import UsageError
from tools.augmentations import FIRST, SHOWN, SIZE, Options, _shapes, figure, main


def test_panels_hold_the_samples() -> None:
    panels = figure(seed=1).axes
    assert len(panels) == 2 * (1 + len(SHOWN))
    for number, word in enumerate(("", *SHOWN)):
        panel, sample = panels[2 * number], _shapes(1, word)[0, FIRST]
        assert panel.get_title() == (word or "as drawn")
        (image,) = panel.get_images()
        assert np.array_equal(image.get_array(), sample.image.permute(1, 2, 0).numpy())
        # Each box is drawn twice, as a coloured line on a white one.
        drawn = [(*p.get_xy(), p.get_width(), p.get_height()) for p in panel.patches[::2]]
        expected = [(x1 - 0.5, y1 - 0.5, x2 - x1, y2 - y1) for x1, y1, x2, y2 in sample.boxes_N4.tolist()]
        np.testing.assert_allclose(np.array(drawn), np.array(expected), atol=1e-4)
        assert word in ("expand=1", "crop=1") or sample.image.shape == (3, SIZE, SIZE)


def test_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([f"out={tmp_path}/new/picture.jpg", "seed=2"])
    assert capsys.readouterr().out.strip() == f"{tmp_path}/new/picture.jpg"
    with Image.open(tmp_path / "new" / "picture.jpg") as picture:
        assert picture.width == 1200
    assert (tmp_path / "new" / "picture.jpg").stat().st_size < 400_000


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ou=a.jpg", "ou=a.jpg: .*the keys are out, seed"),
        ("out", "key=value"),
        ("seed=-1", "seed=-1 must be"),
        ("out=a.gif", r"out=a\.gif must end in \.jpg"),
    ],
)
def test_wrong_arguments(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Options, [word])


def test_errors_of_the_command_have_no_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"cannot be written.*another out=FILE"):
        main([f"out={tmp_path}/file/picture.jpg"])
    with pytest.raises(SystemExit, match="the keys are out, seed"):
        main(["colour=red"])
