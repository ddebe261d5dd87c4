"""Networks whose weights are normalised by parametrizations are lifted with the weights they compute with."""

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import dimlift
from dimlift import DepthPlan


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("norm", [weight_norm, spectral_norm, old_weight_norm, old_spectral_norm])
@pytest.mark.parametrize("training", [False, True])
def test_normed_convolution_is_lifted_and_its_network_unchanged(norm, training):
    torch.manual_seed(0)
    network = nn.Sequential(norm(nn.Conv2d(3, 8, 3, padding=1)), nn.ReLU(), nn.Conv2d(8, 3, 1))
    volume = torch.randn(1, 3, 4, 16, 16)
    slices = volume[0].transpose(0, 1)
    with torch.no_grad():
        network.train()(slices)  # spectral norm iterates
        expected = network.eval()(slices)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        lifted = dimlift.lift(network.train(training), DepthPlan(kernel=3))
        torch.testing.assert_close(lifted.eval()(volume)[0].transpose(0, 1), expected, rtol=0, atol=1e-5)
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
        torch.testing.assert_close(network.eval()(slices), expected)
    assert isinstance(lifted.network[0].weight, nn.Parameter)
    assert lifted.network[0].weight.requires_grad
    assert "norms of 0.weight folded into plain weights" in str(lifted.certificate)
