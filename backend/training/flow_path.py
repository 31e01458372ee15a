"""The straight path from data to noise that flows learn: its times, its states and its velocity.

Time t runs from 0 (data) to 1 (noise), with x_t = (1 - t) x_0 + (s + (1 - s) t) noise and dx/dt = (1 - s) noise - x_0
(Lipman et al. 2023, section 4.1, as TRELLIS has it). A state is dense, [B, ...], or holds the features [N, C] of the
voxels of B samples. ``Samples`` knows which, so that the formulas need not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The noise that is left at t = 0, as in TRELLIS.
SIGMA_MIN = 1e-5


@dataclass(frozen=True)
class Samples:
    """Which sample each row of a state belongs to. ``row_sample`` [N] is None if every row is a sample."""

    count: int
    row_sample: Tensor | None = None

    @classmethod
    def of(cls, count: int, coords: Tensor | None) -> Samples:
        """For ``count`` dense samples, or for sparse ones on the voxels ``coords`` [N, 4] (sample, x, y, z)."""
        return cls(count, None if coords is None else coords[:, 0].long())

    def spread(self, values: Tensor, like: Tensor) -> Tensor:
        """One number for each sample [B], shaped to multiply a state."""
        rows = values if self.row_sample is None else values[self.row_sample]
        return rows.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the elements of each sample, [B]."""
        rows = x.flatten(1)
        if self.row_sample is None:
            return rows.mean(1)
        return self._sum(rows.sum(1)) / self._elements(rows)

    def rms(self, x: Tensor) -> Tensor:
        """The root mean square of each sample, [B]."""
        return self.mean(x.square()).sqrt()

    def norm(self, x: Tensor) -> Tensor:
        """The L2 norm of each sample, [B]."""
        return self.rms(x) * self._elements(x.flatten(1)).sqrt()

    def deviation(self, x: Tensor) -> Tensor:
        """The standard deviation over the elements of each sample, shaped to multiply a state.

        As ``sampling.spread_of``: dense samples divide by one less than the count, sparse ones by the count.
        """
        if self.row_sample is None:
            return x.std(dim=list(range(1, x.ndim)), keepdim=True)
        return self.spread((self.mean(x.square()) - self.mean(x).square()).clamp(min=0).sqrt(), x)

    def _elements(self, rows: Tensor) -> Tensor:
        if self.row_sample is None:
            return rows.new_full((self.count,), rows.shape[1])
        return self._sum(rows.new_full((len(rows),), rows.shape[1]))

    def _sum(self, values: Tensor) -> Tensor:
        assert self.row_sample is not None
        return values.new_zeros(self.count).index_add(0, self.row_sample, values)


def logistic_times(normal: Tensor, low: float = 0.0, high: float = 1.0, mean: float = 1.0, std: float = 1.0) -> Tensor:
    """Training times [B] from standard normal draws [B]: sigmoid(N(mean, std)) (Esser et al. 2024, equation 19), mapped
    to ``low`` .. ``high``. TRELLIS uses N(1, 1)."""
    return low + (high - low) * torch.sigmoid(normal * std + mean)


def state_at(x_0: Tensor, noise: Tensor, t: Tensor, samples: Samples, sigma_min: float = SIGMA_MIN) -> Tensor:
    """x_t = (1 - t) x_0 + (s + (1 - s) t) noise at times ``t`` [B], with the shape of ``x_0`` and ``noise``."""
    at = samples.spread(t, x_0)
    return (1 - at) * x_0 + (sigma_min + (1 - sigma_min) * at) * noise


def path_velocity(x_0: Tensor, noise: Tensor, sigma_min: float = SIGMA_MIN) -> Tensor:
    """dx/dt = (1 - s) noise - x_0, the same at all times, with the shape of ``x_0`` and ``noise``."""
    return (1 - sigma_min) * noise - x_0
