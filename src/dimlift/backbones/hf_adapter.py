"""A network of transformers that takes images and answers with tensors. Does not import the library.

It keeps its own forward and its own names; what is changed is what goes in and out. Its class gets a subclass whose
forward takes images and hands out tensors: maps (N, C, H, W) of its stages or blocks, class logits, or a map of logits
for segmentation networks.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import CannotLift, PlanError

COLUMN = 3
"""Of networks that keep one resolution throughout, the last so many maps, as timm hands them out."""


def is_of_transformers(network: nn.Module) -> bool:
    """Whether a live module is one of transformers' networks; does not import it."""
    return any(base.__module__ == "transformers.modeling_utils" for base in type(network).__mro__)


def as_images_to_tensors(
    network: Any, features_only: bool = False, out_indices: Sequence[int] | None = None
) -> nn.Module:
    """A network of transformers, in place, with a forward from images to tensors. Its names stay.

    Args:
        network: changed in place. Of one that also reads text (CLIP, SigLIP), the image tower is taken.
        features_only: maps even if it has a head.
        out_indices: which of the maps.

    Raises:
        CannotLift: if it does not read images.
    """
    network = getattr(network, "vision_model", network) if hasattr(network, "text_model") else network
    if getattr(network, "main_input_name", None) != "pixel_values":
        raise CannotLift(f"{type(network).__name__} does not read images; give a vision network, or its vision_model")
    if features_only and _has_head(network):
        network = network.base_model
    owner: Any
    for owner in list(network.modules()):
        if isinstance(getattr(owner, "num_channels", None), int) and _reader(owner) is not None:
            owner.__class__ = _of_any_channels(owner.__class__)
    takes = inspect.signature(type(network).forward).parameters
    network.__class__ = _answering(network.__class__)
    network.interpolates = "interpolate_pos_encoding" in takes
    network.merges_patches = hasattr(network, "encoder") and "output_hidden_states_before_downsampling" in (
        inspect.signature(network.encoder.forward).parameters
    )
    network.handed_out = None if out_indices is None else tuple(out_indices)
    if not _has_head(network):
        _leave_out_pooling(network)
        _describe(network)
    return network


class _Answering:
    """Mixed into a network's class: images in, tensors out."""

    takes_any_size = True
    """Read by `bound_size`: the size its parts tell is what they were built for, not what they insist on."""

    def forward(self: Any, images: Float[Tensor, "n c h w"]) -> Tensor | list[Tensor]:
        """Logits (N, classes), a map of logits (N, classes, H', W'), or maps."""
        options = {"interpolate_pos_encoding": True} if self.interpolates else {}
        if not _has_head(self):
            return self.maps(images, options)
        out = super().forward(pixel_values=images, **options)  # type: ignore[misc]
        answer = getattr(out, "logits", None)
        return out.image_embeds if answer is None else answer

    def maps(self: Any, images: Tensor, options: dict[str, Any]) -> list[Tensor]:
        """The chosen maps, finest first."""
        if hasattr(self, "forward_with_filtered_kwargs"):  # a backbone: it has chosen itself
            grids = list(super().forward(pixel_values=images, **options).feature_maps)  # type: ignore[misc]
            return grids if self.handed_out is None else [grids[index] for index in self.handed_out]
        if self.merges_patches:  # Swin's own answer has its maps behind the step to the next resolution
            tokens, size = self.embeddings(images, **options)
            early = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
            out = self.encoder(tokens, size, **early)
        else:
            out = super().forward(pixel_values=images, output_hidden_states=True, **options)  # type: ignore[misc]
        states = getattr(out, "reshaped_hidden_states", None) or out.hidden_states
        grids = [_as_grid(state, images, self.config) for state in states]
        if grids[0].shape[-2:] == images.shape[-2:]:
            grids = grids[1:]  # the image itself
        elif states[0].ndim == 3:
            grids = grids[1:]  # tokens before the first block
        return grids if self.handed_out is None else [grids[index] for index in self.handed_out]

    def set_grad_checkpointing(self: Any, enable: bool = True) -> None:
        """As timm calls it."""
        if not self.supports_gradient_checkpointing:
            raise NotImplementedError(f"{type(self).__name__} has no gradient checkpointing")
        checkpoint = torch.utils.checkpoint.checkpoint  # as it is now: the fold has to survive it
        self._set_gradient_checkpointing(enable, functools.partial(checkpoint, use_reentrant=False))


