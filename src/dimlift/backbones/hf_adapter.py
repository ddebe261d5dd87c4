"""Adapt a model of transformers to take images and return tensors. Does not import the library.

The model keeps its own forward and its tensor names; only its inputs and outputs change. Its class is replaced by a
subclass whose forward takes images and returns maps (N, C, H, W) of its stages or blocks, class logits, or a map of
logits for segmentation models.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.class_patch import patch_class
from dimlift.errors import LiftError, PlanError

DEFAULT_NUM_MAPS = 3
"""Number of maps returned by models of one resolution: the last ones, as in timm."""


def is_hf_model(network: object) -> bool:
    """Whether a live module is a model of transformers; does not import it."""
    return any(base.__module__ == "transformers.modeling_utils" for base in type(network).__mro__)


def adapt_hf_model(network: Any, features_only: bool = False, out_indices: Sequence[int] | None = None) -> nn.Module:
    """Give a model of transformers a forward from images to tensors, in place. Tensor names are kept.

    Args:
        network: changed in place. Of a model that also takes text (CLIP, SigLIP), the image tower is used.
        features_only: return maps even if it has a head.
        out_indices: which of the maps.

    Raises:
        LiftError: if it does not take images.
    """
    network = getattr(network, "vision_model", network) if hasattr(network, "text_model") else network
    if getattr(network, "main_input_name", None) != "pixel_values":
        raise LiftError(f"{type(network).__name__} does not take images; give a vision model, or its vision_model")
    if features_only and _has_head(network):
        network = network.base_model
    embedding: Any
    for embedding in list(network.modules()):
        if isinstance(embedding, AnyChannelsMixin):
            continue
        if isinstance(getattr(embedding, "num_channels", None), int) and _first_conv(embedding) is not None:
            patch_class(embedding, AnyChannelsMixin)
    parameters = inspect.signature(type(network).forward).parameters
    if not isinstance(network, TensorOutputMixin):
        patch_class(network, TensorOutputMixin)
    network.interpolates = "interpolate_pos_encoding" in parameters
    network.is_hierarchical = hasattr(network, "encoder") and "output_hidden_states_before_downsampling" in (
        inspect.signature(network.encoder.forward).parameters
    )
    network.map_indices = None if out_indices is None else tuple(out_indices)
    if not _has_head(network):
        _remove_pooling(network)
        _add_feature_info(network)
    return network


class TensorOutputMixin:
    """Mixed into a model's class: takes images, returns tensors."""

    takes_any_size = True
    """Read by `fixed_image_size`: the sizes stated by its modules are those it was built for, not required ones."""

    def forward(self: Any, images: Float[Tensor, "n c h w"]) -> Tensor | list[Tensor]:
        """Return logits (N, classes), a map of logits (N, classes, H', W'), or maps."""
        options = {"interpolate_pos_encoding": True} if self.interpolates else {}
        if not _has_head(self):
            return self.maps(images, options)
        out = super().forward(pixel_values=images, **options)  # type: ignore[misc]
        logits = getattr(out, "logits", None)
        return out.image_embeds if logits is None else logits

    def maps(self: Any, images: Tensor, options: dict[str, Any]) -> list[Tensor]:
        """Return the selected maps, finest first."""
        if hasattr(self, "forward_with_filtered_kwargs"):  # a Backbone class, which selects its own maps
            grids = list(super().forward(pixel_values=images, **options).feature_maps)  # type: ignore[misc]
            return grids if self.map_indices is None else [grids[index] for index in self.map_indices]
        if self.is_hierarchical:  # Swin's own hidden states are those after the patch merging
            tokens, size = self.embeddings(images, **options)
            early = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
            out = self.encoder(tokens, size, **early)
        else:
            out = super().forward(pixel_values=images, output_hidden_states=True, **options)  # type: ignore[misc]
        states = getattr(out, "reshaped_hidden_states", None) or out.hidden_states
        grids = [_as_grid(state, images, self.config) for state in states]
        # the first state is the image itself, or the tokens before the first block
        if grids[0].shape[-2:] == images.shape[-2:] or states[0].ndim == 3:
            grids = grids[1:]
        return grids if self.map_indices is None else [grids[index] for index in self.map_indices]

    def __getstate__(self: Any) -> dict[str, Any]:
        """Remove transformers' hooks for hidden states before pickling; the next forward installs them again."""
        for module in self.modules():
            for key, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__module__", None) == "transformers.utils.output_capturing":
                    del module._forward_hooks[key]
            vars(module).pop("_output_capturing_hooks_installed", None)
        return vars(self)

    def set_grad_checkpointing(self: Any, enable: bool = True) -> None:
        """Set gradient checkpointing, with timm's interface."""
        if not self.supports_gradient_checkpointing:
            raise NotImplementedError(f"{type(self).__name__} has no gradient checkpointing")
        checkpoint = torch.utils.checkpoint.checkpoint  # looked up now: lifting replaces it to preserve the fold
        self._set_gradient_checkpointing(enable, functools.partial(checkpoint, use_reentrant=False))


