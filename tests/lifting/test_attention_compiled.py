"""Ways of attending are one graph to torch.compile; attention written out runs outside of it, with the same answer."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from lifting.test_attention_laws import OTHERS, PLAIN, small

BY_NAME = {family.name: family for family in [*PLAIN, *OTHERS]}
CASES = [
    ("vit_tiny_patch16_224", 2),
    ("vit_small_patch16_dinov3", "joint"),
    ("torchvision vision transformer", 2),
    ("beit_base_patch16_224", "planecycle"),
    ("vit_small_patch16_dinov3", "planecycle"),
]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_it_compiles_to_one_graph_with_the_same_answer(name, attention):
    compare(name, attention, fullgraph=True)


def test_attention_written_out_compiles_with_the_same_answer():
    compare("cait_xxs24_224", 2, fullgraph=False)


def compare(name, attention, fullgraph):
    torch.compiler.reset()
    family = BY_NAME[name]
    lifted = dimlift.lift(small(family), DepthPlan(kernel=1, attention=attention), certify=False).eval()
    volume = torch.randn(1, 3, 4, family.size, family.size, dtype=torch.float64)
    with torch.no_grad():
        wanted = lifted(volume)
        given = torch.compile(lifted, backend="eager", fullgraph=fullgraph)(volume)
    torch.testing.assert_close(given[-1], wanted[-1])
