"""The contract itself: what a GPU would refuse or wait for is found."""

import pytest
import torch

from tests.gpu_contract.device import CUDA, Contract, WrongDeviceError, bare


def test_an_operand_on_the_cpu_is_an_error_unless_it_is_a_number() -> None:
    with Contract():
        x = torch.zeros(3, device=CUDA)
        assert x.device == (x + 1).device == (x + torch.tensor(1.0)).device == CUDA
        with pytest.raises(WrongDeviceError, match=r"add.* got a CPU tensor of shape \(3,\)"):
            x + torch.zeros(3)
        with pytest.raises(WrongDeviceError, match="index"):
            x[torch.tensor([0, 1])]
        with pytest.raises(WrongDeviceError, match="numpy"):
            x.numpy()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: float(x[0]),
        lambda x: bool((x > 1).all()),
        lambda x: x.unique(),
        lambda x: x.long().bincount(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.long().repeat_interleave(x.long()),
    ],
)
def test_what_the_host_waits_for_is_counted(wait: object) -> None:
    with Contract() as contract:
        x = torch.tensor([0.0, 1.0, 2.0], device=CUDA)
        assert contract.uploads.total() == 1
        wait(x)  # type: ignore[operator]
    assert contract.waits.total() == 1, contract.waits


def test_what_the_host_does_not_wait_for_is_not() -> None:
    with Contract() as contract:
        x = torch.arange(3.0, device=CUDA)
        x = x.clone().add_(1)[:2].sort().values.cumsum(0)[x.long()[:2].clamp(max=1)]
    assert contract.operations["add_"] == 1
    assert not contract.waits
    assert not contract.uploads


def test_gradients_flow_to_parameters_on_the_device() -> None:
    with Contract():
        layer = torch.nn.Linear(2, 1, bias=False, device=CUDA)
        layer(torch.ones(1, 2, device=CUDA)).sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.device == CUDA
        assert bare(layer.weight.grad).tolist() == [[1.0, 1.0]]
