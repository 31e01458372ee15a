"""How often each mode of the hidden choices occurred, beside how often it should."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import numpy as np

from ..training.objects.families import FAMILIES
from . import metrics
from .cases import Case

CHOICE_RESOLUTION = 32  # of the lattice on which hidden choices are told apart


class Choices:
    """Counts of the modes of hidden choices, pooled by choice, beside their true frequencies."""

    def __init__(self) -> None:
        self.taken: dict[str, list[int]] = defaultdict(list)
        self.expected: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    @staticmethod
    def of(case: Case, filled: np.ndarray) -> dict[str, int]:
        """The modes of those choices that the case's image does not show. ``filled`` is the result's, [R + 1]^3."""
        stride = (len(filled) - 1) // CHOICE_RESOLUTION
        coarse = filled[::stride, ::stride, ::stride]
        return {c: metrics.chosen_mode(coarse, case.family, case.number, c) for c in case.hidden_choices()}

    def add(self, family: str, modes: dict[str, int]) -> None:
        """Count the modes of one object."""
        for choice, mode in modes.items():
            self.taken[choice].append(mode)
            self.expected[choice].append(FAMILIES[family].modes[choice])

    def report(self) -> dict[str, dict[str, object]]:
        """For each choice: the number of images, both frequencies, and half the sum of their differences."""
        out: dict[str, dict[str, object]] = {}
        for choice, modes in self.taken.items():
            true = np.mean(self.expected[choice], axis=0)
            made = np.bincount(modes, minlength=len(true)) / len(modes)
            distance = round(0.5 * float(np.abs(made - true).sum()), 3)
            true, made = true.round(3).tolist(), made.round(3).tolist()
            out[choice] = {"images": len(modes), "true": true, "made": made, "total_variation": distance}
        return out

    def total_variation(self) -> float:
        """The mean total variation over all choices: 0 if every mode occurs as often as it should."""
        return float(np.mean([cast(float, entry["total_variation"]) for entry in self.report().values()]))
