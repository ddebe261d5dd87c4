"""Low-rank adapters: training of a frozen network through a small number of parameters. The only module that uses peft.

Hu et al., *LoRA*, 2021, https://arxiv.org/abs/2106.09685: W x + (alpha / r) B A x, with B initially zero, so that the
network starts unchanged.
"""

from torch import nn

from dimlift.errors import ConfigError, LiftError


def add_adapters(network: nn.Module, rank: int, alpha: int | None = None) -> list[str]:
    """Freeze a network and add adapters to its linear layers and 1x1 convolutions.

    Args:
        network: changed in place.
        rank: r, the rank of each adapter.
        alpha: scaling; the rank if None.

    Returns:
        The names of the layers with adapters.

    Raises:
        ConfigError: if peft is not installed.
        LiftError: if no layer of the network supports adapters.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as fault:
        raise ConfigError("low-rank adapters need peft: pip install 'dimlift[lora]', or set tune=none") from fault
    torch_attention = tuple(n for n, m in network.named_modules() if isinstance(m, nn.MultiheadAttention))
    layers = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) or _is_pointwise(module))
        and not name.startswith(torch_attention)  # torch reads the weights of its layers and never calls them
    ]
    if not layers:
        raise LiftError(f"{type(network).__name__} has no layer that supports adapters; set tune=none or tune=all")
    network.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=layers), network)
    return layers


def _is_pointwise(module: nn.Module) -> bool:
    """Return whether a module is exactly a 1x1 Conv2d; peft creates its layers of the same type, so no subclasses."""
    return type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.groups == 1
