"""Memory stays with the process, and torch's settings are there before torch is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.helpers.tiny_run import ROOT

# Page faults of a step that makes and frees five tensors of 40 MB, after three such steps. Above 32 MB glibc
# always maps a block on its own; of smaller ones it keeps some.
FAULTS = """
import resource, torch
def use():
    maps = [torch.ones(10_000_000) for _ in range(5)]
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _output(code: str) -> str:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("GOMP", "THP", "MALLOC"))
    }
    environment["GOMP_SPINCOUNT"] = "7"
    line = [sys.executable, "-c", code]
    return subprocess.run(
        line, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    without = int(_output(FAULTS))
    assert without > 10_000
    assert int(_output("import engine.host\n" + FAULTS)) < without / 10


def test_a_setting_of_the_user_stays() -> None:
    code = "import os, engine.host; print(os.environ['GOMP_SPINCOUNT'], os.environ['THP_MEM_ALLOC_ENABLE'])"
    assert _output(code) == "7 1"


@pytest.mark.parametrize("command", ["train", "eval", "tools.visualize.__main__"])
def test_commands_set_it_before_torch(command: str) -> None:
    code = f"""
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("engine.host" in sys.modules)
            raise SystemExit
sys.meta_path.insert(0, Watch())
import {command}
if "torch" not in sys.modules: print("engine.host" in sys.modules)
"""
    assert _output(code) == "True"
