"""What it means for computed tensors to agree with stored ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: How far two fp32 computations may differ, relative to the largest expected magnitude.
FP32 = 2e-5

#: The same for networks of full size, whose sums are longer.
FP32_FULL_SIZE = 1e-4

#: The same where half-precision kernels are involved, absolute for values up to 1.
FP16 = 5e-3


@dataclass(frozen=True)
class Comparison:
    """One output held against what was expected of it."""

    name: str
    absolute: float  # the largest difference
    relative: float  # the largest difference divided by the scale of the values
    tolerance: float  # the largest allowed ``relative``; 0 if values must be equal
    problem: str = ""  # why there is nothing to compare

    @property
    def passed(self) -> bool:
        """Whether the output could be compared and is within its tolerance."""
        return not self.problem and self.relative <= self.tolerance

    @property
    def strain(self) -> float:
        """The used share of the tolerance, to find the worst of several comparisons."""
        if self.passed:
            return self.relative / self.tolerance if self.tolerance else 0.0
        return math.inf


@dataclass(frozen=True)
class Value:
    """A computed tensor that is compared in its own way."""

    tensor: Tensor
    tolerance: float | None = None  # instead of that of the case
    scale: float | Tensor | None = None  # what differences are relative to; None: the largest expected magnitude
    slack: float = 0.0  # absolute difference that is ignored
    #: Share of rows that may differ by up to ``reach`` (if not 0, at least one row): results of ill-conditioned sums.
    exempt: float = 0.0
    reach: float = 0.0


def compare(name: str, actual: Tensor | Value, expected: Tensor, tolerance: float) -> Comparison:
    """Compare shapes and values. Integers and booleans must be equal, floats within ``tolerance``."""
    value = actual if isinstance(actual, Value) else Value(actual)
    found = value.tensor.detach().cpu()  # float64, in which they are compared, is not on every device
    if found.shape != expected.shape:
        return Comparison(name, math.inf, math.inf, 0.0, f"shape {list(found.shape)}, not {list(expected.shape)}")
    if found.is_floating_point() != expected.is_floating_point():
        return Comparison(name, math.inf, math.inf, 0.0, f"dtype {found.dtype}, not {expected.dtype}")
    if not expected.numel():
        return Comparison(name, 0.0, 0.0, 0.0)
    a, b = found.double(), expected.detach().double()
    differences = torch.where(a == b, 0.0, (a - b).abs())  # equal infinities do not differ
    differences = (_without_exempt_rows(differences, value) - value.slack).clamp(min=0.0)
    # A NaN never agrees; max() might miss it.
    absolute = math.inf if differences.isnan().any() else float(differences.max())
    if not expected.is_floating_point():
        return Comparison(name, absolute, math.inf if absolute else 0.0, 0.0)
    scale = b[b.isfinite()].abs().amax() if value.scale is None else value.scale
    scale = scale.cpu() if isinstance(scale, Tensor) else scale
    # A difference of 0 is 0 relative to anything, even to 0.
    relative = float(torch.where(differences == 0, 0.0, differences / scale).max()) if absolute < math.inf else math.inf
    return Comparison(name, absolute, relative, tolerance if value.tolerance is None else value.tolerance)


def _without_exempt_rows(differences: Tensor, value: Value) -> Tensor:
    """The differences, set to zero in the rows that differ most, as far as they are exempt and within reach."""
    if not value.exempt:
        return differences
    worst, rows = differences.reshape(len(differences), -1).amax(1).topk(math.ceil(value.exempt * len(differences)))
    return differences.index_fill(0, rows[worst <= value.reach], 0.0)


def compare_outputs(
    expected: Mapping[str, Tensor], actual: Mapping[str, Tensor | Value], tolerance: float = FP32
) -> list[Comparison]:
    """Compare every expected output with the one of the same name.

    An output that is stored in part (``logits.every_97th``) is compared with the same part of the computed tensor
    (``logits``). An expected output that was not computed is a failure; further computed outputs are ignored.
    """
    comparisons = []
    for name, tensor in expected.items():
        found = actual.get(name)
        if found is None:
            found = _part(name, actual)
        if found is None:
            comparisons.append(Comparison(name, math.inf, math.inf, 0.0, "is not computed"))
        else:
            comparisons.append(compare(name, found, tensor, tolerance))
    return comparisons


def _statistics(x: Tensor) -> Value:
    """Mean, standard deviation, sum of magnitudes, minimum and maximum, in float64; the sum has its own scale."""
    x = x.double()
    largest, total = x.abs().max(), x.abs().sum()
    values = torch.stack([x.mean(), x.std(), total, x.min(), x.max()])
    return Value(values, scale=torch.stack([largest, largest, total, largest, largest]))


def _tokens(x: Tensor) -> Tensor:
    """Tokens [B, L, C] of all items in one list: [B L, C]."""
    return x.flatten(0, -2)


#: Suffixes of the names of stored parts, and how the part is cut out of the whole.
_PARTS: tuple[tuple[str, Callable[[Tensor, int], Tensor | Value]], ...] = (
    (r"\.every_(\d+)th", lambda x, n: x.flatten()[::n]),
    (r"_every_(\d+)th", lambda x, n: x[::n]),
    (r"\.first(\d+)tokens", lambda x, n: _tokens(x)[:n]),
    (r"\.last(\d+)tokens", lambda x, n: _tokens(x)[-n:]),
    (r"\.first(\d+)(?:rows)?", lambda x, n: x[:n]),
    (r"\.slice_x(\d+)", lambda x, n: x[0, 0, n]),
    (r"\.shape()", lambda x, _: torch.tensor(x.shape)),
    (r"\.col_mean()", lambda x, _: x.double().mean(0)),
    (r"\.col_std()", lambda x, _: x.double().std(0)),
    (r"\.stats()", lambda x, _: _statistics(x)),
)


def _part(name: str, actual: Mapping[str, Tensor | Value]) -> Value | None:
    """The part of a computed tensor that ``name`` refers to, or None if there is no such tensor."""
    for suffix, cut in _PARTS:
        match = re.fullmatch(rf"(.+){suffix}", name)
        if match and match[1] in actual:
            whole = actual[match[1]]
            value = whole if isinstance(whole, Value) else Value(whole)
            part = cut(value.tensor, int(match[2] or 0))
            return part if isinstance(part, Value) else replace(value, tensor=part)
    return None
