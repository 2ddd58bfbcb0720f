"""Downloads from a server on this machine that breaks off, forgets, lies and refuses, as asked."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from command_line import parse
from data.coco import download_coco
from data.coco.download_coco import ARCHIVES, Archive, Options, download, main
from errors import UsageError
from tests.helpers.local_site import Site, zipped


@pytest.fixture
def coco(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site with small archives in the place of the official ones."""
    for part, folder in (("train", "train2017"), ("val", "val2017"), ("annotations", "annotations")):
        content = zipped(folder)
        path, md5 = ARCHIVES[part].path, hashlib.md5(content).hexdigest()
        site.files[f"/{path}"] = content
        monkeypatch.setitem(ARCHIVES, part, Archive(path, folder, len(content), 10_000, md5))
    return site


def brought(site: Site, root: Path, *parts: str) -> None:
    options = Options(str(root), list(parts) or list(ARCHIVES), site.address)
    download(options, Console(quiet=True))


def test_no_server_at_all(coco: Site, tmp_path: Path) -> None:
    coco.address = "http://127.0.0.1:9"  # nobody listens to `discard`
    with pytest.raises(UsageError, match=r"zips/val2017\.zip cannot be downloaded.*val2017\.zip by hand"):
        brought(coco, tmp_path, "val")


def test_all_parts_come_and_the_archives_go(coco: Site, tmp_path: Path) -> None:
    brought(coco, tmp_path / "new" / "root")
    root = tmp_path / "new" / "root"
    assert sorted(path.name for path in root.iterdir()) == ["annotations", "train2017", "val2017"]
    with zipfile.ZipFile(io.BytesIO(coco.files["/zips/train2017.zip"])) as file:
        for name in file.namelist():
            assert (root / name).read_bytes() == file.read(name)
    assert len(coco.requests) == 3
    brought(coco, root)  # all there
    assert len(coco.requests) == 3


def test_an_archive_that_was_put_there_by_hand(coco: Site, tmp_path: Path) -> None:
    (tmp_path / "val2017.zip").write_bytes(coco.files["/zips/val2017.zip"])
    brought(coco, tmp_path, "val")
    assert len(list((tmp_path / "val2017").iterdir())) == 3
    assert coco.requests == []


def test_an_interrupted_unpacking_begins_again(coco: Site, tmp_path: Path) -> None:
    (tmp_path / "val2017.part" / "val2017").mkdir(parents=True)
    (tmp_path / "val2017.part" / "val2017" / "half.jpg").write_bytes(b"")
    brought(coco, tmp_path, "val")
    assert sorted(path.name for path in (tmp_path / "val2017").iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    assert not (tmp_path / "val2017.part").exists()


def test_a_damaged_archive_is_refused_and_comes_anew(coco: Site, tmp_path: Path) -> None:
    right = coco.files["/zips/val2017.zip"]
    coco.files["/zips/val2017.zip"] = right[:500] + b"x" + right[501:]
    with pytest.raises(UsageError, match=r"not the official archive.*It is deleted"):
        brought(coco, tmp_path, "val")
    assert list(tmp_path.iterdir()) == []
    coco.files["/zips/val2017.zip"] = right
    brought(coco, tmp_path, "val")
    assert (tmp_path / "val2017" / "2.jpg").exists()


@pytest.mark.parametrize("folder", ["val2017", "../elsewhere"])
def test_no_folder_appears_from_a_bad_archive(
    coco: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A file that fails its CRC, or lies outside, in an archive of the right MD5."""
    content = zipped(folder)
    content = (
        content.replace(hashlib.sha512(b"\1").digest(), bytes(64), 1) if folder == "val2017" else content
    )
    official = Archive("zips/val2017.zip", "val2017", len(content), 10_000, hashlib.md5(content).hexdigest())
    monkeypatch.setitem(ARCHIVES, "val", official)
    coco.files["/zips/val2017.zip"] = content
    with pytest.raises(UsageError, match=r"is damaged|expected nothing beside val2017/"):
        brought(coco, tmp_path / "root", "val")
    assert not (tmp_path / "root" / "val2017").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_space_is_checked_before_anything_is_asked_for(
    coco: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    val, annotations = ARCHIVES["val"], ARCHIVES["annotations"]
    needed = max(val.size + 10_000, 10_000 + annotations.size + 10_000)

    def disk(free: int) -> None:
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(download_coco.shutil, "disk_usage", lambda path: usage)

    disk(needed - 1)
    with pytest.raises(UsageError, match=r"GB free, but needs"):
        brought(coco, tmp_path, "val", "annotations")
    assert coco.requests == []
    (tmp_path / "annotations_trainval2017.zip.part").write_bytes(
        coco.files["/annotations/annotations_trainval2017.zip"][:1]
    )
    brought(coco, tmp_path, "val", "annotations")
    assert coco.requests[1][1] == "bytes=1-"


def test_the_words_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = parse(Options, ["root=there", "parts=[val,annotations]", "source=https://mirror"])
    assert (options.root, options.parts, options.source) == (
        "there",
        ["val", "annotations"],
        "https://mirror",
    )
    for words, message in (
        ([], "root=TEXT is missing: folder"),
        (["there"], "arguments are key=value"),
        (["root=there", "parts=[test]"], r"choose from train, val, annotations"),
        (["root=there", "source=mirror"], "must begin with http"),
    ):
        with pytest.raises(UsageError, match=message):
            parse(Options, words)
    main(["--help"])
    assert "root=TEXT    folder for images" in capsys.readouterr().out


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="cannot be written"):
        main([f"root={tmp_path}/file/root"])
