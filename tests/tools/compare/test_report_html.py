"""The HTML page stands alone, escapes what it shows, and embeds what tools.errors has left."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from tests.tools.compare.reports import made

VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else(runs: Path, tmp_path: Path) -> None:
    text = made(runs, tmp_path / "report")["report.html"]
    page = Page(text)
    assert not re.search(r"https?:|@import|url\(", text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(value.startswith("data:") for name, value in page.attributes if name in ("src", "href"))
    assert "prefers-color-scheme: dark" in text
    for heading in ("AP with NMS", "AP NMS-free", "Positives per truth", "T of O2F"):
        assert any(heading in found for found in page.texts)
    # A ring and a disc per row, a line per row in each chart; T is that of O2F alone.
    kinds = [value.split()[0] for name, value in page.attributes if name == "class" and value]
    assert kinds.count("ring") == kinds.count("disc") == 2
    assert kinds.count("line") == 2 * 7 + 1
    assert made(runs, tmp_path / "again")["report.html"] == text


def test_an_error_analysis_is_shown(runs: Path, tmp_path: Path) -> None:
    path = runs / "shapes-fcos_lcnet-o2f-seed0"
    assert "What goes wrong" not in made(runs, tmp_path / "report")["report.html"]
    (path / "pictures").mkdir()
    Image.new("RGB", (8, 8), "red").save(path / "pictures" / "errors.png")
    (path / "errors.json").write_text(json.dumps({"missed": 12.34567, "kinds": [1, None, "<b>"]}))
    text = made(runs, tmp_path / "report")["report.html"]
    page = Page(text)
    assert any(
        name == "src" and value.startswith("data:image/png;base64,") for name, value in page.attributes
    )
    assert '"missed": 12.346' in "".join(page.texts)
    assert "<b>" in "".join(page.texts)  # as a text, not as a tag
