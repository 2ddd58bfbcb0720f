"""The wheel of the assigners in an environment that holds torch and what torch needs, and nothing else."""

import inspect
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

import assigners
from tests.helpers.tiny_run import ROOT

PACKAGE = ROOT / "packaging" / "assigners"
RUN = """
import sys
import tarfile
import torch
from matchpoint_assigners import *
import matchpoint_assigners
grid = PointGrid.for_image(64, 96, (8, 16, 32))
boxes, labels = torch.tensor([[2.0, 2.0, 74.0, 50.0], [30.0, 30.0, 60.0, 60.0]]), torch.tensor([0, 1])
truth = GroundTruth.from_list([(boxes, labels), (boxes[:0], labels[:0])])
predictions = Predictions(torch.full((2, len(grid), 2), 0.5), boxes[0].expand(2, len(grid), 4))
for kind in (ATSS, SimOTA, TaskAligned, O2F, FCOS, POTO, DSLA, DualWeighting, Hungarian, MaxIoU, RFLA):
    assert len(kind()(grid, predictions, truth)) > 0, kind
import matchpoint_assigners.adapters.ultralytics, matchpoint_assigners.adapters.yolox
assert matchpoint_assigners.adapters.GroundTruth is GroundTruth
others = {"torchvision", "numpy", "omegaconf", "assigners", "mmdet", "ultralytics"} & set(sys.modules)
assert not others, others
try:
    import torchvision
except ModuleNotFoundError:
    print("torch alone")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the package's own backend, without an isolated environment: that would need the network."""
    pytest.importorskip("setuptools")
    out = tmp_path_factory.mktemp("wheel")
    code = f"import backend; print(backend.build_wheel({str(out)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, check=True, capture_output=True)
    (found,) = out.iterdir()
    return found


def torch_and_its_needs() -> Iterator[Path]:
    """The files and folders at the top of site-packages that `pip install torch` brings."""
    waiting, seen = ["torch"], set()
    while waiting:
        name = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:  # for other systems
            continue
        if name in seen:
            continue
        seen.add(name)
        yield from {Path(str(found.locate_file(file.parts[0]))) for file in found.files or ()}
        for need in found.requires or ():
            if "extra ==" not in need:
                waiting.append(re.split(r"[^\w.-]", need, maxsplit=1)[0])


def test_all_assigners_run_where_torch_alone_is_installed(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
    for path in torch_and_its_needs():
        if ".." not in path.parts and path.exists() and not (tmp_path / path.name).exists():
            (tmp_path / path.name).symlink_to(path)
    assert not (tmp_path / "torchvision").exists()
    code = f"import sys; sys.path.append({str(tmp_path)!r})\n{RUN}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "torch alone", done.stderr


def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info" not in name}
        metadata = next(file.read(name).decode() for name in file.namelist() if name.endswith("/METADATA"))
    kept = {
        f"matchpoint_assigners/{path.relative_to(folder.parent if folder.name == 'adapters' else folder)}"
        for folder in (ROOT / "assigners", ROOT / "adapters")
        for path in folder.rglob("*")
        if path.suffix in (".py", ".typed")
    }
    assert names == kept
    assert "matchpoint_assigners/py.typed" in names
    assert re.findall("^Requires-Dist: (.*)$", metadata, re.MULTILINE) == ["torch>=2.11"]
    stated = re.search(r"about (\d+) kB", (PACKAGE / "README.md").read_text())
    assert stated is not None
    assert wheel.stat().st_size == pytest.approx(1000 * int(stated[1]), rel=0.2)
    left = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    left -= {"pyproject.toml", "backend.py", "MANIFEST.in", "README.md", "API.md"}
    assert not left, "a build leaves nothing behind"


def test_the_api_page_names_everything_with_its_defaults() -> None:
    page = (PACKAGE / "API.md").read_text()
    for name in assigners.__all__:
        assert name in page
        exported = getattr(assigners, name)
        if "__call__" in vars(exported) and name != "Assigner":
            options = inspect.signature(exported).parameters.values()
            words = [o.name if o.default is o.empty else f"{o.name}={o.default!r}" for o in options]
            assert f"`{name}({', '.join(words)})`" in page


def test_a_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """As `python -m build` does it: the archive, and from its contents, without the repository, the wheel."""
    code = f"import backend; print(backend.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    source = archive.with_name(archive.name.removesuffix(".tar.gz"))
    code = "import backend; print(backend.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(source / wheel.name) as again, zipfile.ZipFile(wheel) as first:
        assert set(again.namelist()) == set(first.namelist())
