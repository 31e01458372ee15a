"""Families of single operations and blocks: dense, sparse, attention, and the blocks of the networks."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from ..models.gaussians import hammersley, offset_perturbation
from ..models.latent_flow import SparseResBlock3d
from ..models.latent_vae import SparseSubdivideBlock
from ..models.layers import (
    AbsolutePositionEmbedder,
    ChannelLayerNorm32,
    GroupNorm32,
    LayerNorm32,
    ModulatedTransformerCrossBlock,
    MultiHeadRMSNorm,
    pixel_shuffle_3d,
    pixel_unshuffle_3d,
    timestep_embedding,
)
from ..models.sparse_layers import (
    ModulatedSparseTransformerCrossBlock,
    SparseCrossAttention,
    SparseSelfAttention,
    SparseTransformerBlock,
)
from ..sparse.convolution import SparseConv3d
from ..sparse.groups import Groups
from ..sparse.normalization import SparseGroupNorm32
from ..sparse.resample import downsample, subdivide, upsample
from .case import GoldenCase, Network, filled
from .compare import Comparison, compare_outputs


def numbers_in(pattern: str, case: GoldenCase) -> list[tuple[int, ...]]:
    """The numbers in the names of the outputs that match a whole pattern."""
    matches = (re.fullmatch(pattern, name) for name in case.outputs)
    return [tuple(int(number) for number in match.groups()) for match in matches if match]


# --- dense -----------------------------------------------------------------------------------------------------------


def dense_ops(case: GoldenCase) -> list[Comparison]:
    """Embeddings, norms, pixel shuffles and the Gaussians' offsets."""
    x, params = case.inputs, case.config["params"]
    patch_size, (heads, head_dim) = params["patch_size"], params["rms_heads_dim"]
    gaussians = params["num_gaussians"]
    patches = pixel_unshuffle_3d(x["patchify_x"], patch_size)
    rms_norm = filled(MultiHeadRMSNorm(head_dim, heads), {"gamma": x["rms_gamma"]})
    channels = x["norm_x"].shape[1]
    last_axis = LayerNorm32(x["norm_x"].shape[-1], elementwise_affine=False, eps=1e-6)
    actual = {
        "pixel_shuffle_3d": pixel_shuffle_3d(x["pixel_shuffle_x"], params["pixel_shuffle_factor"]),
        "patchify": patches,
        "unpatchify_of_patchify": pixel_shuffle_3d(patches, patch_size),
        "multihead_rms_norm": rms_norm(x["rms_x"]),
        "channel_layer_norm": _affine(ChannelLayerNorm32(channels), case)(x["norm_x"]),
        "layer_norm_noaffine_eps1e-6": last_axis(x["norm_x"]),
        "hammersley3": hammersley(gaussians),
        "offset_perturbation": offset_perturbation(gaussians, params["voxel_size"]),
    }
    for (dim,) in numbers_in(r"timestep_embedding_(\d+)", case):
        actual[f"timestep_embedding_{dim}"] = timestep_embedding(x["t"], dim)
    for (dim,) in numbers_in(r"abs_pos_embed_(\d+)", case):
        actual[f"abs_pos_embed_{dim}"] = AbsolutePositionEmbedder(dim)(x["coords"])
    for (groups,) in numbers_in(r"group_norm_(\d+)", case):
        actual[f"group_norm_{groups}"] = _affine(GroupNorm32(groups, channels), case)(x["norm_x"])
    return compare_outputs(case.outputs, actual)


def _affine(norm: nn.Module, case: GoldenCase) -> nn.Module:
    return filled(norm, {name: case.inputs[f"norm_{name}"] for name in ("weight", "bias")})


# --- sparse ----------------------------------------------------------------------------------------------------------


def sparse_ops(case: GoldenCase) -> list[Comparison]:
    """Resampling, convolutions, group norm, values for batch items and the choice of an item."""
    x, params = case.voxels, case.config["params"]
    channels, out_channels = params["in_channels"], params["out_channels"]
    group_norm = filled(SparseGroupNorm32(params["groups"], channels), case.part("gn."))
    per_item = case.inputs["per_batch"]
    children = subdivide(x)
    actual = {
        "subdivide_coords": children.coords,
        "subdivide_feats": children.feats,
        "group_norm_feats": group_norm(x).feats,
        "mul_per_batch_feats": (x * (1 + per_item) + per_item).feats,
    }
    for (factor,) in numbers_in(r"down(\d+)_feats", case):
        coarse = downsample(x, factor)
        fine = upsample(coarse, x.voxels, factor)
        actual |= {
            f"down{factor}_coords": coarse.coords,
            f"down{factor}_feats": coarse.feats,
            f"down{factor}_parent_index": x.voxels.coarse(factor).parent,
            f"down{factor}_up{factor}_coords": fine.coords,
            f"down{factor}_up{factor}_feats": fine.feats,
        }
    for (size,) in numbers_in(r"conv(\d+)_feats", case):
        convolution = filled(SparseConv3d(channels, out_channels, size), case.part(f"conv{size}."))
        actual[f"conv{size}_feats"] = convolution(x).feats
    for (index,) in numbers_in(r"item(\d+)_feats", case):
        actual |= {f"item{index}_coords": x[index].coords, f"item{index}_feats": x[index].feats}
    return compare_outputs(case.outputs, actual)


# --- attention -------------------------------------------------------------------------------------------------------


