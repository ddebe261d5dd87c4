"""Networks of torchvision. The only file that imports it to build them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import digest, read_tensors
from dimlift.backbones.download import address_file
from dimlift.backbones.info import SourceInfo
from dimlift.backbones.load_checkpoint import read_by_name
from dimlift.backbones.load_report import Reading
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownName, WeightsError


def open_torchvision(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    out_indices: Sequence[int] | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Build one of torchvision's classification networks.

    Args:
        name: torchvision's name ("resnet18", "vit_b_16").
        pretrained: read torchvision's default weights from torch's hub folder.
        download: fetch them if they are not there.
        features_only: a list of maps instead of logits, the last one at each resolution.
        image_size: for vision transformers, which are built for one; others take any and ignore it.
        out_indices: which of the maps.
        options: passed on to torchvision's builder.

    Raises:
        UnknownName: if torchvision has no such network.
        WeightsError: if the weights are not on this machine and must not be fetched.
        PlanError: if the maps of this network cannot be had, or not at this size.
    """
    ensure_torchvision_imports()
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownName("torchvision network", name, known)
    choices = models.get_model_weights(name)
    best = getattr(choices, "DEFAULT", None)
    transformer = name.startswith("vit_")
    if transformer and image_size is not None:
        options["image_size"] = _side(image_size)
    network = models.get_model(name, weights=None, **options)
    address = sha256 = None
    reading = Reading()
    if pretrained:
        if best is None:
            raise WeightsError(f"torchvision has no weights for {name} that it could fetch; lift it with weights=FILE")
        address = best.url
        path = address_file(f"torchvision's {name}", address, download=download)
        sha256 = digest(path)
        tensors = read_tensors(path)
        network.load_state_dict(_fitted(dict(tensors), network))
        reading = read_by_name(tensors, network)
    settings = best.transforms() if best is not None else None
    size = network.image_size if transformer else settings.crop_size[0] if settings is not None else None
    info = SourceInfo(
        name=f"torchvision:{name}",
        mean=None if settings is None else tuple(settings.mean),
        std=None if settings is None else tuple(settings.std),
        size=None if size is None else (size, size),
        weights=address or "random",
        sha256=sha256,
        reading=reading,
    )
    units = _units(network)
    stages = _stages(network, units)
    if stages:
        network.feature_info = stages
    if not features_only:
        return network, info
    if not stages:
        raise PlanError(
            f"torchvision's {name} does not run from one end to the other as a chain, so its maps are not known; lift "
            f"it with features_only=False, or lift timm's network of that kind"
        )
    if out_indices is not None and not set(out_indices) <= set(range(-len(stages), len(stages))):
        raise PlanError(f"{name} has {len(stages)} maps, got out_indices={list(out_indices)}; 0 is the first")
    chosen = stages if out_indices is None else [stages[index] for index in out_indices]
    return Maps(network, units, chosen, channels_last=name.startswith("swin")), info


class Maps(nn.Module):
    """The part of a network before its head, handing out maps. Its names are the whole network's.

    Args:
        network: the whole.
        units: names of the modules that run one after the other.
        stages: those whose output is handed out, with their channels and strides.
        channels_last: whether maps are (N, H, W, C) inside.
    """

    def __init__(
        self, network: nn.Module, units: list[str], stages: list[dict[str, Any]], channels_last: bool = False
    ) -> None:
        super().__init__()
        self.feature_info = stages
        self.output_fmt = "NHWC" if channels_last else "NCHW"
        self.handed_out = [stage["module"] for stage in stages]
        self.units = units[: units.index(self.handed_out[-1]) + 1]
        for unit in self.units:
            top, _, rest = unit.partition(".")
            if not rest:
                self.add_module(top, network.get_submodule(top))
                continue
            if not hasattr(self, top):
                self.add_module(top, nn.Sequential())
            self.get_submodule(top).add_module(rest, network.get_submodule(unit))

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """One map for each stage."""
        maps = []
        for unit in self.units:
            images = self.get_submodule(unit)(images)
            if unit in self.handed_out:
                maps.append(images)
        return maps


def keys_of_whole(name: str) -> list[str]:
    """Keys of the network with its head, from a build without numbers."""
    with torch.device("meta"):
        network, _ = open_torchvision(name)
    return list(network.state_dict())


def _units(network: nn.Module) -> list[str]:
    """The modules a network runs one after the other up to its last map, where it is such a chain; else none."""
    children = [name for name, _ in network.named_children()]
    if "layer4" in children:  # ResNet and its kin
        return children[: children.index("layer4") + 1]
    for chain in ("features", "trunk_output"):
        if chain in children:
            inside = [f"{chain}.{name}" for name, _ in network.get_submodule(chain).named_children()]
            return [*children[: children.index(chain)], *inside]
    return []


def _stages(network: nn.Module, units: list[str]) -> list[dict[str, Any]]:
    """The last unit at each resolution, its channels and its stride, from a run on shapes alone."""
    side, stages = 64, {}
    training = network.training
    network.eval()
    hollow = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    x = torch.empty(1, 3, side, side, device="meta")
    with torch.no_grad():
        for unit in units:
            own = {name.removeprefix(f"{unit}."): t for name, t in hollow.items() if name.startswith(f"{unit}.")}
            x = torch.func.functional_call(network.get_submodule(unit), own, (x,))
            height, channels = (x.shape[1], x.shape[3]) if x.shape[1] == x.shape[2] else (x.shape[2], x.shape[1])
            if height < side:
                stages[height] = {"module": unit, "num_chs": channels, "reduction": round(side / height)}
    network.train(training)
    return list(stages.values())


def _fitted(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Position tables for the network's image size."""
    if not hasattr(network, "image_size"):
        return state
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(network.image_size, network.patch_size, state))


def _side(image_size: int | tuple[int, int]) -> int:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height != width:
        raise PlanError(f"torchvision's vision transformers read square images, got {height} x {width}; use timm's")
    return height
