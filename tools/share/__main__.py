"""Makes a folder to give away of a finished run: `python -m tools.share run=DIR out=OTHER`.

It holds model.safetensors, config.yaml and a model card, README.md; `detector.load(folder)`, predict.py and
export.py read it. push=USER/NAME uploads it to the Hugging Face hub.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.utils import HFValidationError, validate_repo_id

from command_line import new_folder, option, run
from detector.shared import CONFIG, WEIGHTS, write_shared
from detector.trained import read_checkpoint, read_state
from errors import UsageError
from tools.compare.runs import read
from tools.share.card import card

CARD = "README.md"


@dataclass
class Options:
    """What the command line can set."""

    run: str = option(help="directory of a finished run")
    out: str = option(help="folder to write")
    push: str | None = option(None, help="USER/NAME on the Hugging Face hub, to upload to")
    license: str = option("apache-2.0", help="of the weights, as the hub abbreviates it")


def main(words: Sequence[str] | None = None) -> None:
    """Shares the run that the command line names."""
    run(Options, share, __doc__, words)


def share(options: Options) -> Path:
    """Writes the folder, loads it once to be sure, and uploads it where that is asked for.

    Raises:
        UsageError: if it is no finished run, its results are of other weights, or there is no way to upload.
    """
    if options.push is not None:
        _check_upload(options.push)
    finished = read(Path(options.run))
    path = finished.path / "last.pt"
    state = read_state(path)
    if state.get("epoch") != finished.result.get("epoch"):
        raise UsageError(
            f"{path} is of epoch {state.get('epoch')}, eval.json beside it of epoch "
            f"{finished.result.get('epoch')}: python eval.py run={options.run} evaluates it"
        )
    if (Path(options.out) / path.name).exists():
        raise UsageError(f"out={options.out} is the directory of a run: choose another folder")
    folder = new_folder(options.out)
    finished = replace(finished, config=without_places(finished.config))
    write_shared(folder, state | {"config": without_places(state["config"])})
    card(finished, state, options.license, options.push).save(folder / CARD)
    _, record = read_checkpoint(folder)
    size = (folder / WEIGHTS).stat().st_size / 1e6
    print(f"{folder}: {size:.1f} MB, {len(record.classes)} classes, {WEIGHTS}, {CONFIG}, {CARD}")
    if options.push is not None:
        _upload(folder, options.push)
    return folder


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the folders of this machine, which would be published with it."""
    found = copy.deepcopy(config)
    found["runs_dir"] = "runs"
    if found["data"].get("root"):
        found["data"]["root"] = "DIR"
    if found["data"].get("cache_dir"):
        found["data"]["cache_dir"] = "runs/.cache"
    files = [(found, "init"), (found["model"]["backbone"], "weights")]
    files += [
        (part, key)
        for part in (found["data"].get("train"), found["data"].get("val"))
        if isinstance(part, dict)
        for key in part
    ]
    for part, key in files:
        if part.get(key) and Path(part[key]).is_absolute():
            part[key] = Path(part[key]).name
    return found


def _check_upload(push: str) -> None:
    try:
        validate_repo_id(push)
    except HFValidationError as error:
        raise UsageError(f"push={push} must be USER/NAME: {error}") from error
    if push.count("/") != 1:
        raise UsageError(f"push={push} must be USER/NAME")
    if get_token() is None:
        raise UsageError(
            f"push={push} needs a token of the Hugging Face hub, and there is none: `hf auth login` stores "
            "one, or set HF_TOKEN. Without push=, the folder is written and can be uploaded later"
        )


def _upload(folder: Path, push: str) -> None:
    api = HfApi()
    try:
        api.create_repo(push, exist_ok=True)
        address = api.upload_folder(
            repo_id=push, folder_path=folder, allow_patterns=[WEIGHTS, CONFIG, CARD],
            commit_message="A detector of Matchpoint",
        )  # fmt: skip
    except Exception as error:  # of the hub's answer, of the network, of the token: they share no base
        reason = str(error).splitlines()[0]
        raise UsageError(f"push={push} failed ({reason}): {folder} is complete, try again") from error
    print(f"uploaded: {address}")


if __name__ == "__main__":
    main()
