"""The figures of the kernels belong to the Triton that is locked: another one gives the registers anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "docs" / "benchmarks" / "kernels.json").read_text("utf-8"))


def test_they_were_compiled_with_the_locked_triton() -> None:
    locked = re.search(r"^triton==(\S+)", (ROOT / "requirements-gpu-dev.lock").read_text("utf-8"), re.MULTILINE)
    assert locked is not None
    assert FIGURES["triton"] == locked[1], FIGURES["command"]


def test_no_kernel_in_use_spills_a_register() -> None:
    used = [row for row in FIGURES["kernels"] if row["in_use"]]
    assert {row["architecture"] for row in used} == {80, 86, 89, 90, 120}
    assert [row for row in used if row["local_bytes"] or row["stack_bytes"]] == []
