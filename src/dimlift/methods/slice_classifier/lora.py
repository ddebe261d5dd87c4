"""Low-rank adapters: a frozen network learns through a few numbers beside its own. The only file that imports peft.

Hu et al., *LoRA*, 2021, https://arxiv.org/abs/2106.09685: W x + (alpha / r) B A x, with B zero at first, so that the
network begins as it was.
"""

from torch import nn

from dimlift.errors import CannotLift, ConfigError


def add_adapters(network: nn.Module, rank: int, alpha: int | None = None) -> list[str]:
    """Freeze a network and put adapters beside its linear layers and its 1x1 convolutions.

    Args:
        network: changed in place.
        rank: r, the width of each adapter.
        alpha: strength; the rank if not given.

    Returns:
        the layers that have adapters now.

    Raises:
        ConfigError: if peft is not installed.
        CannotLift: if no layer of the network can take one.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as fault:
        raise ConfigError("low-rank adapters need peft: pip install 'dimlift[lora]', or set tune=none") from fault
    inside_attention = tuple(n for n, m in network.named_modules() if isinstance(m, nn.MultiheadAttention))
    layers = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) or _is_pointwise(module))
        and not name.startswith(inside_attention)  # torch reads the weights there and never calls the layer
    ]
    if not layers:
        raise CannotLift(f"{type(network).__name__} has no layer that takes adapters; set tune=none or tune=all")
    network.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=layers), network)
    return layers


def _is_pointwise(module: nn.Module) -> bool:
    """A linear layer by another name; exactly a Conv2d, because peft makes its parts of the same type."""
    return type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.groups == 1
