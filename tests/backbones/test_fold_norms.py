"""Weight and spectral norms in a state dict are folded into the weights that they stand for."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

from dimlift.backbones.checkpoint_file import read_state
from dimlift.backbones.factory import create_backbone
from dimlift.backbones.fold_norms import fold_norms

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")

NORMS = {
    "weight norm": parametrizations.weight_norm,
    "weight norm over all axes": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "weight norm over the second axis": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": old_weight_norm,
    "old spectral norm": old_spectral_norm,
}
LAYERS = {
    "convolution": lambda: nn.Conv2d(3, 5, 3),
    "transposed convolution": lambda: nn.ConvTranspose2d(3, 5, 3),
    "square transposed": lambda: nn.ConvTranspose2d(4, 4, 3),
    "linear": lambda: nn.Linear(6, 4),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("norm", NORMS)
def test_folded_weight_is_the_weight_of_the_layer(norm, layer):
    torch.manual_seed(0)
    normed = nn.Sequential(NORMS[norm](LAYERS[layer]().double()))
    inputs = torch.randn(2, 6) if layer == "linear" else torch.randn(2, 4 if layer == "square transposed" else 3, 8, 8)
    with torch.no_grad():
        for _ in range(5):  # training moves the vectors of a spectral norm
            normed.train()(inputs.double())
        folded, count = fold_norms(normed.state_dict())
        normed.eval()(inputs.double())  # the old functions compute the weight in each call
    assert count == 1
    assert folded.keys() == {"0.weight", "0.bias"}
    torch.testing.assert_close(folded["0.weight"], normed[0].weight.detach(), rtol=1e-6, atol=1e-9)


def test_other_tensors_are_left_alone():
    names = ("a_v", "b_orig", "parametrizations.x", "c.weight_g", "d.parametrizations.weight.original1")
    state = {name: torch.ones(2) for name in names}
    folded, count = fold_norms(state)
    assert (folded, count) == (state, 0)


@pytest.mark.parametrize("norm", ["weight norm", "spectral norm", "old weight norm", "old spectral norm"])
def test_normed_checkpoint_answers_as_its_network(tmp_path, norm):
    network, _ = create_backbone("timm:test_resnet", pretrained=False)
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            NORMS[norm](module)
    torch.save({"state_dict": network.eval().state_dict()}, tmp_path / "a.pth")
    convs = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert read_state(tmp_path / "a.pth").folded == convs
    loaded, info = create_backbone("timm:test_resnet", weights=tmp_path / "a.pth")
    assert f"{convs} normalised weights folded" in str(info)
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(picture), network(picture), rtol=1e-4, atol=1e-5)
