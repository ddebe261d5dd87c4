"""Configuration of TubeViT: a 2D vision transformer on sparse tubes of volumes or videos, optionally with images."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PositiveFloat, Section
from dimlift.errors import ConfigError, WeightsError
from dimlift.methods.supervised.volumes import supervised_method
from dimlift.methods.token_networks.config import TokenNetworkConfig

if TYPE_CHECKING:
    from dimlift.batch import Batch
    from dimlift.methods.method import Method
    from dimlift.tokenizers.tubes import TubeTokenizer

TUBEVIT_PAPER: dict[str, Any] = {
    "network": "timm:vit_base_patch16_224.augreg_in21k",
    "tubes": "four_split",
    "pool": "attention",
    "lr": 5e-5,
}
"""Published network and settings; those of the training loop are in examples/tubevit.yaml."""


class TubeSection(Section):
    """One shape of tube, (z, y, x) in voxels."""

    kernel: tuple[int, int, int] = Field(description="Size of a tube.")
    stride: tuple[int, int, int] = Field(description="Distance from one tube to the next.")
    offset: tuple[int, int, int] = Field(default=(0, 0, 0), description="Voxels before the first tube.")
    split: tuple[int, int, int] = Field(
        default=(1, 1, 1), description="Space to depth: neighbours along each axis that form one token."
    )


class TubeViTConfig(TokenNetworkConfig):
    """TubeViT: a 2D vision transformer on sparse tubes, one output per volume or video."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": TUBEVIT_PAPER}

    method: Literal["tubevit"] = Field(
        default="tubevit", description="2D vision transformer on sparse tubes of volumes or videos."
    )
    tubes: Literal["four", "four_split", "core"] | tuple[TubeSection, ...] = Field(
        default="four",
        description="The paper's four tubes (with space to depth: `four_split`), its first two (`core`), or a list of "
        "{kernel, stride, offset, split}.",
    )
    interpolated: bool = Field(default=False, description="Resize one kernel of 8 x 8 x 8 to all tubes.")
    init_from_2d: bool = Field(
        default=True,
        description="Initialise tubes from the network's patch embedding; tubes with `split` stay random.",
    )
    pool: Literal["network", "attention"] = Field(
        default="network", description="Pooling of the tokens: as in the 2D network, or learnt attention pooling."
    )
    image_dir: str | None = Field(
        default=None, description="Folder of images, one folder per class, that are trained on in the same steps."
    )
    num_image_classes: int = Field(default=0, ge=0, description="Number of classes of these images; 0 for none.")
    image_crop_size: int = Field(default=224, ge=8, description="Height and width of image crops, in pixels.")
    image_batch_size: int = Field(default=8, ge=1, description="Images of a step, in addition to the volumes.")
    image_loss_weight: PositiveFloat = Field(default=1.0, description="Weight of the images' loss.")
    tube_init: str | None = Field(
        default=None,
        description="Weights folder of a `tubevit` from which the tubes' kernels are loaded; set `width_multiplier` "
        "if its network is narrower.",
    )
    width_multiplier: Literal[1, 2, 4, 8] = Field(
        default=1,
        description="Ratio of the width of tokens and kernels, by space to depth: the width of this network over that "
        "of the one in `tube_init`.",
    )
    gate_from_block: int = Field(
        default=0,
        ge=0,
        description="Number of first blocks that are frozen, together with the tubes; behind them the tokens are added "
        "again through a gate initialised to zero. 0 for no gate.",
    )

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        if (self.image_dir is None) != (self.num_image_classes == 0):
            raise ValueError("'image_dir' and 'num_image_classes' belong together; set both or neither")
        return self

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the transformer with a head for volumes and one for images.

        Raises:
            ConfigError: for a segmentation.
        """
        from dimlift.methods.tubevit.method import TubeViT
        from dimlift.models.tube_transformer import TubeTransformer

        network, width = self._open_transformer(task, load_pretrained)
        tokenizer = self._tokenizer(width, task.in_channels, load_pretrained)
        if self.tube_init is None:
            self._init_tokenizer(tokenizer, network)
        model = TubeTransformer(
            tokenizer,
            network,
            task.num_classes,
            pool=self.pool,
            num_image_classes=self.num_image_classes,
            gate_from_block=self.gate_from_block,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        options = {"image_loss_weight": self.image_loss_weight, **self._training_options()}
        return supervised_method(model, task, TubeViT, **options)

    def wrap_batches(self, batch_at: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """Add images to the volumes of each step, if `image_dir` is set.

        Raises:
            ConfigError: if they have another number of classes than `num_image_classes`.
        """
        if self.image_dir is None:
            return batch_at
        from dimlift.batch import PairedBatch
        from dimlift.data.io.images import ImageSampler, find_images

        images = find_images(self.image_dir)
        if len(images.classes) != self.num_image_classes:
            raise ConfigError(
                f"num_image_classes is {self.num_image_classes}, but {self.image_dir} has {len(images.classes)} "
                "folders of images; sort the images into one folder per class, and set their number"
            )
        sampler = ImageSampler(images, self.image_crop_size, seed=seed)
        return lambda step: PairedBatch(batch_at(step), sampler.batch(step, self.image_batch_size))  # type: ignore[arg-type]

    def _tokenizer(self, width: int, channels: int, load_pretrained: bool) -> "TubeTokenizer":
        from dimlift.tokenizers.tubes import TUBES, Tube, TubeTokenizer, widen_tube

        if isinstance(self.tubes, str):
            tubes = TUBES[self.tubes]
        else:
            tubes = tuple(Tube(t.kernel, t.stride, t.offset, t.split) for t in self.tubes)
        if self.width_multiplier > 1:
            tubes = tuple(widen_tube(tube, self.width_multiplier) for tube in tubes)
        tokenizer = TubeTokenizer(width, tubes, channels, interpolated=self.interpolated)
        if load_pretrained and self.tube_init is not None:
            load_tube_kernels(tokenizer, Path(self.tube_init))
        return tokenizer


def load_tube_kernels(tokenizer: "TubeTokenizer", folder: Path) -> None:
    """Load the kernels of tubes from the weights folder of a `tubevit`.

    Raises:
        DataError: if the folder holds no weights.
        WeightsError: if its tubes differ.
    """
    from dimlift.records.weights import read_weights

    prefix = "model.tokenizer."
    weights = read_weights(folder)[0]
    loaded = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    expected, found = (
        {name: tuple(value.shape) for name, value in state.items()} for state in (tokenizer.state_dict(), loaded)
    )
    if expected != found:
        raise WeightsError(
            f"the tubes of {folder} have kernels {found or 'of no shape'}, these have {expected}; use the same "
            "`tubes`, and set `width_multiplier` to the width of this network over the width of that"
        )
    tokenizer.load_state_dict(loaded)
