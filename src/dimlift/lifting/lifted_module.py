"""The lifted network: fold depth into the batch, run the 2D network's own forward, unfold."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, ShapeError
from dimlift.lifting.activation_checkpointing import preserve_fold_in_checkpoints
from dimlift.lifting.certify.certificate import Certificate
from dimlift.lifting.certify.weight_report import WeightsReport
from dimlift.lifting.depth_plan import DepthPlan, is_positive_int
from dimlift.lifting.fold import Fold, fold, fold_context, unfold
from dimlift.lifting.layers.call_interceptor import CallInterceptor
from dimlift.lifting.layers.slice_pooling import SlicePool
from dimlift.lifting.slice_padding import SlicePadding

Stride = tuple[float, float, float]
"""(z, y, x) in voxels; whole numbers are int"""


class LiftedModule(nn.Module):
    """A 2D network that reads volumes; created by `lift`.

    Attributes:
        network: the 2D network with its layers converted; parameter names are those of the 2D network.
        plan: how it mixes along depth.
        info: the 2D network's name, weights and licence.
        in_channels: number of input channels.
        channels: channels of each output map, or the number of logits.
        strides: (z, y, x) stride of each map in voxels: cell i covers voxels from i * stride to (i + 1) * stride. The
            last cell may extend beyond the volume. Empty for logits.
        certificate: what was checked when it was lifted; None with `certify=False`.
        weights_report: which weights were inflated, copied, resized or are new.
        slice_pool: pools the logits of slices; None for maps.
        tubelet_depth: number of slices that a first convolution with stride along depth reads at once.
        interceptor: makes calls inside the forward span slices; None if the plan needs none.
        folded_std: for each first convolution whose kernel was divided by an input std, that std.
        attention_within_slices: names of layers whose attention stays within each slice although the plan lets
            attention span slices, since it is computed in a way that cannot be intercepted.
        image_size: (height, width) required by the 2D network; None if it accepts any.
        padding: of slices to a size at which the network reads every pixel.
        starts: (z, y, x) voxel at which the first cell of each map starts; 0 but in networks whose convolutions have
            no padding.
        upsample: factor by which height and width of the input are upsampled.
        input_mean: (1, C, 1, 1, 1), subtracted from the input, or None.
        input_scale: (1, C, 1, 1, 1), multiplied with the input, or None.
    """

    padding = SlicePadding()
    starts: tuple[Stride, ...] = ()
    network: nn.Module
    input_mean: Tensor | None
    input_scale: Tensor | None

    def __init__(self, network: nn.Module, plan: DepthPlan, info: BackboneInfo, in_channels: int) -> None:
        super().__init__()
        self.network = network
        self.plan = plan
        self.info = info
        self.in_channels = in_channels
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[Stride, ...] = ()
        self.starts = ()
        self.certificate: Certificate | None = None
        self.weights_report = WeightsReport()
        self.attention_within_slices: tuple[str, ...] = ()
        self.image_size: tuple[int, int] | None = None
        self.folded_std: dict[str, Tensor] = {}
        self.slice_pool: SlicePool | None = None
        self.tubelet_depth = 1
        self.upsample = 1
        self.interceptor: CallInterceptor | None = None
        self.register_buffer("input_mean", None)
        self.register_buffer("input_scale", None)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle like any module; torchvision is imported before the layers are unpickled."""
        reduced: Any = super().__reduce_ex__(max(protocol, 2))
        _, _, *state = reduced
        return _new_module, (type(self),), *state

    @property
    def source(self) -> str | None:
        """Name of the 2D network; None for a live module."""
        return self.info.name

    @property
    def licence(self) -> str | None:
        """Licence of the weights, if known."""
        return self.info.licence

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin of the weights (name or file, SHA-256) and their terms (licence, gating), as plain JSON."""
        return self.info.to_json()

    def forward(
        self, volume: Float[Tensor, "batch channel depth height width"]
    ) -> list[Float[Tensor, "batch channel2 depth2 height2 width2"]] | Float[Tensor, "batch classes"]:
        """Return a list of maps (B, C, D, H, W), or logits (B, classes).

        Raises:
            ShapeError: if the volume has another number of axes or channels, no voxels, or a size the network rejects.
        """
        self._check(volume)
        if self.input_mean is not None:
            volume = volume - self.input_mean.to(volume.dtype)
        if self.input_scale is not None:
            volume = volume * self.input_scale.to(volume.dtype)
        if self.upsample > 1:
            volume = F.interpolate(volume, scale_factor=(1, self.upsample, self.upsample), mode="trilinear")
        size = tuple(volume.shape[2:])
        volume = self.padding(volume)
        is_padded = tuple(volume.shape[2:]) != size
        if self.tubelet_depth > 1:
            volume = self._stack_tubelets(volume)
        batch, depth, height, width = volume.shape[0], *volume.shape[2:]
        try:
            with fold_context(Fold(batch, depth, batch * depth), self.interceptor):
                out = self.network(fold(volume))
        except RuntimeError as fault:
            self._explain_small_slices(height, width, fault)
            raise
        out = self._unfold_output(out, batch)
        return self._crop(out, size[1:]) if is_padded else out

    def _crop(self, out: Any, size: tuple[int, ...]) -> Any:
        """Leave out the cells of maps that lie in the padding wholly."""
        if not self.strides or (not isinstance(out, list) and out.ndim != 5):
            return out
        maps = out if isinstance(out, list) else [out]
        cropped = []
        for each, (_, *strides), (_, *starts) in zip(maps, self.strides, self.starts, strict=True):
            rows, columns = (
                math.ceil((side / self.upsample - start) / stride)
                for side, stride, start in zip(size, strides, starts, strict=True)
            )
            cropped.append(each[:, :, :, :rows, :columns])
        return cropped if isinstance(out, list) else cropped[0]

    def _stack_tubelets(self, volume: Tensor) -> Tensor:
        """Move the slices of each tubelet to channels: (B, C, D, H, W) to (B, k * C, D / k, H, W)."""
        k = self.tubelet_depth
        missing = -volume.shape[2] % k
        volume = torch.cat([volume, volume[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2) if missing else volume
        return volume.unflatten(2, (volume.shape[2] // k, k)).permute(0, 3, 1, 2, 4, 5).flatten(1, 2)

    def _explain_small_slices(self, height: int, width: int, fault: RuntimeError) -> None:
        """Explain torch's error on slices below the coarsest stride, which some networks accept and others reject."""
        coarsest = self.upsample * max((max(stride[1:]) for stride in self.strides), default=0)
        if min(height, width) < coarsest:
            raise ShapeError(
                f"slices of {height} x {width} are too small for this network, whose coarsest map has one value for "
                f"every {coarsest} pixels; use larger patches or fewer stages"
            ) from fault

    def _unfold_output(self, out: Any, batch: int) -> Any:
        if isinstance(out, dict):
            out = list(out.values())
        if isinstance(out, list | tuple):
            return [self._unfold_map(part, batch) for part in out]
        if out.ndim == 4:
            return self._unfold_map(out, batch)
        if out.ndim == 2:
            logits = out.unflatten(0, (batch, -1))
            return logits.mean(1) if self.slice_pool is None else self.slice_pool(logits)
        return out.unflatten(0, (batch, -1))  # tokens: (B, D, tokens, C)

    def _unfold_map(self, slices: Tensor, batch: int) -> Tensor:
        layout = getattr(self.network, "output_fmt", None)
        if str(getattr(layout, "value", layout)) == "NHWC":
            slices = slices.permute(0, 3, 1, 2)
        return unfold(slices, batch)

    def _check(self, volume: Tensor) -> None:
        if volume.ndim != 5:
            raise ShapeError(
                f"a volume has the shape (batch, channel, depth, height, width), got {tuple(volume.shape)}; "
                "add missing axes with volume[None]"
            )
        if volume.shape[1] != self.in_channels:
            raise ShapeError(
                f"this network was lifted for {self.in_channels} channels and the volume has {volume.shape[1]}; "
                f"lift it with in_chans={volume.shape[1]}"
            )
        if 0 in volume.shape:
            raise ShapeError(f"the volume {tuple(volume.shape)} has no voxels; use a larger crop")
        height, width = self.upsample * volume.shape[-2], self.upsample * volume.shape[-1]
        if self.image_size is not None and self.padding.size(height, width) != self.image_size:
            upsampled = "" if self.upsample == 1 else f", upsampled to {height} x {width}"
            raise ShapeError(
                f"this network reads slices of {self.image_size[0]} x {self.image_size[1]}, and those of the volume "
                f"are {volume.shape[-2]} x {volume.shape[-1]}{upsampled}; lift it with "
                f"image_size={self.padding.size(height, width)}"
            )

    def set_upsample(self, factor: int) -> None:
        """Upsample height and width of the input by a factor; the strides of the maps shrink accordingly.

        Raises:
            PlanError: if the factor is not a positive integer.
        """
        if not is_positive_int(factor):
            raise PlanError(f"upsample is a positive integer, got {factor!r}; 1 keeps the size of the slices")
        self.upsample = factor
        self.strides = tuple((z, exact(y / factor), exact(x / factor)) for z, y, x in self.strides)
        self.starts = tuple((z, exact(y / factor), exact(x / factor)) for z, y, x in self.starts)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable or disable the 2D network's own gradient checkpointing.

        Raises:
            AttributeError: if the 2D network has none.
        """
        preserve_fold_in_checkpoints()
        inner: Any = self.network
        while not hasattr(inner, "set_grad_checkpointing") and hasattr(inner, "model"):
            inner = inner.model
        inner.set_grad_checkpointing(enable)

    def depth_parameters(self) -> list[nn.Parameter]:
        """Return the parameters the 2D network does not have (depth profiles, positions, gates, slice pooling)."""
        new = self.weights_report.new
        return [p for name, p in self.named_parameters() if name.removeprefix("network.") in new]

    def depth_mixing_parameters(self) -> list[nn.Parameter]:
        """Return the inflated parameters, and those the 2D network does not have."""
        inflated = self.weights_report.inflated
        found = [p for name, p in self.named_parameters() if name.removeprefix("network.") in inflated]
        return found + self.depth_parameters()

    def extra_repr(self) -> str:
        """Source, plan, and settings that are no weights."""
        upsample = f", upsample={self.upsample}" if self.upsample > 1 else ""
        return f"source={self.source}, in_channels={self.in_channels}, plan={self.plan}{upsample}"


def exact(number: float) -> float:
    """Return a stride as a whole number where it is one."""
    return int(number) if float(number).is_integer() else number


def _new_module(cls: type[LiftedModule]) -> LiftedModule:
    """Create a module without state: timm's layers, which are unpickled next, import torchvision."""
    ensure_torchvision_imports()
    return cls.__new__(cls)
