"""torch.compile of attention across slices: one graph, except for manually computed attention."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from lifting.test_attention_laws import OTHERS, PLAIN, small

BY_NAME = {family.name: family for family in [*PLAIN, *OTHERS]}
CASES = [
    ("vit_tiny_patch16_224", 2),
    ("vit_small_patch16_dinov3", "volume"),
    ("torchvision vision transformer", 2),
    ("beit_base_patch16_224", "planecycle"),
    ("vit_small_patch16_dinov3", "planecycle"),
]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_attention_compiles_to_one_graph(name, attention):
    check_compiled(name, attention, fullgraph=True)


def test_manual_attention_compiles_with_graph_breaks():
    check_compiled("cait_xxs24_224", 2, fullgraph=False)


def check_compiled(name, attention, fullgraph):
    torch.compiler.reset()
    family = BY_NAME[name]
    lifted = dimlift.lift(small(family), DepthPlan(kernel=1, attention=attention), certify=False).eval()
    volume = torch.randn(1, 3, 4, family.size, family.size, dtype=torch.float64)
    with torch.no_grad():
        expected = lifted(volume)
        compiled = torch.compile(lifted, backend="eager", fullgraph=fullgraph)(volume)
    torch.testing.assert_close(compiled[-1], expected[-1])
