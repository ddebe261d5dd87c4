"""Naming schemes: Hugging Face's names of a network's tensors, and the original names of its authors.

One table serves both directions. A file in Hugging Face's naming is renamed to the original one, which timm reads with
its own filters (they also read the originals of DINOv2, DINOv3, CLIP, SigLIP, Swin and ConvNeXt). The keys of a live
transformers network are looked up in a file in original naming. Queries, keys and values are one tensor in the original
naming and three in Hugging Face's.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


class Naming(NamedTuple):
    """A naming scheme.

    Attributes:
        title: whose names, of which networks.
        pattern: of a key that only this scheme has.
        rules: pattern and replacement, from these names to the original ones, in order.
        zero_bias: pattern of weights for which the original stores a bias of zeros, and Hugging Face none.
    """

    title: str
    pattern: str
    rules: tuple[Rule, ...]
    zero_bias: str | None = None


def _initial(match: re.Match[str]) -> str:
    return f"attn.{match[1][0]}."


ATTENTION: tuple[Rule, ...] = (
    (r"\battention\.(?:self|attention)\.(query|key|value)\.", _initial),
    (r"\b(?:attention|self_attn)\.([qkv])_proj\.", r"attn.\1."),
    (
        r"\b(?:attention\.)?(?:self\.|attention\.)?(?:relative_position_bias\.)?(relative_position_bias_table)",
        r"attn.\1",
    ),
    (r"\battention\.self\.logit_scale", "attn.logit_scale"),
    (r"\battention\.self\.continuous_position_bias_mlp", "attn.cpb_mlp"),
    (r"\b(?:attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.", "attn.proj."),
    (r"\bintermediate\.dense\.", "mlp.fc1."),
    (r"\boutput\.dense\.", "mlp.fc2."),
    (r"\b(?:layernorm_before|layer_norm1)\.", "norm1."),
    (r"\b(?:layernorm_after|layer_norm2)\.", "norm2."),
    (r"\blayer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"\blambda_(\d)", r"gamma_\1"),
)
HEADS: tuple[Rule, ...] = (
    (r"^(?:classifier|cls_classifier)\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
    (r"^pooler\.layernorm\.", "fc_norm."),
    (r"^(?:layernorm|layer_norm)\.", "norm."),
)
DINOV3: tuple[Rule, ...] = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.register_tokens$", "storage_tokens"),
    (r"^embeddings\.", ""),
    (r"^(?:model\.)?layer\.", "blocks."),
    *ATTENTION,
)
KEY_WEIGHT = r"\.attn\.k\.weight$"

NAMINGS = (
    Naming(
        "Hugging Face, ViT, DeiT, BEiT, MAE, DINO, DINOv2",
        r"(?:^|\.)encoder\.layer\.\d+\.(?:layernorm_before|norm1)\.|(?:^|\.)layers\.\d+\.layernorm_before\.",
        (
            (r"^(?:vit|deit|beit|dinov2|dinov2_with_registers|vit_mae)\.", ""),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.distillation_token$", "dist_token"),
            (r"^embeddings\.", ""),
            (r"^(?:encoder\.)?layers?\.", "blocks."),
            (r"\bmlp\.weights_in\.", "mlp.w12."),
            (r"\bmlp\.weights_out\.", "mlp.w3."),
            *ATTENTION,
            *HEADS,
        ),
    ),
    Naming(
        "Hugging Face, DINOv3 ViT with gated MLPs",
        r"^(?:model\.)?layer\.\d+\.mlp\.gate_proj\.",
        (
            (r"\bmlp\.gate_proj\.", "mlp.w1."),
            (r"\bmlp\.up_proj\.", "mlp.w2."),
            (r"\bmlp\.down_proj\.", "mlp.w3."),
            *DINOV3,
        ),
        zero_bias=KEY_WEIGHT,
    ),
    Naming(
        "Hugging Face, DINOv3 ViT",
        r"^(?:model\.)?layer\.\d+\.mlp\.up_proj\.",
        (
            (r"\bmlp\.up_proj\.", "mlp.fc1."),
            (r"\bmlp\.down_proj\.", "mlp.fc2."),
            *DINOV3,
        ),
        zero_bias=KEY_WEIGHT,
    ),
    Naming(
        "Hugging Face, image tower of CLIP and SigLIP",
        r"embeddings\.patch_embedding\.",
        (
            (r"^vision_model\.", ""),
            (r"^embeddings\.class_embedding$", "cls_token"),
            (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
            (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
            (r"^pre_layrnorm\.", "norm_pre."),
            (r"^post_layernorm\.", "norm."),
            (r"^encoder\.layers\.", "blocks."),
            (r"^head\.probe$", "attn_pool.latent"),
            (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
            (r"^head\.attention\.", "attn_pool."),
            (r"^head\.layernorm\.", "attn_pool.norm."),
            (r"^head\.mlp\.", "attn_pool.mlp."),
            (r"^visual_projection\.", "head."),
            *ATTENTION,
        ),
        zero_bias=r"^head\.weight$",
    ),
    Naming(
        "Hugging Face, Swin, SwinV2",
        r"encoder\.layers\.\d+\.blocks\.\d+\.layernorm_before\.",
        (
            (r"^(?:swin|swinv2)\.", ""),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^embeddings\.norm\.", "patch_embed.norm."),
            (r"^encoder\.", ""),
            *ATTENTION,
            *HEADS,
        ),
    ),
    Naming(
        "Hugging Face, ConvNeXt, ConvNeXtV2, DINOv3 ConvNeXt",
        r"stages\.\d+\.layers\.\d+\.(?:dwconv|depthwise_conv)\.",
        (
            (r"^(?:convnext|convnextv2|model)\.", ""),
            (r"^embeddings\.patch_embeddings\.", "downsample_layers.0.0."),
            (r"^embeddings\.layernorm\.", "downsample_layers.0.1."),
            (r"^(?:encoder\.)?stages\.(\d+)\.downsampl(?:ing_layer|e_layers)\.", r"downsample_layers.\1."),
            (r"^(?:encoder\.)?stages\.(\d+)\.layers\.", r"stages.\1."),
            (r"\bdepthwise_conv\.", "dwconv."),
            (r"\bpointwise_conv(\d)\.", r"pwconv\1."),
            (r"(?<=\.)layer_?norm\.", "norm."),
            (r"\blayer_scale_parameter$", "gamma"),
            (r"\bgrn\.weight$", "grn.gamma"),
            (r"\bgrn\.bias$", "grn.beta"),
            *HEADS,
        ),
    ),
    Naming(
        "DINOv2 and DINOv3 in training, blocks in chunks",
        r"^blocks\.\d+\.\d+\.ls1\.gamma$",
        ((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),),
    ),
    Naming(
        "Hugging Face, ResNet",
        r"embedder\.embedder\.convolution\.",
        (
            (r"^resnet\.", ""),
            (r"^embedder\.embedder\.convolution\.", "conv1."),
            (r"^embedder\.embedder\.normalization\.", "bn1."),
            (r"^encoder\.stages\.(\d+)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
            (r"\blayer\.(\d)\.convolution\.", lambda m: f"conv{int(m[1]) + 1}."),
            (r"\blayer\.(\d)\.normalization\.", lambda m: f"bn{int(m[1]) + 1}."),
            (r"\bshortcut\.convolution\.", "downsample.0."),
            (r"\bshortcut\.normalization\.", "downsample.1."),
            (r"^classifier\.1\.", "fc."),
        ),
    ),
)


def detect_naming(keys: Iterable[str]) -> Naming | None:
    """Return the naming scheme of these keys; None if it is not in the table."""
    names = list(keys)
    return next((naming for naming in NAMINGS if any(re.search(naming.pattern, key) for key in names)), None)


def to_original_key(key: str, naming: Naming) -> str:
    """Return the original name of a tensor, with queries, keys and values apart."""
    for pattern, replacement in naming.rules:
        key = re.sub(pattern, replacement, key)
    return key


def fuse_qkv(tensors: dict[str, Tensor], naming: Naming) -> dict[str, Tensor]:
    """Concatenate queries, keys and values; biases of queries and values alone become q_bias and v_bias."""
    fused = dict(tensors)
    for key, tensor in tensors.items():
        bias = key.removesuffix("weight") + "bias"
        if naming.zero_bias is not None and re.search(naming.zero_bias, key) and bias not in tensors:
            fused[bias] = tensor.new_zeros(len(tensor))
    for key in tensors:
        match = re.fullmatch(r"(.*\.attn\.)q\.(weight|bias)", key)
        if match is None:
            continue
        before, kind = match.groups()
        parts = {name: fused.pop(f"{before}{name}.{kind}", None) for name in "qkv"}
        present = [part for part in parts.values() if part is not None]
        if len(present) == 3:
            fused[f"{before}qkv.{kind}"] = torch.cat(present)
        else:
            fused |= {f"{before}{name}_{kind}": part for name, part in parts.items() if part is not None}
    for kind in ("weight", "bias"):  # SigLIP's attention pool: one query, apart from keys and values
        pool = fused.pop(f"attn_pool.in_proj_{kind}", None)
        if pool is not None:
            fused[f"attn_pool.q.{kind}"], fused[f"attn_pool.kv.{kind}"] = pool.split(
                [len(pool) // 3, len(pool) // 3 * 2]
            )
    return fused


def split_qkv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split tensors of queries, keys and values into three."""
    parts: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if match := re.fullmatch(r"(.*\.attn\.)qkv\.(weight|bias)", key):
            chunks = zip("qkv", tensor.chunk(3), strict=True)
            parts |= {f"{match[1]}{name}.{match[2]}": chunk for name, chunk in chunks}
        elif match := re.fullmatch(r"(.*\.attn\.)([qv])_bias", key):
            parts[f"{match[1]}{match[2]}.bias"] = tensor
        else:
            parts[key] = tensor
    return parts