@functools.cache
def _answering(cls: Any) -> Any:
    return cls if issubclass(cls, _Answering) else _renewed(cls, (_Answering, cls), {})


def _renewed(cls: type, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    """A subclass that goes by the same name: transformers keeps what it knows of a class under its name."""
    return type(cls.__name__, bases, body | {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


@functools.cache
def _of_any_channels(cls: Any) -> Any:
    """A patch embedding that asks for as many channels as its convolution reads, lifted or not."""

    def channels(self: nn.Module) -> int:
        conv = _reader(self)
        stacked = conv.depth_size if getattr(conv, "stacked", False) else 1  # slices of a tubelet come as channels
        return conv.in_channels * stacked

    return _renewed(cls, (cls,), {"num_channels": property(channels)})


def _reader(owner: nn.Module) -> Any:
    """The convolution a patch embedding begins with."""
    return next((module for module in owner.modules() if isinstance(module, nn.Conv2d)), None)


def _has_head(network: nn.Module) -> bool:
    """Whether it answers with logits or an embedding of its own."""
    return any(word in type(network).__name__ for word in ("Classification", "Segmentation", "WithProjection"))


def _as_grid(state: Tensor, images: Tensor, config: Any) -> Tensor:
    """Tokens (N, T, C) as a map; what comes before the patches (class, registers) is left out."""
    if state.ndim == 4:
        return state
    patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    height, width = images.shape[-2] // patch, images.shape[-1] // patch
    if state.shape[1] < height * width:
        raise CannotLift(f"{state.shape[1]} tokens are no grid of {height} x {width} patches; ask for its backbone")
    return state[:, state.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))


def _describe(network: Any) -> None:
    """Choose the maps, and say which modules end in them, where a module's output is one as it stands.

    Raises:
        PlanError: if a map is asked for that the network does not have.
    """
    ends: dict[int, str] = {}
    kept: list[Tensor] = []  # an id is somebody's only as long as he lives

    def remember(name: str, out: Any) -> None:
        if isinstance(out, Tensor):
            kept.append(out)
            ends[id(out)] = name  # whoever contains a module is done after it

    hooks = [
        module.register_forward_hook(lambda module, args, out, name=name: remember(name, out))
        for name, module in network.named_modules()
        if name
    ]
    hollow = {name: tensor.to("meta") for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    conv, training = _reader(network), network.training
    chosen, network.handed_out = network.handed_out, None
    network.eval()
    with torch.no_grad():
        image = torch.empty(1, conv.in_channels, 64, 64, device="meta", dtype=conv.weight.dtype)
        maps = torch.func.functional_call(network, hollow, (image,))
    network.train(training)
    for hook in hooks:
        hook.remove()
    network.handed_out = _last_of_each([m.shape for m in maps]) if chosen is None else chosen
    if any(not -len(maps) <= index < len(maps) for index in network.handed_out):
        raise PlanError(
            f"{type(network).__name__} has {len(maps)} maps, got out_indices={network.handed_out}; 0 is the first"
        )
    stages = [(ends.get(id(maps[index])), maps[index]) for index in network.handed_out]
    if all(name for name, _ in stages):
        network.feature_info = [
            {"module": name, "num_chs": m.shape[1], "reduction": 64 // m.shape[2]} for name, m in stages
        ]


def _leave_out_pooling(network: Any) -> None:
    """Drop what pools maps into one vector, where it has weights and the network can do without."""
    pooler = getattr(network, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        network.pooler = None
    if getattr(network, "use_head", False):  # SigLIP
        network.use_head, network.head = False, None


def _last_of_each(maps: list[torch.Size]) -> tuple[int, ...]:
    """The last map at each resolution; where there is one resolution, the last few."""
    last = {shape[-1]: index for index, shape in enumerate(maps)}
    return tuple(last.values()) if len(last) > 1 else tuple(range(len(maps)))[-COLUMN:]
