"""The endpoints of the page, and what they refuse."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assigners import GroundTruth
from command_line import parse
from errors import UsageError
from tools.demo import images
from tools.demo.__main__ import Options, main
from tools.demo.images import MOST_BYTES, Samples, decode_upload, png
from tools.demo.server import Server, bind


def request(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def asked(server: Server, path: str, value: Any) -> tuple[int, Any]:
    status, content = request(server, "POST", path, json.dumps(value).encode())
    return status, json.loads(content)


def picture() -> bytes:
    return png(Samples()[3])


def test_the_page_and_all_that_it_names_are_served(server: Server) -> None:
    status, content = request(server, "GET", "/")
    assert status == 200
    for name in ("style.css", "common.js", "select.js", "detect.js", "assign.js"):
        assert name.encode() in content
        assert request(server, "GET", f"/{name}")[0] == 200
    assert b"http://" not in content
    assert b"https://" not in content
    assert request(server, "GET", "/../server.py")[0] == 404


def test_an_upload_is_shown_as_it_was_sent(server: Server) -> None:
    status, content = request(server, "POST", "/api/image", picture())
    answer = json.loads(content)
    assert status == 200
    assert (answer["height"], answer["width"]) == (256, 256)
    assert len(answer["results"]) == 2
    status, content = request(server, "GET", f"/api/image?number={answer['image']}")
    with Image.open(BytesIO(content)) as shown:
        assert np.array_equal(np.asarray(shown), Samples()[3])


def test_the_assigners_answer(server: Server) -> None:
    answer = json.loads(request(server, "GET", "/api/sample?number=2")[1])
    box = [40.5, 30.0, 130.0, 121.25]
    for row in (0, 1):
        question = {"image": answer["image"], "checkpoint": row, "box": box, "label": 1, "progress": 0.7}
        status, found = asked(server, "/api/assign", question)
        assert status == 200
        scene = server.session._held[answer["image"]][1][row]
        truth = GroundTruth.from_list([(torch.tensor([box]), torch.tensor([1]))])
        assert list(found) == ["atss", "simota", "tal", "o2f"]
        for name, assigner in server.session.assigners.items():
            expected = assigner(scene.grid, scene.predictions, truth, 0.7)
            dense_P = expected.dense(1, len(scene.grid))[0]
            assert sorted(found[name]["points"]) == (dense_P == 0).nonzero()[:, 0].tolist()
            assert found[name]["scores"] == expected.score_K.tolist()


@pytest.mark.parametrize("body", [b"no image", b"", picture()[:200], b"\xff\xd8\xff\xe0broken"])
def test_an_upload_that_is_no_image_gets_one_clear_line(server: Server, body: bytes) -> None:
    status, content = request(server, "POST", "/api/image", body)
    assert status == 400
    assert "the upload is no" in json.loads(content)["problem"]


def test_too_large_an_upload_is_refused_before_it_is_read(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest("POST", "/api/image")
    connection.putheader("Content-Length", str(MOST_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "at most 20 MiB" in json.loads(answer.read())["problem"]
    connection.close()


def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 256 * 256 - 1)
    with pytest.raises(UsageError, match="256 x 256 pixels"):
        decode_upload(picture())


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "localhost:1"}, {"Origin": "http://evil.example"}]
)
def test_foreign_sites_are_refused(server: Server, headers: dict[str, str]) -> None:
    assert request(server, "GET", "/api/about", **headers)[0] == 403


def test_both_names_of_this_computer_are_taken(server: Server) -> None:
    for name in ("localhost", "127.0.0.1"):
        host = f"{name}:{server.server_port}"
        assert request(server, "GET", "/api/about", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image": 10**6}, "not held any more"),
        ({"image": [1]}, "not held any more"),
        ({"checkpoint": 2}, "checkpoint=2"),
        ({"label": -1}, "label=-1"),
        ({"progress": 1.5}, "progress=1.5"),
        ({"progress": float("nan")}, "progress=nan"),
        ({"box": [0, 0, 5]}, "four numbers"),
        ({"box": [9, 9, 5, 20]}, "sides above 0"),
        ({"box": [0, 0, 5, 1e9]}, "within the image"),
    ],
)
def test_wrong_questions_get_one_clear_line(server: Server, change: dict[str, Any], problem: str) -> None:
    image = json.loads(request(server, "GET", "/api/sample?number=0")[1])["image"]
    question = {"image": image, "checkpoint": 0, "box": [1, 1, 50, 50], "label": 0, "progress": 0}
    assert asked(server, "/api/assign", question)[0] == 200
    status, answer = asked(server, "/api/assign", question | change)
    assert status == 400
    assert problem in answer["problem"]


def test_a_port_in_use_is_said_before_a_checkpoint_is_read(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=f"port={server.server_port} cannot be used") as ended:
        main(["checkpoint=absent.pt", f"port={server.server_port}"])
    assert "choose another" in str(ended.value)


def test_it_listens_on_this_computer_only() -> None:
    with bind(0) as made:
        assert made.server_address[0] == "127.0.0.1"


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="checkpoint=TEXT is missing"):
        main(["port=0"])
    with pytest.raises(SystemExit, match=r"no checkpoint at absent\.pt"):
        main(["checkpoint=absent.pt", "port=0"])
    with pytest.raises(UsageError, match="holds no image"):
        Samples(str(tmp_path))


def test_several_checkpoints_are_several_words() -> None:
    words = ["checkpoint=a,b's.pt", "port=0", "checkpoint=runs/two words/best.pt"]
    assert parse(Options, words).checkpoint == ["a,b's.pt", "runs/two words/best.pt"]
