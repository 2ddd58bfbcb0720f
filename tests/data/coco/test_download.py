"""Downloads of one file from a local server: resumed, retried, given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.coco.download import fetch
from errors import UsageError
from tests.helpers.local_site import CONTENT, Site


def fetched(site: Site, target: Path) -> bytes:
    site.files["/file"] = CONTENT
    fetch(f"{site.address}/file", target, lambda done, whole: None)
    assert not target.with_name(target.name + ".part").exists()
    return target.read_bytes()


def test_a_file_comes_whole_and_shows_its_way(site: Site, tmp_path: Path) -> None:
    site.files["/file"] = CONTENT
    seen: list[tuple[int, int | None]] = []
    fetch(f"{site.address}/file", tmp_path / "file", lambda done, whole: seen.append((done, whole)))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert (seen[0], seen[-1]) == ((0, 10_240), (10_240, 10_240))


def test_a_download_goes_on_where_it_broke_off(site: Site, tmp_path: Path) -> None:
    site.cuts = [4_000, 1_000]
    assert fetched(site, tmp_path / "file") == CONTENT
    assert [asked for _, asked in site.requests] == [None, "bytes=4000-", "bytes=5000-"]


def test_a_server_that_cannot_resume_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.resumes, site.cuts = False, [4_000]
    assert fetched(site, tmp_path / "file") == CONTENT
    assert [asked for _, asked in site.requests] == [None, "bytes=4000-"]


@pytest.mark.parametrize(("part", "ranges"), [(CONTENT, 1), (CONTENT + b"more", 2)])
def test_a_part_with_nothing_missing(site: Site, tmp_path: Path, part: bytes, ranges: int) -> None:
    """Whole, or longer than the file and so no part of it."""
    (tmp_path / "file.part").write_bytes(part)
    assert fetched(site, tmp_path / "file") == CONTENT
    assert len(site.requests) == ranges


def test_a_server_that_is_busy_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 500, 429]
    assert fetched(site, tmp_path / "file") == CONTENT


def test_a_server_that_stays_busy_is_given_up(site: Site, tmp_path: Path) -> None:
    site.files["/file"], site.cuts, site.statuses = CONTENT, [], [503] * 9
    (tmp_path / "file.part").write_bytes(CONTENT[:100])
    with pytest.raises(UsageError, match=r"503.*goes on from there.*source=URL.*by hand"):
        fetch(f"{site.address}/file", tmp_path / "file", lambda done, whole: None)
    assert len(site.requests) == 5
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:100]


def test_a_file_that_is_not_there_is_asked_for_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{site.address}/other cannot be downloaded .*404"):
        fetch(f"{site.address}/other", tmp_path / "other", lambda done, whole: None)
    assert len(site.requests) == 1
