"""The lifted network: fold, run the 2D network's own forward, unfold."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import SourceInfo
from dimlift.errors import PlanError, ShapeError
from dimlift.lifting.activation_checkpointing import keep_fold_through_checkpoints
from dimlift.lifting.certify.certificate import Certificate
from dimlift.lifting.certify.weight_report import WeightsReport
from dimlift.lifting.depth_plan import DepthPlan, positive
from dimlift.lifting.fold import Fold, fold, folded_as, unfold
from dimlift.lifting.layers.attention.call_interceptor import Spanning
from dimlift.lifting.layers.slice_pooling import SliceHead


class Lifted(nn.Module):
    """A 2D network that reads volumes. Made by `lift`.

    Attributes:
        network: the 2D network with its layers lifted; its names are the 2D network's.
        plan: how its slices talk.
        in_channels: channels of the volumes it reads.
        channels: of each map it hands out; of the logits, their number.
        strides: voxels (z, y, x) per feature voxel, for each map; empty for logits.
        source: where the 2D network came from ("timm:resnet18"); None for a live module.
        licence: of the weights, where the source states it.
        certificate: what was checked when it was lifted; None if nothing was.
        weights_report: which weights were inflated, copied, resized or are new.
        tubelet: slices that the first convolution takes together, where it strides in depth.
        listener: lets calls inside the forward span slices, where the plan asks for it.
        folded_std: for each first convolution that took an input std into its kernel, that std.
        attention_within_slices: layers whose attention stays within each slice although the plan lets attention span
            them, since they compute it in a way that cannot be reached.
        image_size: (height, width) it was built for, where it is bound to one; else None.
        enlarge: how many times as high and wide the network sees each slice.
    """

    network: nn.Module
    input_mean: Tensor | None
    input_scale: Tensor | None

    def __init__(self, network: nn.Module, plan: DepthPlan, info: SourceInfo, in_channels: int) -> None:
        super().__init__()
        self.network = network
        self.plan = plan
        self.info = info
        self.in_channels = in_channels
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[tuple[int, int, int], ...] = ()
        self.certificate: Certificate | None = None
        self.weights_report = WeightsReport()
        self.attention_within_slices: tuple[str, ...] = ()
        self.image_size: tuple[int, int] | None = None
        self.folded_std: dict[str, Tensor] = {}
        self.head: SliceHead | None = None
        self.tubelet = 1
        self.enlarge = 1
        self.listener: Spanning | None = None
        self.register_buffer("input_mean", None)
        self.register_buffer("input_scale", None)

    @property
    def source(self) -> str | None:
        """Name of the 2D network; None for a live module."""
        return self.info.name

    @property
    def licence(self) -> str | None:
        """Licence of the weights, where the source states it."""
        return self.info.licence

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from (name or file, SHA-256) and under what terms (licence, gating): plain JSON."""
        return self.info.to_json()

    def forward(
        self, volume: Float[Tensor, "batch channel depth height width"]
    ) -> list[Float[Tensor, "batch channel2 depth2 height2 width2"]] | Float[Tensor, "batch classes"]:
        """Maps (B, C, D, H, W), or logits (B, classes), of volumes.

        Raises:
            ShapeError: if the volume has other axes or channels, or no voxels.
        """
        self._check(volume)
        if self.input_mean is not None:
            volume = volume - self.input_mean.to(volume.dtype)
        if self.input_scale is not None:
            volume = volume * self.input_scale.to(volume.dtype)
        if self.enlarge > 1:
            volume = F.interpolate(volume, scale_factor=(1, self.enlarge, self.enlarge), mode="trilinear")
        batch, depth = volume.shape[0], volume.shape[2]
        if self.tubelet > 1:
            missing = -depth % self.tubelet
            volume = torch.cat([volume, volume[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2) if missing else volume
            depth = volume.shape[2] // self.tubelet
            # (B, C, D, H, W) to (B, k * C, D / k, H, W): slices of a tubelet become channels
            volume = volume.unflatten(2, (depth, self.tubelet)).permute(0, 3, 1, 2, 4, 5).flatten(1, 2)
        try:
            with folded_as(Fold(batch, depth, batch * depth), self.listener):
                out = self.network(fold(volume))
        except RuntimeError as fault:
            self._blame_small_slices(volume.shape[-2], volume.shape[-1], fault)
            raise
        return self._unfolded(out, batch)

    def _blame_small_slices(self, height: int, width: int, fault: RuntimeError) -> None:
        """Many networks take slices below their coarsest step, some cannot: torch then speaks of kernels only."""
        coarsest = self.enlarge * max((max(stride[1:]) for stride in self.strides), default=0)
        if min(height, width) < coarsest:
            raise ShapeError(
                f"slices of {height} x {width} are too small for this network, whose coarsest map has a value for "
                f"every {coarsest} pixels; use larger patches, or fewer stages"
            ) from fault

    def _unfolded(self, out: Any, batch: int) -> Any:
        if isinstance(out, dict):
            out = list(out.values())
        if isinstance(out, list | tuple):
            return [self._map(part, batch) for part in out]
        if out.ndim == 4:
            return self._map(out, batch)
        if out.ndim == 2:
            logits = out.unflatten(0, (batch, -1))
            return logits.mean(1) if self.head is None else self.head(logits)
        return out.unflatten(0, (batch, -1))  # tokens: (B, D, tokens, C)

    def _map(self, slices: Tensor, batch: int) -> Tensor:
        layout = getattr(self.network, "output_fmt", None)
        if str(getattr(layout, "value", layout)) == "NHWC":
            slices = slices.permute(0, 3, 1, 2)
        return unfold(slices, batch)

    def _check(self, volume: Tensor) -> None:
        if volume.ndim != 5:
            raise ShapeError(
                f"a volume is (batch, channel, depth, height, width), got {tuple(volume.shape)}; "
                "add the axes that are missing with volume[None]"
            )
        if volume.shape[1] != self.in_channels:
            raise ShapeError(
                f"this network was lifted for {self.in_channels} channels, the volume has {volume.shape[1]}; "
                f"lift it with in_channels={volume.shape[1]}"
            )
        if 0 in volume.shape:
            raise ShapeError(f"the volume {tuple(volume.shape)} has no voxels; crop it less")
        height, width = self.enlarge * volume.shape[-2], self.enlarge * volume.shape[-1]
        if self.image_size is not None and (height, width) != self.image_size:
            seen = "" if self.enlarge == 1 else f", enlarged to {height} x {width}"
            raise ShapeError(
                f"this network reads slices of {self.image_size[0]} x {self.image_size[1]}, the volume's are "
                f"{volume.shape[-2]} x {volume.shape[-1]}{seen}; lift it with image_size={height, width}"
            )

    def show_enlarged(self, factor: int) -> None:
        """Show the network each slice `factor` times as high and wide from now on.

        Raises:
            PlanError: if the factor is no whole number from 1.
        """
        if not positive(factor):
            raise PlanError(f"enlarge is a whole number from 1 upwards, got {factor!r}; 1 shows slices as they are")
        self.enlarge = factor
        self.strides = tuple((z, max(1, round(y / factor)), max(1, round(x / factor))) for z, y, x in self.strides)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training, as the 2D network does it itself.

        Raises:
            AttributeError: if the 2D network has no gradient checkpointing of its own.
        """
        keep_fold_through_checkpoints()
        inner: Any = self.network
        while not hasattr(inner, "set_grad_checkpointing") and hasattr(inner, "model"):
            inner = inner.model
        inner.set_grad_checkpointing(enable)

    def depth_parameters(self) -> list[nn.Parameter]:
        """Parameters that are new to depth: profiles, positions, heads. They may want a rate of their own."""
        new = self.weights_report.new
        return [p for name, p in self.named_parameters() if name.removeprefix("network.") in new]

    def talking_parameters(self) -> list[nn.Parameter]:
        """Parameters of the layers that gained a depth axis, and what is new to depth."""
        inflated = self.weights_report.inflated
        found = [p for name, p in self.named_parameters() if name.removeprefix("network.") in inflated]
        return found + self.depth_parameters()

    def extra_repr(self) -> str:
        """Source and plan, and what changes the answer without being a weight."""
        enlarged = f", enlarge={self.enlarge}" if self.enlarge > 1 else ""
        return f"source={self.source}, in_channels={self.in_channels}, plan={self.plan}{enlarged}"


def first_tensor(out: Any) -> Tensor:
    """The first map of a list, or the tensor itself."""
    return out[0] if isinstance(out, list | tuple) else next(iter(out.values())) if isinstance(out, dict) else out


def on_meta(lifted: Lifted, shape: tuple[int, ...]) -> Any:
    """Run a lifted network on nothing but shapes: no arithmetic, no memory."""
    dtype = next((p.dtype for p in lifted.parameters()), torch.float32)
    with torch.no_grad(), hollow(lifted):
        return lifted(torch.empty(shape, device="meta", dtype=dtype))


@contextmanager
def hollow(network: nn.Module) -> Iterator[None]:
    """While it lasts, parameters and buffers are shapes without numbers. Tensors and modules may have many names."""
    holders = [tensors for module in network.modules() for tensors in (module._parameters, module._buffers)]
    kept: list[dict[str, Any]] = [dict(tensors) for tensors in holders]
    shapes: dict[int, Any] = {}
    try:
        for tensors in holders:
            for name, tensor in tensors.items():
                if tensor is not None:
                    empty = shapes.setdefault(id(tensor), tensor.detach().to("meta"))
                    tensors[name] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
        yield
    finally:
        for tensors, before in zip(holders, kept, strict=True):
            tensors.update(before)
