"""Networks of torchvision. The only file that imports it to create them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.backbones.download import cached_url_file
from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.load_checkpoint import match_by_name
from dimlift.backbones.load_report import LoadReport
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownNameError, WeightsError
from dimlift.file_digest import file_sha256


def create_torchvision(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    out_indices: Sequence[int] | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create one of torchvision's classification networks.

    Args:
        name: torchvision's name ("resnet18", "vit_b_16").
        pretrained: load torchvision's default weights from torch's hub folder.
        download: download them if they are not there.
        features_only: return a list of maps instead of logits, the last one at each resolution.
        image_size: for vision transformers, which are built for one size, rounded up to whole patches; others accept
            any and ignore it.
        out_indices: which of the maps.
        options: passed to torchvision's builder.

    Raises:
        UnknownNameError: if torchvision has no such network.
        WeightsError: if the weights are not on this machine and `download` is False.
        PlanError: if this network cannot return maps, or not at this size.
    """
    ensure_torchvision_imports()
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError("torchvision network", name, known)
    default = getattr(models.get_model_weights(name), "DEFAULT", None)
    is_vit = name.startswith("vit_")
    if is_vit and image_size is not None:
        patch = int(name.rsplit("_", 1)[1])  # "vit_b_16"; torchvision refuses images that patches do not fill
        options["image_size"] = -(-_square_side(image_size) // patch) * patch
    network = models.get_model(name, weights=None, **options)
    url = sha256 = None
    report = LoadReport()
    if pretrained:
        if default is None:
            raise WeightsError(f"torchvision has no weights to download for {name}; lift it with weights=FILE")
        url = default.url
        path = cached_url_file(f"torchvision's {name}", url, download=download)
        sha256 = file_sha256(path)
        tensors = read_tensors(path)
        network.load_state_dict(_interpolate_positions(dict(tensors), network))
        report = match_by_name(tensors, network)
    transforms = default.transforms() if default is not None else None
    size = network.image_size if is_vit else transforms.crop_size[0] if transforms is not None else None
    info = BackboneInfo(
        name=f"torchvision:{name}",
        mean=None if transforms is None else tuple(transforms.mean),
        std=None if transforms is None else tuple(transforms.std),
        size=None if size is None else (size, size),
        weights=url or "random",
        sha256=sha256,
        load_report=report,
    )
    units = _sequential_units(network)
    stages = _last_unit_per_resolution(network, units)
    if stages:
        network.feature_info = stages
    if not features_only:
        return network, info
    if not stages:
        raise PlanError(
            f"torchvision's {name} is not a sequence of modules, so its maps are not known; lift it with "
            "features_only=False, or lift timm's network of that kind"
        )
    if out_indices is not None and not set(out_indices) <= set(range(-len(stages), len(stages))):
        raise PlanError(f"{name} has {len(stages)} maps, got out_indices={list(out_indices)}; 0 is the first")
    chosen = stages if out_indices is None else [stages[index] for index in out_indices]
    return SequentialFeatures(network, units, chosen, channels_last=name.startswith("swin")), info


class SequentialFeatures(nn.Module):
    """The part of a network before its head, returning maps. Tensor names are those of the full network.

    Args:
        network: the full network.
        units: names of the modules that run one after the other.
        stages: feature_info of the units whose outputs are returned.
        channels_last: whether maps are (N, H, W, C).
    """

    def __init__(
        self, network: nn.Module, units: list[str], stages: list[dict[str, Any]], channels_last: bool = False
    ) -> None:
        super().__init__()
        self.feature_info = stages
        self.output_fmt = "NHWC" if channels_last else "NCHW"
        self.out_modules = [stage["module"] for stage in stages]
        self.units = units[: units.index(self.out_modules[-1]) + 1]
        for unit in self.units:
            top, _, rest = unit.partition(".")
            if not rest:
                self.add_module(top, network.get_submodule(top))
                continue
            if not hasattr(self, top):
                self.add_module(top, nn.Sequential())
            self.get_submodule(top).add_module(rest, network.get_submodule(unit))

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """Return one map for each stage."""
        maps = []
        for unit in self.units:
            images = self.get_submodule(unit)(images)
            if unit in self.out_modules:
                maps.append(images)
        return maps


def full_model_keys(name: str) -> list[str]:
    """Return the state-dict keys of the network with its head, which is built on the meta device."""
    with torch.device("meta"):
        network, _ = create_torchvision(name)
    return list(network.state_dict())


def _sequential_units(network: nn.Module) -> list[str]:
    """Return the modules that run one after the other up to the last map; none if the network has another structure."""
    children = [name for name, _ in network.named_children()]
    if "layer4" in children:  # ResNet and its variants
        return children[: children.index("layer4") + 1]
    for chain in ("features", "trunk_output"):
        if chain in children:
            inside = [f"{chain}.{name}" for name, _ in network.get_submodule(chain).named_children()]
            return [*children[: children.index(chain)], *inside]
    return []


def _last_unit_per_resolution(network: nn.Module, units: list[str]) -> list[dict[str, Any]]:
    """Return feature_info of the last unit at each resolution, from a run on the meta device."""
    side, stages = 64, {}
    training = network.training
    network.eval()
    meta = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    x = torch.empty(1, 3, side, side, device="meta")
    with torch.no_grad():
        for unit in units:
            own = {name.removeprefix(f"{unit}."): t for name, t in meta.items() if name.startswith(f"{unit}.")}
            x = torch.func.functional_call(network.get_submodule(unit), own, (x,))
            height, channels = (x.shape[1], x.shape[3]) if x.shape[1] == x.shape[2] else (x.shape[2], x.shape[1])
            if height < side:
                stages[height] = {"module": unit, "num_chs": channels, "reduction": round(side / height)}
    network.train(training)
    return list(stages.values())


def _interpolate_positions(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Interpolate position tables to the network's image size."""
    if not hasattr(network, "image_size"):
        return state
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(network.image_size, network.patch_size, state))


def _square_side(image_size: int | tuple[int, int]) -> int:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height != width:
        raise PlanError(f"torchvision's vision transformers read square images, got {height} x {width}; use timm's")
    return height
