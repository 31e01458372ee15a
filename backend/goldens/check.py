"""Judge golden cases: one verdict for each case, whatever happens while it runs."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import trellis2
from .case import GoldenCase, family_of, find_cases, load_case
from .compare import Comparison
from .dual_grids import attributes, cascade, dual_grid
from .networks import full_size_network, network
from .operations import blocks, dense_ops, sparse_attention, sparse_ops
from .precision import fp16_casts
from .samplers import samplers
from .stages import image_encode, pipeline, preprocess_image
from .surfaces import features2mesh


def _distillation(case: GoldenCase) -> list[Comparison]:
    from .distillation import distillation  # training is imported for these families only

    return distillation(case)


#: What runs a case of each family and compares its outputs.
FAMILIES: dict[str, Callable[[GoldenCase], list[Comparison]]] = {
    "blocks": blocks,
    "dense_ops": dense_ops,
    "features2mesh": features2mesh,
    "fp16_casts": fp16_casts,
    "image_encode": image_encode,
    "mdt_dense": _distillation,
    "mdt_sparse": _distillation,
    "pipeline": pipeline,
    "preprocess_image": preprocess_image,
    "samplers": samplers,
    "sparse_attention": sparse_attention,
    "sparse_ops": sparse_ops,
    "t2_attributes": attributes,
    "t2_cascade": cascade,
    "t2_dual_grid": dual_grid,
    "t2_image": trellis2.image,
    "t2_pipeline": trellis2.pipeline,
    "t2_sampler": samplers,
    **dict.fromkeys(
        (
            "slat_dec_gs",
            "slat_dec_mesh",
            "slat_dec_rf",
            "slat_enc",
            "slat_flow",
            "ss_dec",
            "ss_enc",
            "ss_flow",
            "t2_shape_dec",
            "t2_shape_enc",
            "t2_slat_flow",
            "t2_ss_flow",
            "t2_tex_dec",
        ),
        network,
    ),
    **dict.fromkeys(
        (
            "full_dinov2_vitl14_reg",
            "full_slat_dec_gs",
            "full_slat_dec_mesh",
            "full_slat_dec_rf",
            "full_slat_enc",
            "full_slat_flow_L",
            "full_ss_dec",
            "full_ss_enc",
            "full_ss_flow_L",
            "t2_full_shape_dec",
            "t2_full_ss_flow",
            "t2_full_tex_flow",
        ),
        full_size_network,
    ),
}


@dataclass(frozen=True)
class Verdict:
    """The result of a case: ``status`` is passed, failed or skipped (full size)."""

    family: str
    case: str
    status: str
    comparisons: tuple[Comparison, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    @property
    def worst(self) -> Comparison | None:
        """The comparison that uses the largest part of its tolerance."""
        return max(self.comparisons, key=lambda comparison: comparison.strain, default=None)

    @property
    def absolute(self) -> float:
        """The largest difference in any output."""
        return max((comparison.absolute for comparison in self.comparisons), default=0.0)

    def __str__(self) -> str:
        """One line, with the relative error and the tolerance of the output closest to its tolerance."""
        words = f"{self.family:<22} {self.case:<26} "
        if self.worst is not None:
            relative, tolerance = self.worst.relative, self.worst.tolerance
            words += f"abs {self.absolute:.1e}  rel {relative:.1e}  tolerance {tolerance:.0e}  "
        return f"{words}{self.status}{': ' * bool(self.reason)}{self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON, with every output; numbers that are not finite become null."""
        worst = self.worst
        return {
            "family": self.family,
            "case": self.case,
            "status": self.status,
            "absolute": _finite(self.absolute),
            "relative": _finite(worst.relative) if worst else 0.0,
            "tolerance": worst.tolerance if worst else 0.0,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "outputs": [
                {
                    "name": one.name,
                    "absolute": _finite(one.absolute),
                    "relative": _finite(one.relative),
                    "tolerance": one.tolerance,
                    "passed": one.passed,
                }
                for one in self.comparisons
            ],
        }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def check_folder(
    folder: Path, family: str | None = None, slow: bool = False, device: torch.device | str = "cpu"
) -> Iterator[Verdict]:
    """The verdicts of all cases in and below a folder, or of one family only; full-size cases only if ``slow``.

    Networks and operations run on ``device``, with the tolerances of the CPU: TF32 stays off.
    """
    for path in find_cases(folder):
        try:
            found = family_of(path)
        except ValueError as error:
            yield Verdict(path.parent.name, path.name, "failed", reason=f"config.json: {error}")
            continue
        if family in (None, found):
            yield check_case(path, slow, device)


@torch.no_grad()
def check_case(folder: Path, slow: bool = False, device: torch.device | str = "cpu") -> Verdict:
    """Run a case and compare everything that it stores. Raises ValueError if its configuration cannot be read."""
    family, name = family_of(folder), folder.name
    if family not in FAMILIES:
        return Verdict(family, name, "failed", reason=f"there is no family {family!r}")
    if FAMILIES[family] is full_size_network and not slow:
        return Verdict(family, name, "skipped", reason="full size")
    started = time.perf_counter()
    try:
        with _without_tf32():
            comparisons = tuple(FAMILIES[family](load_case(folder, device)))
    except Exception as error:  # a case may have any form: any error that it causes is a failure of this case
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Verdict(family, name, "failed", reason=reason, seconds=time.perf_counter() - started)
    failed = [f"{one.name} {one.problem}".strip() for one in comparisons if not one.passed]
    reason = ", ".join(failed) if comparisons else "it stores nothing to compare"
    status = "failed" if reason else "passed"
    return Verdict(family, name, status, comparisons, reason, time.perf_counter() - started)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Products and convolutions of a GPU in full single precision: PyTorch rounds those of cuDNN unless told not to."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def report(verdicts: Iterable[Verdict], as_json: bool) -> int:
    """Print verdicts as they come, one line each, then a summary (or one JSON object with both).

    Returns 1 if any case failed or if there were none, else 0.
    """
    seen = []
    for verdict in verdicts:
        seen.append(verdict)
        if not as_json:
            print(verdict, flush=True)
    counts = Counter(verdict.status for verdict in seen)
    if as_json:
        summary = {status: counts[status] for status in ("passed", "failed", "skipped")}
        print(json.dumps({"cases": [verdict.as_dict() for verdict in seen], "summary": summary}))
    else:
        print(_sentence(seen, counts))
    return 1 if counts["failed"] or not seen else 0


def _sentence(seen: list[Verdict], counts: Counter[str]) -> str:
    """``64 cases: 55 passed, 1 failed, 8 of full size skipped (--slow runs them)``."""
    parts = [f"{counts[status]} {status}" for status in ("passed", "failed")]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} of full size skipped (--slow runs them)")
    return f"{len(seen)} cases: {', '.join(parts)}"
