"""Sampling a structure, again and again until it can be what the images show or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .config import Normalization, SamplerSettings
from .guard import StructureReport, inspect
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder
from .networks import Teacher
from .progress import Check
from .stages import Known, decode_structure, sample_structure, structure_noise

#: How often to resample a structure that cannot be what the images show; the last time with the teacher.
RETRIES = 3

OnStep = Callable[[int, int], None]


def silent(step: int, steps: int) -> None:
    """Say nothing of the steps of another attempt."""


class Attempt(NamedTuple):
    """A sampled structure, and how well it goes with the images."""

    latents: Tensor  # [1, C, R, R, R]
    coords: Tensor  # [N, 4], on a grid of the run's ``side``
    report: StructureReport
    seconds: float  # that it took, the look at it included


@dataclass(frozen=True)
class StructureRun:
    """How the structure of one object is sampled: its networks, its grid and its noise.

    ``resident(network)`` has the weights of a network in memory while the context lasts.
    """

    flow: StructureFlow
    decoder: StructureDecoder
    sampler: SamplerSettings
    normalization: Normalization | None
    teacher: Teacher | None
    side: int
    generator: torch.Generator
    device: torch.device
    resident: Callable[[nn.Module], AbstractContextManager[None]]
    check: Check

    def sample(self, cond: Tensor, known: Known | None, on_step: OnStep) -> Tensor:
        """Structure latents [1, C, R, R, R] from fresh noise, by the model's own flow."""
        noise = structure_noise(self.flow, self.generator, self.device)
        with self.resident(self.flow):
            return sample_structure(self.flow, noise, cond, self.sampler, self.normalization, on_step, known)

    def decode(self, latents: Tensor, correction: Tensor | None = None) -> Tensor:
        """The voxels [N, 4] of latents, see ``decode_structure``."""
        with self.resident(self.decoder):
            return decode_structure(self.decoder, latents, correction, side=self.side)

    def attempts(
        self,
        cond: Tensor,
        outlines: Sequence[np.ndarray],
        seconds: float,
        on_step: OnStep = silent,
        known: Known | None = None,
        correction: Tensor | None = None,
    ) -> Iterator[Attempt]:
        """Structures that are sampled one after the other, until one has no problem with the ``outlines`` of images.

        The last of ``RETRIES`` is the teacher's, if there is one. Attempts end when another would take more than
        ``seconds`` after the first, judged by the time of the one before. Only the first reports its steps: progress
        must not go back. ``correction``: see ``decode_structure``.
        """
        left, pace = seconds, 0.0  # seconds, and seconds for each call of the flow
        for number in range(1 + RETRIES):
            teacher = self.teacher if number == RETRIES else None
            calls = (teacher.sampler if teacher else self.sampler).calls
            if number and pace * calls > left:
                return
            started = time.perf_counter()
            if teacher:
                noise = structure_noise(self.flow, self.generator, self.device)
                latents = teacher.sampled(noise, cond, known, self.check)
            else:
                latents = self.sample(cond, known, on_step if number == 0 else silent)
            coords = self.decode(latents, correction)
            report = inspect(coords[:, 1:].cpu().numpy(), self.side, outlines)
            taken = time.perf_counter() - started
            yield Attempt(latents, coords, report, taken)
            if not report.problem:
                return
            pace, left = taken / calls, left - taken * (number > 0)


def best_of(attempts: Sequence[Attempt]) -> int:
    """The number of the attempt to use, from 0."""
    return max(range(len(attempts)), key=lambda i: attempts[i].report.rank)