class AnyChannelsMixin:
    """Mixed into a patch embedding's class: it expects as many channels as its convolution reads, lifted or not."""

    @property
    def num_channels(self: Any) -> int:
        """Channels of its input; the slices of a tubelet arrive as channels."""
        conv = _first_conv(self)
        slices = conv.depth_kernel_size if getattr(conv, "stacked_input", False) else 1
        return int(conv.in_channels * slices)


def _first_conv(module: nn.Module) -> Any:
    return next((inner for inner in module.modules() if isinstance(inner, nn.Conv2d)), None)


def _has_head(network: nn.Module) -> bool:
    """Whether it returns logits or an embedding."""
    return any(word in type(network).__name__ for word in ("Classification", "Segmentation", "WithProjection"))


def _as_grid(state: Tensor, images: Tensor, config: Any) -> Tensor:
    """Reshape tokens (N, T, C) to a map; prefix tokens (class, registers) are dropped."""
    if state.ndim == 4:
        return state
    patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    height, width = images.shape[-2] // patch, images.shape[-1] // patch
    if state.shape[1] < height * width:
        raise LiftError(f"{state.shape[1]} tokens are not a grid of {height} x {width} patches; use its Backbone class")
    return state[:, state.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))


def _add_feature_info(network: Any) -> None:
    """Select the maps, and set feature_info if each of them is the output of a module.

    Raises:
        PlanError: if a requested map does not exist.
    """
    producers: dict[int, str] = {}
    outputs: list[Tensor] = []  # keeps a reference: ids are reused after garbage collection

    def record(name: str, out: Any) -> None:
        if isinstance(out, Tensor):
            outputs.append(out)
            producers[id(out)] = name  # a parent module returns after its children and overwrites them

    hooks = [
        module.register_forward_hook(lambda module, args, out, name=name: record(name, out))
        for name, module in network.named_modules()
        if name
    ]
    meta = {name: tensor.to("meta") for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    conv, training = _first_conv(network), network.training
    requested, network.map_indices = network.map_indices, None
    network.eval()
    with torch.no_grad():
        image = torch.empty(1, conv.in_channels, 64, 64, device="meta", dtype=conv.weight.dtype)
        maps = torch.func.functional_call(network, meta, (image,))
    network.train(training)
    for hook in hooks:
        hook.remove()
    network.map_indices = _default_indices([m.shape for m in maps]) if requested is None else requested
    if any(not -len(maps) <= index < len(maps) for index in network.map_indices):
        raise PlanError(
            f"{type(network).__name__} has {len(maps)} maps, got out_indices={network.map_indices}; 0 is the first"
        )
    stages = [(producers.get(id(maps[index])), maps[index]) for index in network.map_indices]
    if all(name for name, _ in stages):
        network.feature_info = [
            {"module": name, "num_chs": m.shape[1], "reduction": 64 // m.shape[2]} for name, m in stages
        ]


def _remove_pooling(network: Any) -> None:
    """Remove the pooling of maps into one vector, where it has weights and the model runs without it."""
    pooler = getattr(network, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        network.pooler = None
    if getattr(network, "use_head", False):  # SigLIP
        network.use_head, network.head = False, None


def _default_indices(shapes: list[torch.Size]) -> tuple[int, ...]:
    """Return the index of the last map at each resolution; for a single resolution those of the last few maps."""
    last = {shape[-1]: index for index, shape in enumerate(shapes)}
    return tuple(last.values()) if len(last) > 1 else tuple(range(len(shapes)))[-DEFAULT_NUM_MAPS:]
