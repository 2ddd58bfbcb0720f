"""A SLURM cluster of this machine alone, as Debian's slurm-wlm and munge make it: needs root.

python -m tests.cluster.one_node DIR runs it until Ctrl-C; SLURM_CONF=DIR/slurm.conf sbatch ... submits to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why a cluster cannot be started here; empty where it can."""
    programs = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if programs:
        return f"{', '.join(programs)} not installed: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Runs the cluster; yields the environment in which sbatch and squeue find it."""
    host = socket.gethostname()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, ports=ports))
    environment = {"SLURM_CONF": str(config)}
    with ExitStack() as running:
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            running.enter_context(_daemon(["runuser", "-u", "munge", "--", "munged", "--foreground"], {}))
        running.enter_context(_daemon(["slurmctld", "-D"], environment))
        running.enter_context(_daemon(["slurmd", "-D", "-N", host], environment))
        for _ in range(60):
            state = subprocess.run(["sinfo", "-h", "-o", "%T"], env=os.environ | environment,
                                   capture_output=True, text=True, check=False)  # fmt: skip
            if state.stdout.strip() == "idle":
                break
            time.sleep(1)
        else:
            logs = [path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))]
            raise RuntimeError("the node does not come up:\n" + "\n".join(logs))
        yield environment


@contextmanager
def _daemon(line: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(line, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


if __name__ == "__main__":
    with one_node(Path(sys.argv[1]).absolute()) as where:
        print(*(f"{key}={value}" for key, value in where.items()), flush=True)
        signal.pause()
