"""Every link of the documents leads somewhere, and every command that they show can be given.

Training commands are composed and checked as `train.py` does before it starts; options of tools are parsed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from command_line import parse
from engine.config.compose import check, compose_config
from tests.helpers.tiny_run import ROOT

DOCUMENTS = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "docs/assigners", "packaging/assigners")
    for file in (ROOT / folder).glob("*.md")
)
# Words that stand for what a reader has.
PLACEHOLDERS = re.compile(r"\b(DIR|FILE|NAME|OTHER|COCO|BCCD|COCO_MINI)\b")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"(assigner|loss\.\w+|recipe)=\w")  # words that one adds to `python train.py`
STARTS = ("python", "torchrun", "make", "pytest", "uv", "pip", "sbatch", "wandb", "matchpoint")


def _text(document: str) -> str:
    return (ROOT / document).read_text()


def _commands(document: str) -> Iterator[str]:
    """The command lines of a document: in fences, and in backticks in running text and tables."""
    text = _text(document)
    fenced = [body for language, body in FENCE.findall(text) if language in ("", "bash", "sh", "console")]
    lines = [line for body in fenced for line in body.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in [*lines, *inline]:
        line = line.strip().removeprefix("$ ")
        words = line.split()
        if "..." in line or document == "CHANGELOG.md":
            continue
        if len(words) > 1 and words[0] in STARTS:
            yield line
        elif ROW.match(line):
            yield f"python train.py {line}"


# tests/test_contributing.py runs the command of an assigner that exists in the document only.
COMMANDS = sorted(
    {(doc, line) for doc in DOCUMENTS for line in _commands(doc) if "assigner=mine" not in line}
)


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    for end in ("&&", "|", ">", ";", "&"):
        words = words[: words.index(end)] if end in words else words
    return words


def _composed(name: str, words: list[str]) -> None:
    """Composes the command, the first choice of each swept key, and checks every value."""
    chosen = []
    for word in words:
        if word in ("-m", "--multirun"):
            continue
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            word = word.partition("=")[0] + "=" + next(iter(override.sweep_string_iterator()))
        chosen.append(word)
    config = compose_config(*chosen, name=name)
    if name == "train":
        check(config)


@cache
def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def _groups() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {*project["dependency-groups"], *project["project"]["optional-dependencies"]}


def _take(words: list[str]) -> None:
    match words:
        case ["python", "train.py", "--help" | "--cfg", *_] | ["python", "eval.py", "--help"]:
            pass
        case ["python", "train.py", *rest]:
            _composed("train", rest)
        case ["python", "eval.py", *rest]:
            _composed("eval", rest)
        case ["torchrun", *rest]:
            script = next(i for i, word in enumerate(rest) if word.endswith(".py"))
            _take(["python", *rest[script:]])
        case ["python", "-m", module, *rest]:
            _module(module, rest)
        case ["python", script, *rest] if script.endswith(".py"):
            assert (ROOT / script).is_file(), script
            parse(import_module(script.removesuffix(".py")).Options, rest)
        case ["matchpoint", *rest]:
            _take(
                ["python", f"{rest[0]}.py", *rest[1:]]
                if (ROOT / f"{rest[0]}.py").exists()
                else ["make", "demo"]
            )
        case ["make", target, *_]:
            assert target in _targets()
        case ["pytest", *rest]:
            paths = [word.split("::")[0] for word in rest if not word.startswith("-")]
            assert all((ROOT / path).exists() for path in paths)
        case ["pip" | "uv", *rest] if "--group" in rest:
            assert rest[rest.index("--group") + 1] in _groups()
        case ["pip" | "uv" | "sbatch" | "wandb", *_]:
            pass
        case _:
            raise AssertionError(f"not a command of this project: {words}")


def _module(module: str, words: list[str]) -> None:
    spec = find_spec(module)
    assert spec is not None, f"no module {module}"
    if module.split(".")[0] not in ("tools", "data", "benchmarks"):
        return
    main = f"{module}.__main__" if spec.submodule_search_locations else module
    options = getattr(import_module(main), "Options", None)
    if options is None or words in (["--help"], ["-h"]):
        return
    parse(options, words)


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_a_command_is_taken(
    document: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _take(_words(PLACEHOLDERS.sub("somewhere", line)))


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 50
    assert sum(line.startswith("python train.py") for _, line in COMMANDS) > 20


def _anchors(document: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", _text(document)), re.MULTILINE)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)).strip() for heading in headings
    ]
    return {heading.lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", _text(document))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve() if path else ROOT / document
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file.relative_to(ROOT).as_posix()), target
