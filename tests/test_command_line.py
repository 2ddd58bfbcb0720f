"""Options come from the words of a command line, and all that is said of them from their dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from command_line import help_text, new_folder, option, parse, run
from errors import UsageError


@dataclass
class Options:
    """Of each kind one."""

    runs: list[str] = option(words=True, help="run directories")
    root: str = option(help="folder of the data set")
    parts: list[str] = option(["a", "b"], choices=("a", "b", "c"), help="what to take")
    count: int = option(3, least=1, help="how many")
    share: float = option(0.5, least=0, most=1, help="part of all")
    draw: bool = option(False, help="whether to draw")
    against: str | None = option(None, help="the other")

    def __post_init__(self) -> None:
        if self.draw and self.against is None:
            raise UsageError("draw=true needs against=TEXT")


def test_values_have_the_types_of_the_fields(tmp_path: Path) -> None:
    (tmp_path / "lr=1").mkdir()
    words = [
        "runs/a",
        f"{tmp_path}/lr=1",
        "root=007",
        "parts=[c]",
        "count=2",
        "share=1",
        "against=1e3",
        "draw=true",
    ]
    assert parse(Options, words) == Options(
        ["runs/a", f"{tmp_path}/lr=1"], "007", ["c"], 2, 1.0, draw=True, against="1e3"
    )
    assert parse(Options, ["root=a=b", "against=null"]) == Options([], "a=b", ["a", "b"], 3, 0.5, False, None)
    parse(Options, ["root=x"]).parts.append("c")
    assert parse(Options, ["root=x"]).parts == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"^root=TEXT is missing: folder of the data set$"),
        (["root=x", "rot=y"], r"^rot=y: .*the keys are root, parts, .*; other words are run directories"),
        (["root=x", "runs=y"], "^runs=y: "),
        (["root=x", "root=x"], "root is given twice"),
        (["root=x", "count=many"], "^count=many: "),
        (["root=x", "count=0"], "^count=0 must be at least 1$"),
        (["root=x", "share=1.1"], r"^share=1\.1 must be in 0 to 1$"),
        (["root=x", "share=-0.1"], "must be in 0 to 1"),
        (["root=x", "parts=[a,d]"], "choose from a, b, c"),
        (["root=x", "parts=[]"], "choose from a, b, c"),
        (["root=x", "draw=true"], "^draw=true needs against=TEXT$"),
    ],
)
def test_wrong_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Options, words)


def test_words_without_a_field_for_them_are_refused() -> None:
    @dataclass
    class Plain:
        out: str = option("here", help="the folder")

    with pytest.raises(UsageError, match=r"^runs/a: arguments are key=value, and the keys are out$"):
        parse(Plain, ["runs/a"])


def test_help_names_every_option() -> None:
    lines = help_text(Options, "What it does.\n").splitlines()
    assert lines[:3] == ["What it does.", "", "Options:"]
    assert [line.split("  ")[1] for line in lines[3:]] == [
        "WORDS", "root=TEXT", "parts=[A,B]", "count=INTEGER", "share=NUMBER", "draw=true|false",
        "against=TEXT",
    ]  # fmt: skip
    assert lines[4].endswith("folder of the data set; must be given")
    assert lines[5].endswith("what to take; of a, b, c; default [a,b]")
    assert lines[6].endswith("how many; at least 1; default 3")
    assert lines[8].endswith("default false")
    assert lines[9].endswith("the other")


def test_a_command_ends_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: Options) -> None:
        raise KeyboardInterrupt

    done: list[Options] = []
    run(Options, done.append, "About.", ["root=x"])
    assert [options.root for options in done] == ["x"]
    run(Options, done.append, "About.", ["root=x", "--help"])
    assert capsys.readouterr().out.startswith("About.")
    assert len(done) == 1
    with pytest.raises(SystemExit, match="root=TEXT is missing"):
        run(Options, done.append, "About.", [])
    with pytest.raises(SystemExit) as ended:
        run(Options, interrupted, "About.", ["root=x"])
    assert ended.value.code == 130


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="choose another root=DIR"):
        new_folder(tmp_path / "file" / "b", "root=DIR")
