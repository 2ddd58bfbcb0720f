"""The benchmark of the adapters, tiny: a row for each library that is installed."""

from benchmarks.assigners.adapters import markdown, measure
from benchmarks.assigners.cases import Case


def test_rows_of_what_is_installed() -> None:
    inputs = Case("tiny", 128, 128, (8, 16, 32, 64, 128), (3, 2), (16.0, 80.0)).draw()
    found = measure(inputs, repeats=1)
    names = [name for name, _ in found]
    assert "torchvision, FCOS" in names
    assert all(t is None or t > 0 for _, times in found for t in times)
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + len(found)
    assert all(line.count("|") == 5 for line in lines)
