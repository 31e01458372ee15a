"""TRELLIS.2's sparse VAEs: fine voxels to latents on a grid 16 times as coarse, and back to those that are predicted.

Levels of ConvNeXt blocks, and between them blocks that join eight voxels into one with their channels, or split a voxel
into those of its children that are kept. Which are kept, the decoder of shapes predicts; another is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sparse.convolution import SubmanifoldConv3d
from ..sparse.resample import channels_to_space, space_to_channels
from ..sparse.tensor import Kept, SparseTensor, VoxelSet
from .layers import LayerNorm32, MixedPrecisionNetwork, posterior_sample, zero_parameters

#: Elements of an MLP's inner layer that are computed at a time where no gradient is wanted.
_INNER_ELEMENTS = 1 << 26


def _in_slabs(layer: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """``layer`` of features [N, C], which it treats row by row and ``width`` wide inside: [N, C]."""
    rows = max(1, _INNER_ELEMENTS // width)
    if torch.is_grad_enabled() or len(x) <= rows:
        return layer(x)
    out = torch.empty_like(x)
    for some, into in zip(x.split(rows), out.split(rows), strict=True):
        into.copy_(layer(some))
    return out


class SparseConvNeXtBlock(nn.Module):
    """A 3 x 3 x 3 convolution, a layer norm and an MLP four times as wide, added to the input (Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm32(channels, eps=1e-6)
        self.conv = SubmanifoldConv3d(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, channels))
        zero_parameters(self.mlp[2])

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features [N, C] to [N, C]."""
        h = self.norm(self.conv(x).feats)
        return x.replace(x.feats + _in_slabs(self.mlp, h, 4 * h.shape[1]))


class ChannelToSpaceBlock(nn.Module):
    """Split voxels [N, channels] into children [M, out_channels], with two convolutions added to the input's own split.

    The first convolution makes the channels of all eight children. Of the input, child k has the k-th eighth of the
    channels, each repeated ``8 out_channels / channels`` times. ``to_subdiv`` predicts which children to keep.
    """

    def __init__(self, channels: int, out_channels: int, *, pred_subdiv: bool) -> None:
        super().__init__()
        if channels % 8 or 8 * out_channels % channels:
            raise ValueError(f"{channels} channels cannot be split among eight children of {out_channels}")
        self.norm1 = LayerNorm32(channels, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SubmanifoldConv3d(channels, 8 * out_channels)
        self.conv2 = SubmanifoldConv3d(out_channels, out_channels)
        self.to_subdiv = nn.Linear(channels, 8) if pred_subdiv else None
        zero_parameters(self.conv2)

    def subdivision(self, x: SparseTensor) -> Tensor:
        """Logits [N, 8]: the children with a positive one are kept. Raises ValueError if the block predicts none."""
        if self.to_subdiv is None:
            raise ValueError("this decoder does not predict which voxels are kept: it has to be told")
        return cast(Tensor, self.to_subdiv(x.feats))

    def forward(self, x: SparseTensor, kept: Kept) -> SparseTensor:
        """Features [N, channels] to [M, out_channels] on the children that are kept."""
        h = self.conv1.to_children(x.replace(F.silu(self.norm1(x.feats))), kept)
        h = self.conv2(h.replace(F.silu(self.norm2(h.feats))))
        own = channels_to_space(x.feats, kept)
        return h.replace((h.feats.unflatten(1, (own.shape[1], -1)) + own[..., None]).flatten(1))


class SpaceToChannelBlock(nn.Module):
    """Join voxels [N, channels] into cells [M, out_channels], with two convolutions added to the input, joined as well.

    The first convolution makes an eighth of the channels of a cell. Of the input, the channels of the eight voxels are
    averaged, ``8 channels / out_channels`` neighbouring ones at a time; those of missing voxels are zero.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels % 8 or 8 * channels % out_channels:
            raise ValueError(f"eight voxels of {channels} channels cannot be joined into {out_channels}")
        self.norm1 = LayerNorm32(channels, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SubmanifoldConv3d(channels, out_channels // 8)
        self.conv2 = SubmanifoldConv3d(out_channels, out_channels)
        self.out_channels = out_channels
        zero_parameters(self.conv2)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features [N, channels] to [M, out_channels] on the cells of 2 x 2 x 2."""
        h = space_to_channels(self.conv1(x.replace(F.silu(self.norm1(x.feats)))))
        h = self.conv2(h.replace(F.silu(self.norm2(h.feats))))
        own = space_to_channels(x).feats.unflatten(1, (self.out_channels, -1)).mean(-1)
        return h.replace(h.feats + own)


class SparseUnet(MixedPrecisionNetwork):
    """What the encoder and the decoder share: ``blocks``, a list for each level."""

    def half_modules(self) -> list[nn.Module]:
        """The modules whose matrices may be kept in half precision."""
        return [self.blocks]

    def _levels(
        self, channels: Sequence[int], num_blocks: Sequence[int], between: Callable[[int, int], nn.Module]
    ) -> nn.ModuleList:
        """ConvNeXt blocks at each level, and after them ``between(channels, those of the next level)``."""
        if len(channels) != len(num_blocks) or len(channels) < 2:
            raise ValueError(f"two levels or more need as many num_blocks, not {len(num_blocks)} for {len(channels)}")
        levels = [[SparseConvNeXtBlock(width) for _ in range(n)] for width, n in zip(channels, num_blocks, strict=True)]
        steps = [between(*widths) for widths in pairwise(channels)]
        return nn.ModuleList(nn.ModuleList([*level, *steps[i : i + 1]]) for i, level in enumerate(levels))


def _require_kinds(name: str, kinds: Sequence[str], known: str) -> None:
    """Raise ValueError unless all blocks are of the kind that the published networks have."""
    if any(kind != known for kind in kinds):
        raise ValueError(f"{name} must be {known!r} at every level, not {list(kinds)}")


def _require_no_arguments(block_args: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for an argument of blocks other than ``use_checkpoint``, which saves memory in training."""
    unknown = {key for one in block_args for key in one} - {"use_checkpoint"}
    if unknown:
        raise ValueError(f"block_args with {', '.join(sorted(unknown))} are not supported")


def _lists(levels: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """The blocks of each level."""
    return [list(cast(nn.ModuleList, level)) for level in levels]


class Decoded(NamedTuple):
    """What a decoder made of latents."""

    features: SparseTensor  # [M, out_channels], on the finest voxels
    masks: tuple[Tensor, ...]  # bool [N, 8] for each level but the last: the children that were kept


class SparseUnetDecoder(SparseUnet):
    """Latents [N, latent_channels] to features [M, out_channels] on a grid ``2^(levels - 1)`` times as fine.

    The published model is called SparseUnetVaeDecoder.

    Args:
        model_channels: the width of each level, the coarsest one first.
        num_blocks: the number of ConvNeXt blocks at each level.
        pred_subdiv: predict which children are kept. Else ``forward`` needs their masks.
        block_type, up_block_type, block_args: the kinds of blocks; only the published ones are known.
        use_fp16: keep all matrices but the first and the last in half precision.
    """

    def __init__(
        self,
        out_channels: int,
        model_channels: Sequence[int],
        latent_channels: int,
        num_blocks: Sequence[int],
        block_type: Sequence[str] = (),
        up_block_type: Sequence[str] = (),
        block_args: Sequence[Mapping[str, Any]] = (),
        use_fp16: bool = False,
        pred_subdiv: bool = True,
    ) -> None:
        super().__init__()
        _require_kinds("block_type", block_type, "SparseConvNeXtBlock3d")
        _require_kinds("up_block_type", up_block_type, "SparseResBlockC2S3d")
        _require_no_arguments(block_args)

        def split(channels: int, finer: int) -> nn.Module:
            return ChannelToSpaceBlock(channels, finer, pred_subdiv=pred_subdiv)

        self.from_latent = nn.Linear(latent_channels, model_channels[0])
        self.blocks = self._levels(model_channels, num_blocks, split)
        self.output_layer = nn.Linear(model_channels[-1], out_channels)
        if use_fp16:
            self.convert_to_fp16()

    def forward(self, z: SparseTensor, masks: Sequence[Tensor] | None = None) -> Decoded:
        """Latents [N, latent_channels] to features on the finest voxels, split as the ``masks`` say if there are any.

        Rows: parents in order, the children of each with x fastest. Raises ValueError for masks that do not fit, and
        for none if the network does not predict them.
        """
        if masks is not None and len(masks) != len(self.blocks) - 1:
            raise ValueError(f"{len(masks)} masks for {len(self.blocks) - 1} levels that are split")
        h, used = self._begun(z), []
        for index, level in enumerate(_lists(self.blocks[:-1])):
            h, mask = self._refined(h, level, None if masks is None else masks[index])
            h = level[-1](h, h.voxels.kept_children(mask))
            used.append(mask)
        return Decoded(self._finished(h, z.dtype), tuple(used))

    def guided(self, z: SparseTensor, masks: Sequence[Tensor]) -> tuple[SparseTensor, list[Tensor]]:
        """For training: features as ``forward`` makes them with these ``masks``, and what the network predicts instead
        of each: the logits [N, 8] of its rows."""
        h, logits = self._begun(z), []
        for (*blocks, split), mask in zip(_lists(self.blocks[:-1]), masks, strict=True):
            for block in blocks:
                h = block(h)
            logits.append(cast(ChannelToSpaceBlock, split).subdivision(h))
            h = split(h, h.voxels.kept_children(mask))
        return self._finished(h, z.dtype), logits

    def finest(self, z: SparseTensor) -> VoxelSet:
        """The voxels that ``forward`` has features on, without the last convolutions."""
        *levels, level, _ = _lists(self.blocks)
        h = self._begun(z)
        for coarser in levels:
            h, mask = self._refined(h, coarser)
            h = coarser[-1](h, h.voxels.kept_children(mask))
        h, mask = self._refined(h, level)
        return h.voxels.kept_children(mask).voxels

    @property
    def scale(self) -> int:
        """How many times finer than the latents' grid that of the features is."""
        return 2 ** (len(self.blocks) - 1)

    def _begun(self, z: SparseTensor) -> SparseTensor:
        return z.replace(self.from_latent(z.feats).to(self.dtype))

    def _finished(self, h: SparseTensor, dtype: torch.dtype) -> SparseTensor:
        for block in _lists(self.blocks)[-1]:
            h = block(h)
        feats = h.feats.to(dtype)
        return h.replace(self.output_layer(F.layer_norm(feats, feats.shape[-1:])))

    def _refined(
        self, h: SparseTensor, level: list[nn.Module], mask: Tensor | None = None
    ) -> tuple[SparseTensor, Tensor]:
        """The features after the blocks of a level that is split then, and which children are kept."""
        *blocks, split = level
        for block in blocks:
            h = block(h)
        return h, cast(ChannelToSpaceBlock, split).subdivision(h) > 0 if mask is None else mask


class SparseUnetEncoder(SparseUnet):
    """Features [N, in_channels] of fine voxels to a Gaussian over latents [M, latent_channels] of coarse ones.

    The published model is called SparseUnetVaeEncoder. Its arguments are those of ``SparseUnetDecoder``, the finest
    level first.
    """

    def __init__(
        self,
        in_channels: int,
        model_channels: Sequence[int],
        latent_channels: int,
        num_blocks: Sequence[int],
        block_type: Sequence[str] = (),
        down_block_type: Sequence[str] = (),
        block_args: Sequence[Mapping[str, Any]] = (),
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        _require_kinds("block_type", block_type, "SparseConvNeXtBlock3d")
        _require_kinds("down_block_type", down_block_type, "SparseResBlockS2C3d")
        _require_no_arguments(block_args)
        self.input_layer = nn.Linear(in_channels, model_channels[0])
        self.blocks = self._levels(model_channels, num_blocks, SpaceToChannelBlock)
        self.to_latent = nn.Linear(model_channels[-1], 2 * latent_channels)
        if use_fp16:
            self.convert_to_fp16()

    def forward(
        self, x: SparseTensor, sample_posterior: bool = False, return_raw: bool = False
    ) -> SparseTensor | tuple[SparseTensor, SparseTensor, SparseTensor]:
        """Features [N, in_channels] to latents: the posterior's mean or a sample of it.

        With ``return_raw`` also the mean and the log-variance. All are [M, latent_channels] on the coarse cells, sorted
        by (batch, x, y, z).
        """
        h = x.replace(self.input_layer(x.feats).to(self.dtype))
        for level in _lists(self.blocks):
            for block in level:
                h = block(h)
        feats = h.feats.to(x.dtype)
        mean, logvar = self.to_latent(F.layer_norm(feats, feats.shape[-1:])).chunk(2, dim=-1)
        z = posterior_sample(mean, logvar, torch.randn_like(mean)) if sample_posterior else mean
        return (h.replace(z), h.replace(mean), h.replace(logvar)) if return_raw else h.replace(z)
