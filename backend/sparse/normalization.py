"""Normalisation of sparse features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .tensor import SparseTensor


class SparseGroupNorm32(nn.GroupNorm):
    """Group norm whose statistics are those of one batch item over all its voxels; computed in fp32, then cast back.

    Wu and He 2018, with the voxels of an item in place of an image's pixels.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        voxels, feats = x.voxels, x.feats.float()
        per_item = voxels.counts[:, None].clamp(min=1) * (self.num_channels // self.num_groups)
        centred = feats - voxels.spread(self._over_group(voxels.total(feats)) / per_item)
        variance = self._over_group(voxels.total(centred.square())) / per_item
        gain = voxels.spread(torch.rsqrt(variance + self.eps) * self.weight)
        return x.replace(torch.addcmul(self.bias, centred, gain).to(x.dtype))

    def _over_group(self, sums: Tensor) -> Tensor:
        """Sums `[B, C]` over each channel to sums over its group, in place of every channel."""
        grouped = sums.unflatten(1, (self.num_groups, -1))
        return grouped.sum(-1, keepdim=True).expand_as(grouped).flatten(1)
