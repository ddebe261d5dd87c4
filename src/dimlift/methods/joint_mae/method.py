"""Joint-MAE: a point cloud and its depth image are masked together and reconstructed from both.

Guo et al., 2023, https://arxiv.org/abs/2302.14007

    L = CD-L2 of masked patches + MSE of masked pixels + w * cross,
    cross = mean over predicted points of (depth of the point - grey value of the image where it projects)^2

The authors' code is not public. What the paper leaves open is an argument here: the radius of the local-aligned
attention, the depths of the decoders, the weight and the exact form of the cross-reconstruction. The image embedding
has no kernel across patches, so that no masked pixel is read.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches
from dimlift.geometry.sampling import gather_points
from dimlift.methods.joint_mae.images import (
    PATCH,
    DepthImage,
    cross_reconstruction_loss,
    image_patch_embedding,
    local_attention_mask,
    render_depth_images,
)
from dimlift.methods.point_pretraining.masked_autoencoder import MaskedPointAutoencoder
from dimlift.methods.point_pretraining.masking import sample_visible_uniformly
from dimlift.models.transformer_blocks import TransformerBlocks, VisibleTokens, select_visible
from dimlift.models.transformer_init import STD, init_transformer_weights
from dimlift.tokenizers.points import position_mlp

TokenPair = tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch patches width"]]
"""Tokens of the coarsest point patches, and of the image patches."""


class JointMAE(MaskedPointAutoencoder):
    """Masked autoencoder of point clouds and their depth images.

    Args:
        model: network whose `encoder` is pretrained; the encoder's last level is the joint encoder.
        mask_ratio: fraction of the coarsest point patches, and of the image patches, that is masked.
        attention_radius: largest distance in the image, in its half widths, at which a point token and an image token
            attend to each other.
        shared_decoder_depth: blocks of the decoder of both modalities.
        specific_decoder_depth: blocks of the decoder of each modality.
        cross_weight: weight of the cross-reconstruction.
        render_size: height and width of the image, a multiple of 16.

    Raises:
        ShapeError: if the image is not a whole number of patches.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mask_ratio: float = 0.75,
        attention_radius: float = 0.3,
        shared_decoder_depth: int = 2,
        specific_decoder_depth: int = 1,
        cross_weight: float = 1.0,
        render_size: int = 224,
    ) -> None:
        super().__init__(model, mask_ratio)
        if render_size % PATCH:
            raise ShapeError(f"render_size {render_size} is not a multiple of the patch size {PATCH}; change it")
        encoder = self.point_encoder
        width = encoder.width
        self.attention_radius, self.cross_weight, self.render_size = attention_radius, cross_weight, render_size
        self.image_embedding = image_patch_embedding(width)
        self.image_position = nn.Parameter(torch.empty(1, (render_size // PATCH) ** 2, width))
        self.modality = nn.Parameter(torch.empty(2, width))
        self.mask_tokens = nn.Parameter(torch.empty(2, width))
        for parameter in (self.image_position, self.modality, self.mask_tokens):
            nn.init.trunc_normal_(parameter, std=STD)
        self.point_position = position_mlp(width)
        self.shared_decoder = TransformerBlocks(width, shared_decoder_depth, encoder.heads)
        self.point_decoder = TransformerBlocks(width, specific_decoder_depth, encoder.heads)
        self.image_decoder = TransformerBlocks(width, specific_decoder_depth, encoder.heads)
        self.point_head = nn.Linear(width, 3 * encoder.group_sizes[-1])
        self.pixel_head = nn.Linear(width, PATCH**2)
        init_transformer_weights(*(part for name, part in self.named_children() if name != "model"))

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the sum of all three losses."""
        points = batch.points
        levels = self.point_encoder.cut(points)
        rendered = render_depth_images(points, self.render_size)
        visible_points = sample_visible_uniformly(levels[-1].centres, self.mask_ratio)
        visible_pixels = sample_visible_uniformly(rendered.patches, self.mask_ratio)
        tokens = self.encode(points, levels, rendered, visible_points, visible_pixels)
        point_tokens, image_tokens = self.decode(*tokens, levels[-1].centres)
        masked = ~visible_points
        predicted = self.predict_points(point_tokens[masked])
        point_loss = self.point_loss(predicted, points, levels, len(levels) - 1, masked)
        masked_pixels = rendered.patches[~visible_pixels]
        pixel_loss = F.mse_loss(self.pixel_head(image_tokens[~visible_pixels]).float(), masked_pixels)
        absolute = predicted + levels[-1].centres[masked][:, None]
        cross_loss = cross_reconstruction_loss(absolute.unflatten(0, (len(points), -1)).flatten(1, 2), points, rendered)
        return point_loss + pixel_loss + self.cross_weight * cross_loss

    def encode(
        self,
        points: Tensor,
        levels: list[Patches],
        rendered: DepthImage,
        visible_points: Bool[Tensor, "batch tokens"],
        visible_pixels: Bool[Tensor, "batch patches"],
    ) -> TokenPair:
        """Return the tokens of both modalities; masked tokens are replaced by the mask token."""
        encoder = self.point_encoder
        shown: VisibleTokens = encoder.encode_finer(points, levels, visible_points)[1]
        shown_pixels = select_visible(visible_pixels)
        pixels = gather_points(rendered.patches, shown_pixels.indices).unflatten(-1, (1, PATCH, PATCH))
        embedded = self.image_embedding(pixels.flatten(0, 1)).flatten(1).unflatten(0, pixels.shape[:2])
        values = torch.cat([shown.values + self.modality[0], embedded + self.modality[1]], dim=1)
        pixel_positions = self.image_position.expand(len(points), -1, -1).gather(
            1, shown_pixels.indices[..., None].expand(-1, -1, values.shape[-1])
        )
        positions = torch.cat([encoder.positions[-1](shown.centres), pixel_positions], dim=1)
        mask = local_attention_mask(
            shown.centres, shown_pixels.indices, rendered.rotation, self.render_size, self.attention_radius
        )
        values = encoder.stages[-1](values, positions, attn_mask=mask.repeat_interleave(encoder.heads, dim=0))
        count = shown.values.shape[1]
        point_tokens = shown.scatter(values[:, :count], visible_points.shape[1])
        image_tokens = shown_pixels.scatter(values[:, count:], visible_pixels.shape[1])
        return (
            torch.where(visible_points[..., None], point_tokens, self.mask_tokens[0]),
            torch.where(visible_pixels[..., None], image_tokens, self.mask_tokens[1]),
        )

    def decode(
        self,
        point_tokens: Float[Tensor, "batch tokens width"],
        image_tokens: Float[Tensor, "batch patches width"],
        centres: Float[Tensor, "batch tokens 3"],
    ) -> TokenPair:
        """Return the tokens of both modalities after the shared and the specific decoder."""
        point_positions = self.point_position(centres)
        image_positions = self.image_position.expand(len(image_tokens), -1, -1)
        values = self.shared_decoder(
            torch.cat([point_tokens, image_tokens], 1), torch.cat([point_positions, image_positions], 1)
        )
        count = point_tokens.shape[1]
        return (
            self.point_decoder(values[:, :count], point_positions),
            self.image_decoder(values[:, count:], image_positions),
        )
