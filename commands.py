"""The commands of an installed Matchpoint: `matchpoint train WORDS` does what `python train.py WORDS` does.

A command is any file that can be run: in the project's root, in `tools/` or in `data/`.
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def commands() -> dict[str, Path]:
    """The file of each command, by its name."""
    files = [file for part in ("*.py", "tools/**/*.py", "data/**/*.py") for file in sorted(ROOT.glob(part))]
    runnable = [
        file
        for file in files
        if file.name == "__main__.py" or '\nif __name__ == "__main__":\n' in file.read_text(encoding="utf-8")
    ]
    names = [file.parent.name if file.name == "__main__.py" else file.stem for file in runnable]
    found = dict(zip(names, runnable, strict=True))
    del found["commands"]
    return found


def main() -> None:
    """Runs the command that the first word names, with the others."""
    known = commands()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        lines = [f"  {name:16}{_first_sentence(file)}" for name, file in known.items()]
        usage = "usage: matchpoint COMMAND WORDS...   (matchpoint COMMAND --help explains one)\n"
        print(usage, *lines, sep="\n")
        raise SystemExit(sys.argv[1:] not in ([], ["--help"]))
    file = known[sys.argv[1]]
    sys.path.insert(0, str(ROOT))
    sys.argv = [str(file), *sys.argv[2:]]
    if file.parent == ROOT:
        runpy.run_path(str(file), run_name="__main__")
    else:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].split(": ")[0]


if __name__ == "__main__":
    main()
