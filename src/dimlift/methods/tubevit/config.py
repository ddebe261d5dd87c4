"""TubeViT: a 2D vision transformer on sparse tubes of volumes or videos, and on pictures beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import Task
from dimlift.config.sections import PositiveFloat, Published, Section
from dimlift.errors import ConfigError, WeightsError
from dimlift.methods.lifted.config import FromTwoDimensions
from dimlift.methods.supervised.volumes import volume_method

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.tokenizers.tubes import TubeTokens

PAPER: dict[str, Any] = {
    "network": "timm:vit_base_patch16_224.augreg_in21k",
    "tubes": "four_split",
    "pool": "attention",
    "rate": 5e-5,
}
"""The published network and settings; what belongs to the training loop is in examples/tubevit.yaml."""


class TubeSection(Section):
    """One shape of tube, (z, y, x) in voxels."""

    kernel: tuple[int, int, int] = Field(description="Size of a tube.")
    stride: tuple[int, int, int] = Field(description="From one tube to the next.")
    offset: tuple[int, int, int] = Field(default=(0, 0, 0), description="Voxels before the first tube.")
    split: tuple[int, int, int] = Field(
        default=(1, 1, 1), description="Space to depth: neighbours along each axis that make a token together."
    )


class TubeViTArm(Published, FromTwoDimensions):
    """TubeViT: a 2D vision transformer on sparse tubes, one answer for a volume or a video."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["tubevit"] = Field(
        default="tubevit", description="2D vision transformer on sparse tubes of volumes or videos."
    )
    network: str = Field(
        default="timm:deit_small_patch16_224", description="2D vision transformer with learnt positions, `timm:NAME`."
    )
    tubes: Literal["four", "four_split", "core"] | tuple[TubeSection, ...] = Field(
        default="four",
        description="The paper's four tubes (with space to depth: `four_split`), the pair it begins with (`core`), or "
        "a list of {kernel, stride, offset, split}.",
    )
    interpolated: bool = Field(default=False, description="One kernel of 8 x 8 x 8, resized, for all tubes.")
    inherit: bool = Field(
        default=True, description="Start tubes from the network's patch embedding; split ones are drawn all the same."
    )
    pool: Literal["network", "attention"] = Field(
        default="network", description="How tokens become one vector: as in the 2D network, or by learnt attention."
    )
    pictures: str | None = Field(
        default=None, description="Folder of pictures, a folder for each class, that are learnt in the same steps."
    )
    picture_classes: int = Field(default=0, ge=0, description="Classes of these pictures; 0 for none.")
    picture_size: int = Field(default=224, ge=8, description="Height and width of the crops of pictures.")
    pictures_per_step: int = Field(default=8, ge=1, description="Pictures in a batch, beside the volumes.")
    picture_weight: PositiveFloat = Field(default=1.0, description="Weight of the pictures' loss.")
    tubes_from: str | None = Field(
        default=None,
        description="Weights folder of a `tubevit` whose kernels the tubes take; for one with a narrower network set "
        "`wider`.",
    )
    wider: Literal[1, 2, 4, 8] = Field(
        default=1,
        description="How many times as wide as the kernels of a tube its tokens are, by space to depth: the width of "
        "this network over that of the one in `tubes_from`.",
    )
    gate_after: int = Field(
        default=0,
        ge=0,
        description="Blocks, from the first, that stay as they are, and the tubes with them; behind them the tokens "
        "come in again through a gate that starts closed. 0 for none.",
    )

    @model_validator(mode="after")
    def _pictures_have_classes(self) -> Self:
        if (self.pictures is None) != (self.picture_classes == 0):
            raise ValueError("'pictures' and 'picture_classes' (how many classes they have) go together; give both")
        return self

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A transformer behind tubes, with a last layer for volumes and one for pictures."""
        from dimlift.backbones.open_network import open_network
        from dimlift.methods.tubevit.method import TubeViT
        from dimlift.models.tube_transformer import TubeTransformer
        from dimlift.models.voxel_transformer import position_table

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} gives one answer for a volume; use task: classification or regression")
        network, _ = open_network(self.network, **self._start(fresh))
        tokens = self._tokens(int(position_table(network)[0].shape[-1]), task.in_channels, fresh)
        patch: Any = getattr(network.patch_embed, "proj", None)
        if self.inherit and patch is not None and self.tubes_from is None:
            tokens.inherit(patch.weight, patch.bias)
        model = TubeTransformer(
            tokens,
            network,
            task.classes,
            pool=self.pool,
            picture_classes=self.picture_classes,
            gate_after=self.gate_after,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        return volume_method(model, task, kind=TubeViT, picture_weight=self.picture_weight, **self._learning())

    def beside(self, draw: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """Pictures beside the volumes of each step, where there are any.

        Raises:
            ConfigError: if they have another number of classes than was said.
        """
        if self.pictures is None:
            return draw
        from dimlift.batch import PairedBatch
        from dimlift.data.io.images import PictureSampler, find_pictures

        found = find_pictures(self.pictures)
        if len(found.classes) != self.picture_classes:
            raise ConfigError(
                f"picture_classes is {self.picture_classes}, but {self.pictures} has {len(found.classes)} folders of "
                "pictures; put each class in a folder, and say how many there are"
            )
        sampler = PictureSampler(found, self.picture_size, seed=seed)
        return lambda step: PairedBatch(draw(step), sampler.batch(step, self.pictures_per_step))  # type: ignore[arg-type]

    def _tokens(self, width: int, channels: int, fresh: bool) -> "TubeTokens":
        from dimlift.tokenizers.tubes import TUBES, Tube, TubeTokens, widened

        if isinstance(self.tubes, str):
            shapes = TUBES[self.tubes]
        else:
            shapes = tuple(Tube(t.kernel, t.stride, t.offset, t.split) for t in self.tubes)
        if self.wider > 1:
            shapes = tuple(widened(tube, self.wider) for tube in shapes)
        tokens = TubeTokens(width, shapes, channels, interpolated=self.interpolated)
        if fresh and self.tubes_from is not None:
            take_kernels(tokens, Path(self.tubes_from))
        return tokens


def take_kernels(tokens: "TubeTokens", folder: Path) -> None:
    """Fill tubes with the kernels of a `tubevit` trained before.

    Raises:
        DataError: if the folder holds no weights.
        WeightsError: if its tubes are others.
    """
    from dimlift.records.weights import read_weights

    prefix = "model.tokenizer."
    found = {name.removeprefix(prefix): v for name, v in read_weights(folder)[0].items() if name.startswith(prefix)}
    here, there = ({name: tuple(value.shape) for name, value in s.items()} for s in (tokens.state_dict(), found))
    if here != there:
        raise WeightsError(
            f"the tubes of {folder} have kernels {there or 'of no kind'}, these have {here}; name the same `tubes`, "
            "and set `wider` to the width of this network over the width of that"
        )
    tokens.load_state_dict(found)
