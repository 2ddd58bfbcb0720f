"""The page in a browser: what its canvases show is what the project's own selections and assigners find."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from assigners import GroundTruth
from detector.select import Detections, nms, topk
from tools.demo.images import Samples, png
from tools.demo.server import Server

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page with its first sample; it must not print errors."""
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(f"http://localhost:{server.server_port}/")
    wait(opened, "state.shown.detect.length === 2")
    yield opened
    opened.close()
    assert errors == []


def wait(page: Any, condition: str) -> None:
    """Until a JavaScript condition holds; page.wait_for_function would need eval, which the page forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def set_slider(page: Any, name: str, value: float) -> None:
    page.eval_on_selector(f"#{name}", f"e => {{ e.value = {value}; e.dispatchEvent(new Event('input')); }}")


def expected(server: Server, image: int, place: int, select: str, score: float) -> Detections:
    scene = server.session._held[image][1][place]
    own = server.session.models[place].record.selection
    common = (scene.predictions, scene.grid, score, own.candidates, own.limit)
    size_B2 = torch.tensor([scene.size])
    found = topk(*common, size_B2) if select == "topk" else nms(*common, own.nms_iou, size_B2)
    return found[0]


@pytest.mark.parametrize("select", ["topk", "nms"])
def test_detections_are_those_of_the_selections(page: Any, server: Server, select: str) -> None:
    if select == "nms":
        page.check("#nms")
    compared = 0
    for score in (0.05, 0.2, 0.35):
        set_slider(page, "score", score)
        score = float(page.input_value("#score"))
        image, shown = page.evaluate("[state.answer.image, state.shown.detect]")
        for place, own in enumerate(shown):
            wanted = expected(server, image, place, select, score)
            rows = own["rows"]
            found = page.evaluate(f"state.answer.results[{place}]")
            assert [found["labels"][row] for row in rows] == wanted.labels_N.tolist()
            assert [found["scores"][row] for row in rows] == wanted.scores_N.tolist()
            compared += len(rows)
            text = page.locator("#panels figcaption").nth(place).inner_text()
            assert f"{len(rows)} detections, {own['duplicates']} duplicates" in text
    assert compared > 20


def test_assigned_points_are_those_of_the_assigners(page: Any, server: Server) -> None:
    page.click("#tab-assign")
    page.select_option("#label", "2")
    area = page.locator("#assigners canvas").first.bounding_box()
    page.mouse.move(area["x"] + 0.2 * area["width"], area["y"] + 0.25 * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + 0.7 * area["width"], area["y"] + 0.6 * area["height"], steps=4)
    page.mouse.up()
    counts = []
    for progress in (0, 1):
        set_slider(page, "progress", progress)
        wait(page, f"state.shown.assign.asked?.progress === {progress} && !views[1].busy")
        asked, found = page.evaluate("[state.shown.assign.asked, state.shown.assign.found]")
        size = server.session._held[asked["image"]][1][0].size
        wanted = [0.2 * size[1], 0.25 * size[0], 0.7 * size[1], 0.6 * size[0]]
        assert asked["box"] == pytest.approx(wanted, abs=2)
        scene = server.session._held[asked["image"]][1][0]
        truth = GroundTruth.from_list([(torch.tensor([asked["box"]]), torch.tensor([2]))])
        for name, assigner in server.session.assigners.items():
            own = assigner(scene.grid, scene.predictions, truth, progress)
            assert found[name]["points"] == own.point_K.tolist()
            assert found[name]["scores"] == own.score_K.tolist()
        counts.append(found["o2f"]["scores"])
    assert counts[0] != counts[1]  # O2F's soft scores fall during training


def test_keys_move_between_tabs_and_move_the_box(page: Any) -> None:
    page.focus("#tab-detect")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#assign")
    assert not page.is_visible("#detect")
    wait(page, "state.shown.assign.asked && !views[1].busy")
    page.evaluate("views[1].box = [0.3, 0.3, 0.5, 0.5]")
    page.locator("#assigners canvas").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert page.evaluate("views[1].box") == pytest.approx([0.29, 0.3, 0.49, 0.51])


def test_an_uploaded_image_is_shown_and_a_broken_one_is_named(page: Any, tmp_path: Path) -> None:
    first = page.evaluate("state.answer.image")
    (tmp_path / "picture.png").write_bytes(png(Samples()[9][:200]))
    page.set_input_files("#file", str(tmp_path / "picture.png"))
    wait(page, f"state.answer.image > {first}")
    assert page.evaluate("[state.answer.height, state.answer.width]") == [200, 256]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.set_input_files("#file", str(tmp_path / "broken.png"))
    page.wait_for_selector("#message.problem")
    assert "no readable image" in page.inner_text("#message")
    assert page.evaluate("state.answer.height") == 200


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for tab in ("detect", "assign"):
        page.click(f"#tab-{tab}")
        wait(page, "document.documentElement.scrollWidth <= innerWidth")
