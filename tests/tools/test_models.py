"""The table of models, and that its numbers are those of docs/models.md and of the papers."""

from pathlib import Path

import pytest

from tests.helpers.tiny_run import ROOT
from tools.models import CONFIGS, SIZES, table


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("picodet_s", 1.18),
        ("picodet_m", 3.46),
        ("picodet_l", 5.80),
        ("picodet_csp_m", 3.10),
        ("fcos_r50", 32.3),
    ],
)
def test_parameters_are_those_published(name: str, parameters: float) -> None:
    row = table([name], sizes=[(64, 64)]).splitlines()[2]
    assert float(row.split("|")[2]) == pytest.approx(parameters, rel=0.01)


def test_the_documented_table_is_that_of_the_tool() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    names = sorted(file.stem for file in Path(CONFIGS).glob("*.yaml"))
    # The first size alone: each takes a pass of every network.
    for line in table(names, SIZES[:1]).splitlines():
        assert f"\n{line}" in text
