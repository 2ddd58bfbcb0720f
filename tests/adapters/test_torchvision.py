"""torchvision's FCOS: our FCOS assigner gives its own losses, and any other trains it."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fcos as theirs

from adapters.torchvision import AssignedFCOS
from assigners import ATSS, FCOS, O2F, SimOTA


class Pyramid(nn.Module):
    """Five maps of strides 8 to 128, by averages of the image and one convolution each."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3, self.out_channels, 1) for _ in range(5))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pooled = [nn.functional.avg_pool2d(images, 8 * 2**level) for level in range(5)]
        return {str(level): conv(pooled[level]) for level, conv in enumerate(self.maps)}


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Ten images of two sizes, one of them without boxes."""
    generator = torch.Generator().manual_seed(0)
    images, targets = [], []
    for number in range(10):
        images.append(torch.rand(3, 200, 170 + 70 * (number % 2), generator=generator))
        corner_N2 = 120 * torch.rand(0 if number == 3 else 5, 2, generator=generator)
        side_N2 = 8 + 90 * torch.rand(len(corner_N2), 2, generator=generator)
        labels_N = torch.randint(0, 4, (len(corner_N2),), generator=generator)
        targets.append({"boxes": torch.cat((corner_N2, corner_N2 + side_N2), 1), "labels": labels_N})
    return images, targets


def model(kind: type[theirs.FCOS], **options: object) -> theirs.FCOS:
    torch.manual_seed(0)
    return kind(Pyramid(), num_classes=4, min_size=256, max_size=400, **options)


def test_fcos_has_the_losses_of_torchvision() -> None:
    expected = model(theirs.FCOS, size_divisible=128)(*batch())
    ours = model(AssignedFCOS, assigner=FCOS())(*batch())
    assert ours.keys() == expected.keys()
    for name, loss in expected.items():
        assert loss > 0
        assert torch.equal(ours[name], loss), name


@pytest.mark.parametrize("assigner", [ATSS(), O2F(), SimOTA()], ids=["atss", "o2f", "simota"])
def test_a_training_step_with_any_assigner(assigner: object) -> None:
    network = model(AssignedFCOS, assigner=assigner)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    values = []
    for _ in range(3):
        loss = sum(network(*batch()).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        values.append(loss.item())
    assert values[2] < values[0]


def test_other_paddings_are_refused() -> None:
    """416 px and stride 64 make 7 columns, and torchvision then places them in steps of 59 px."""
    network = model(AssignedFCOS, assigner=FCOS(), size_divisible=32)
    network.backbone = Ceiled()
    with pytest.raises(ValueError, match="are no full grids"):
        network([torch.rand(3, 256, 416)], [{"boxes": torch.ones(0, 4), "labels": torch.ones(0).long()}])


class Ceiled(Pyramid):
    """Maps of ceil(size / stride), as convolutions make them."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pooled = [nn.functional.avg_pool2d(images, 8 * 2**level, ceil_mode=True) for level in range(5)]
        return {str(level): conv(pooled[level]) for level, conv in enumerate(self.maps)}
