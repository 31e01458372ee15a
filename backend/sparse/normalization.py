"""Normalisation of sparse features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import kernels_for
from .tensor import SparseTensor


class SparseGroupNorm32(nn.GroupNorm):
    """Group norm with the statistics of each batch item over all its voxels; computed in fp32, then cast back.

    Wu and He 2018, with the voxels of an item instead of the pixels of an image.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]  # nn.GroupNorm takes dense tensors
        """Features [N, C] to the same shape and dtype."""
        voxels, feats = x.voxels, x.feats.float()
        per_item = voxels.counts[:, None].clamp(min=1) * (self.num_channels // self.num_groups)
        centred = feats - voxels.spread(self._over_group(voxels.total(feats)) / per_item)
        variance = self._over_group(voxels.total(centred.square())) / per_item
        gain = voxels.spread(torch.rsqrt(variance + self.eps) * self.weight)
        return x.replace(torch.addcmul(self.bias, centred, gain).to(x.dtype))

    def silu(self, x: SparseTensor) -> SparseTensor:
        """SiLU of the norm: [N, C] to the same shape and dtype."""
        kernels = kernels_for(x.feats, self.weight, self.bias) if x.batch_size == 1 else None
        if kernels is None:
            normalised = self(x)
            return x.replace(F.silu(normalised.feats))
        return x.replace(kernels.group_norm_silu(x.feats, self.weight, self.bias, self.num_groups, self.eps))

    def _over_group(self, sums: Tensor) -> Tensor:
        """Replace the sum [B, C] of each channel by the sum over its group."""
        grouped = sums.unflatten(1, (self.num_groups, -1))
        return grouped.sum(-1, keepdim=True).expand_as(grouped).flatten(1)
