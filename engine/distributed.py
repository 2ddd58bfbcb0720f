"""Several processes, one per GPU, started by torchrun: who this one is, and what all of them agree on.

Each process runs the whole program on its share of every batch. Without torchrun there is one process and no
group, and everything here does nothing. "Collective" means that every rank must make the call, and all in the
same order.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from inspect import signature
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from detector.outputs import Outputs
from errors import UsageError

T = TypeVar("T")


def join() -> None:
    """Enters the group of processes that torchrun started, or stays in it for the next run of a sweep.

    Only rank 0 prints; the others report what they alone meet, such as images that they could not read.
    """
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        # What is said between the hosts goes by the CPU and need not wait for what the GPUs have queued.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if not is_main():
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("engine").setLevel(logging.WARNING)


def leave() -> None:
    """Closes the group (collective). A group cannot be entered again, so this is the end of the program."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end(error: BaseException) -> NoReturn:
    """Ends all ranks (collective): rank 0 raises `error`, so that its exit status is that of the job."""
    main = is_main()
    leave()
    # A status of 0 keeps torchrun from stopping rank 0 before it has printed the message.
    raise error if main else SystemExit(0)


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process where `device` is cuda.

    Raises:
        UsageError: if there are more processes than GPUs on this machine.
    """
    if not dist.is_initialized() or device.type != "cuda":
        return device
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= there:
        raise UsageError(f"more processes than GPUs on this machine: start torchrun --nproc-per-node={there}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def share(batch_size: int) -> int:
    """How many images of a batch are for this process: schedule.batch_size is that of all together.

    Raises:
        UsageError: if they cannot share it equally.
    """
    if batch_size % ranks():
        near = sorted({max(1, batch_size // ranks()) * ranks(), (batch_size // ranks() + 1) * ranks()})
        raise UsageError(
            f"schedule.batch_size={batch_size} is the batch of all {ranks()} processes together, and they "
            f"cannot share it equally: choose {' or '.join(map(str, near))}"
        )
    return batch_size // ranks()


def gather(value: T) -> list[T]:
    """The value of each rank, on every rank (collective)."""
    if ranks() == 1:
        return [value]
    values: list[Any] = [None] * ranks()
    dist.all_gather_object(values, value)
    return values


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """Which of the flags are set on any rank (collective)."""
    if ranks() == 1:
        return flags
    found = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in found.tolist())


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, in place (collective)."""
    if ranks() > 1:
        dist.all_reduce(values)
    return values


@contextmanager
def agreed() -> Iterator[None]:
    """For work that may fail on one rank: its UsageError then ends all (collective, at the end).

    There must be no collective call within, since a rank that failed would not make it.
    """
    if ranks() == 1:
        yield
        return
    message = None
    try:
        yield
    except UsageError as error:
        message = str(error)
    messages = [text for text in gather(message) if text is not None]
    if messages:
        end(UsageError(messages[0]))


def on_main(action: Callable[[], T]) -> T:
    """Runs `action` on rank 0 only and returns its result on every rank (collective)."""
    results: list[Any] = [None]
    with agreed():
        if is_main():
            results[0] = action()
    if ranks() > 1:
        dist.broadcast_object_list(results, src=0)
    return results[0]


def parallel(model: nn.Module, device: torch.device, static_graph: bool = False) -> nn.Module:
    """The model, with gradients averaged over the ranks in every backward pass (collective).

    Buffers are not exchanged: in training a batch norm does not read its running statistics, and those that
    are evaluated and saved are made equal by `same_buffers`.

    Args:
        static_graph: every step uses the same parameters, so that the exchange is planned once.
    """
    if ranks() == 1:
        return model
    if static_graph:
        _show_outputs_to_ddp()
    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    exchange_buffers: Any = {buffers: False}  # the name depends on torch's version
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        **exchange_buffers,
        gradient_as_bucket_view=True,
        static_graph=static_graph,
    )


@cache
def _show_outputs_to_ddp() -> None:
    """Makes DDP look for tensors in Outputs: with a static graph its first exchange begins there.

    It does not look into a dataclass that torch does not know, and without a word leaves the gradients of the
    first step as they are on each rank.
    """
    torch.export.register_dataclass(Outputs)


def exchange(model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """A forward and backward pass of a `parallel` model, with the exchange of gradients only if `now`.

    Gradients that wait for an accumulation to be complete need to be exchanged but once.
    """
    if now or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def same_buffers(model: nn.Module) -> None:
    """Gives all ranks the buffers of rank 0 (collective): batch norms measure each rank's own images."""
    if ranks() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