def sparse_attention(case: GoldenCase) -> list[Comparison]:
    """Self-attention over items and windows, with the windows' partition, and cross-attention."""
    x, params = case.voxels, case.config["params"]
    channels, heads = params["channels"], params["heads"]
    cross = filled(SparseCrossAttention(channels, params["ctx_channels"], heads), case.part("cross."))
    actual = {"cross": cross(x, case.inputs["context"]).feats}

    def attended(name: str, **options: Any) -> Tensor:
        weights = case.part(f"{name}.")
        options |= {"qk_rms_norm": "q_rms_norm.gamma" in weights, "qkv_bias": "to_qkv.bias" in weights}
        return filled(SparseSelfAttention(channels, heads, **options), weights)(x).feats

    for name in case.outputs:
        if re.fullmatch(r"full(_\w+)?", name):
            actual[name] = attended(name)
    for size, shift in numbers_in(r"win(\d+)_shift(\d+)", case):
        name = f"win{size}_shift{shift}"
        actual[name] = attended(name, window_size=size, shift=shift)
        actual |= _labelled(name, x.voxels.windows(size, shift), x.voxels.batch, case.outputs[f"{name}_group"])
    return compare_outputs(case.outputs, actual)


def _labelled(name: str, groups: Groups, item: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Our groups of voxels, their sizes and batch items, renumbered like the reference's groups.

    Only the partition matters, not the numbers. A voxel gets -1 if its group is not exactly one of the reference's.
    """
    ours, batch = groups.group.cpu(), item[groups.order[groups.starts[:-1]]].cpu()
    pairs = torch.unique(torch.stack([ours, labels], dim=1), dim=0)
    number = torch.full((int(ours.max()) + 1,), -1)
    number[pairs[:, 0]] = pairs[:, 1]
    several = torch.cat([pairs[pairs[:, i].bincount()[pairs[:, i]] > 1] for i in (0, 1)])
    number[several[:, 0]] = -1
    order = torch.argsort(number)  # our groups in the reference's order
    return {
        f"{name}_group": number[ours],
        f"{name}_group_sizes": ours.bincount()[order],
        f"{name}_group_batch": batch[order].long(),
    }


# --- blocks ----------------------------------------------------------------------------------------------------------


def blocks(case: GoldenCase) -> list[Comparison]:
    """The blocks of the networks: dense and sparse transformer blocks, residual blocks, subdivision."""
    x, embedding, context = case.voxels, case.inputs["emb"], case.inputs["context"]
    actual = {
        "dense_mod_cross": _cross_block(case, "dense_mod_cross", ModulatedTransformerCrossBlock)(
            case.inputs["dense_x"], embedding, context
        )
    }
    coarse = _res_block(case, "res_widen_down", halve=True)(x, embedding)
    sparse = {
        "sparse_mod_cross": _cross_block(case, "sparse_mod_cross", ModulatedSparseTransformerCrossBlock)(
            x, embedding, context
        ),
        "res_same": _res_block(case, "res_same")(x, embedding),
        "res_widen_down": coarse,
        "res_up": _res_block(case, "res_up")(coarse, embedding, x.voxels),
    }
    for (index,) in numbers_in(r"sparse_swin(\d+)", case):
        sparse[f"sparse_swin{index}"] = _window_block(case, index)(x)
    for name in case.outputs:
        if re.fullmatch(r"subdivide_(?!.*_coords).+", name):
            sparse[name] = _subdivide_block(case, name)(x.replace(case.inputs["subdivide_feats"]))
    for name, out in sparse.items():
        actual |= {name: out.feats, f"{name}_coords": out.coords}
    return compare_outputs(case.outputs, actual)


def _cross_block(case: GoldenCase, name: str, kind: type[Network]) -> Network:
    params, weights = case.config["params"], case.part(f"{name}.")
    options: dict[str, Any] = {
        "mlp_ratio": params["mlp_ratio"],
        "qk_rms_norm": "self_attn.q_rms_norm.gamma" in weights,
        "share_mod": "adaLN_modulation.1.weight" not in weights,
    }
    if "cross_attn.q_rms_norm.gamma" in weights:  # only in dense blocks
        options["qk_rms_norm_cross"] = True
    return filled(kind(params["channels"], params["ctx_channels"], params["heads"], **options), weights)


def _window_block(case: GoldenCase, index: int) -> SparseTransformerBlock:
    """The block at position ``index`` of a torso: the windows of every second one are shifted by half."""
    params, weights = case.config["params"], case.part(f"sparse_swin{index}.")
    block = SparseTransformerBlock(
        params["channels"],
        params["heads"],
        mlp_ratio=params["mlp_ratio"],
        window_size=params["window"],
        shift=params["window"] // 2 * (index % 2),
        qk_rms_norm="attn.q_rms_norm.gamma" in weights,
    )
    return filled(block, weights)


def _res_block(case: GoldenCase, name: str, halve: bool = False) -> SparseResBlock3d:
    weights = case.part(f"{name}.")
    channels, out_channels = len(weights["norm1.weight"]), len(weights["conv1.conv.weight"])
    embedding_channels = weights["emb_layers.1.weight"].shape[1]
    return filled(SparseResBlock3d(channels, embedding_channels, out_channels, halve=halve), weights)


def _subdivide_block(case: GoldenCase, name: str) -> SparseSubdivideBlock:
    weights = case.part(f"{name}.")
    channels, out_channels = len(weights["act_layers.0.weight"]), len(weights["out_layers.0.conv.weight"])
    return filled(SparseSubdivideBlock(channels, out_channels, case.config["params"]["subdivide_groups"]), weights)
