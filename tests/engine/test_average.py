import torch
from torch import nn

from engine.average import MovingAverage


def test_the_moving_average_is_the_plain_formula_for_weights_and_buffers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average = MovingAverage(model, 0.3)
    expected: dict[str, torch.Tensor] = {}
    for n in range(6):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.train()(torch.randn(2, 3, 8, 8))  # moves the running statistics and counts a batch
        average.update(model)
        decay = min(0.3, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            if n == 0 or not value.is_floating_point():
                expected[name] = value.clone()
            else:
                expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert average.module[1].num_batches_tracked == 6
    assert not torch.equal(average.module[1].running_mean, model[1].running_mean)
    assert not torch.equal(average.module[0].weight, model[0].weight)
