"""bfloat16 training: convolutions whose kernel exceeds the map, and the check of gradients before the first step."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError
from dimlift.training.fit import fit
from dimlift.training.float32_convolution import exceeds_map, guard_convolutions
from dimlift.training.gradient_check import check_bf16_gradients, gradient_cosine, record_layer_calls
from small_method import SmallMethod, batch_at

CPU = torch.device("cpu")
BF16 = TrainingSection(device="cpu", precision="bf16")
LAYERS = {
    "kernel 3": lambda: nn.Conv3d(16, 16, 3, padding=1),
    "kernel 5": lambda: nn.Conv3d(16, 16, 5, padding=2),
    "kernel 7": lambda: nn.Conv3d(16, 16, 7, padding=3),
    "along depth": lambda: nn.Conv3d(16, 16, (3, 1, 1), padding=(1, 0, 0)),
    "in plane": lambda: nn.Conv3d(16, 16, (1, 3, 3), padding=(0, 1, 1)),
    "dilated": lambda: nn.Conv3d(16, 16, 3, padding=2, dilation=2),
    "depthwise": lambda: nn.Conv3d(16, 16, 5, padding=2, groups=16),
    "strided": lambda: nn.Conv3d(16, 16, 3, padding=1, stride=2),
    "transposed 2": lambda: nn.ConvTranspose3d(16, 16, 2, stride=2),
    "transposed 3": lambda: nn.ConvTranspose3d(16, 16, 3, stride=2, padding=1, output_padding=1),
    "2d": lambda: nn.Conv2d(16, 16, 3, padding=1),
    "1d": lambda: nn.Conv1d(16, 16, 3, padding=1),
    "linear": lambda: nn.Linear(16, 16),
}


def gradients(layer, x, output_gradient, precision):
    x, layer.weight.grad = x.clone().requires_grad_(), None
    with guard_convolutions(precision, CPU):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = layer(x).float()
        (output * output_gradient).sum().backward()
    return output.detach(), layer.weight.grad, x.grad


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("name", LAYERS)
def test_bf16_outputs_and_gradients_match_float32(name, depth):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    shape = {"2d": (2, 16, depth, 6), "1d": (2, 16, depth), "linear": (2, depth, 16)}.get(name, (2, 16, depth, 6, 6))
    x = torch.randn(shape)
    output_gradient = torch.randn_like(layer(x))
    exact, rounded = (gradients(layer, x, output_gradient, precision) for precision in ("32", "bf16"))
    for one, other in zip(exact, rounded, strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.999


@pytest.mark.parametrize(("depth", "dtype"), [(2, torch.float32), (3, torch.bfloat16)])
def test_only_convolutions_whose_kernel_exceeds_the_map_run_in_float32(depth, dtype):
    layer = nn.Conv3d(2, 2, 3, padding=1)
    with guard_convolutions("bf16", CPU), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 2, depth, 8, 8)).dtype == dtype


@pytest.mark.parametrize(
    ("layer", "shape", "exceeds"),
    [
        (nn.Conv3d(1, 1, 3), (2, 8, 8), True),
        (nn.Conv3d(1, 1, 3), (8, 8, 2), True),
        (nn.Conv3d(1, 1, 3), (3, 3, 3), False),
        (nn.Conv3d(1, 1, (1, 3, 3)), (1, 8, 8), False),
        (nn.Conv3d(1, 1, 3, dilation=(2, 1, 1)), (4, 8, 8), True),
        (nn.ConvTranspose3d(1, 1, 3, dilation=2), (4, 8, 8), True),
        (nn.ConvTranspose3d(1, 1, 2, stride=2), (2, 2, 2), False),
    ],
)
def test_exceeds_map_compares_the_dilated_kernel_with_every_axis(layer, shape, exceeds):
    x, found = torch.zeros(1, 1, *shape), []
    transposed = isinstance(layer, nn.ConvTranspose3d)
    function = F.conv_transpose3d if transposed else F.conv3d
    end = (layer.output_padding, 1, layer.dilation) if transposed else (layer.dilation, 1)
    args = (x, layer.weight, None, layer.stride, layer.padding, *end)
    found.append(exceeds_map(function, x, layer.weight, args, {}))
    found.append(exceeds_map(function, x, layer.weight, args[:2], {"dilation": layer.dilation}))
    assert found == [exceeds, exceeds]


class _WrongBackward(torch.autograd.Function):
    """A linear layer whose weight gradient is wrong in bfloat16."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, *grads):
        x, weight = ctx.saved_tensors
        right = torch.einsum("...o,...i->oi", grads[0].float(), x.float())
        return grads[0] @ weight.to(grads[0].dtype), right.flip(0) if grads[0].dtype == torch.bfloat16 else right


class WrongLinear(nn.Linear):
    def forward(self, x):
        return _WrongBackward.apply(x, self.weight) + self.bias


class WrongMethod(SmallMethod):
    def __init__(self):
        super().__init__()
        self.wrong = WrongLinear(4, 4)

    def forward(self, image, features=None):
        mixed = self.wrong(self.norm(self.first(image)).movedim(1, -1))
        return self.last(mixed.movedim(-1, 1))


def test_a_wrong_gradient_is_refused_by_layer_before_the_first_step():
    method = WrongMethod()
    with pytest.raises(RunError, match=r"gradient is wrong in wrong \(cosine .*training\.precision=32"):
        fit(method, batch_at, budget=BudgetSection(steps=3), training=BF16, seed=0)
    before = WrongMethod().state_dict()
    for name in ("first.weight", "last.weight", "norm.running_mean"):
        assert torch.equal(method.state_dict()[name], before[name])


def test_gradient_check_leaves_method_and_random_state_unchanged():
    method = SmallMethod().train()
    before, state = {k: v.clone() for k, v in method.state_dict().items()}, torch.get_rng_state()
    check_bf16_gradients(method, batch_at(0), 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_gradient_check_covers_every_layer():
    calls = record_layer_calls(SmallMethod().train(), batch_at(0), 0)
    assert calls.keys() == {"first", "last"}
    assert all(gradient_cosine(call) > 0.99 for call in calls.values())
