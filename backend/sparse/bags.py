"""Sums over bags of rows, as in ``torch.nn.EmbeddingBag``, with all derivatives: they are sums over bags again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bags:
    """N bags of some of M rows each: bag i has ``rows[starts[i]]`` up to that of the next bag."""

    rows: Tensor  # [K] int32, below M
    starts: Tensor  # [N + 1] int32, ascending from 0 to K
    count: int  # M

    def sums(self, x: Tensor) -> Tensor:
        """The sum of each bag's rows: [M, C] to [N, C], zeros for an empty bag."""
        return _Sums.apply(x, self)

    @cached_property
    def transposed(self) -> Bags:
        """M bags, of those of the N bags that have this row."""
        sizes = self.starts.diff()
        bag = torch.repeat_interleave(sizes, output_size=len(self.rows))
        rows, order = self.rows.sort(stable=True)
        ends = torch.searchsorted(rows, torch.arange(self.count, device=rows.device, dtype=rows.dtype), right=True)
        return Bags(bag.index_select(0, order).int(), F.pad(ends, (1, 0)).int(), len(sizes))


class _Sums(torch.autograd.Function):
    """``y[i] = sum of x[j] over the rows j of bag i``. Nothing is scattered and no bag is gathered into memory."""

    @staticmethod
    def forward(x: Tensor, bags: Bags) -> Tensor:
        return F.embedding_bag(bags.rows, x, bags.starts, mode="sum", include_last_offset=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.bags = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Sums.apply(grad, ctx.bags.transposed), None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, _: None) -> Tensor:
        return _Sums.apply(x_t, ctx.bags)
