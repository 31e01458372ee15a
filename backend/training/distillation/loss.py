"""From samples to the loss of a method: the one place where objectives, networks and weights meet."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..flow_path import Samples, logistic_times
from .correction import corrected
from .flow_map import evened, second_times, strengths, to_data
from .items import Clean, Draws, map_velocity_of, velocity_of
from .mdt import (
    Bounds,
    Guidance,
    OwnSample,
    Strength,
    TeacherVelocity,
    Velocity,
    guided_teacher,
    match_at,
    mean_square,
    velocity_distillation,
)
from .methods import DistillPreset, Method


class DistillationLoss(nn.Module):
    """From samples to the loss of a method. It is a module so that data parallelism sees one forward pass.

    ``noising`` is the network of the noising velocity, if the preset has a ``correction``. It learns beside the
    student.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        method: Method,
        preset: DistillPreset,
        noising: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.student, self.noising = student, noising
        self.teacher = [teacher]  # in a list, so that its weights do not belong to this module
        self.method, self.preset = method, preset
        self.objective = method.objective(preset)
        self.matching = None if method.matching is None else method.matching(preset)

    def forward(self, clean: Clean, draws: Draws, progress: float, rows: float) -> tuple[Tensor, dict[str, Tensor]]:
        """These samples' part of the update's loss; ``rows`` is the number of rows in the whole update. Also returns
        the losses separately, and each sample's loss with its time."""
        method, preset = self.method, self.preset
        update = _Update(self, clean, draws)
        parts = _Parts(clean.samples, rows, update.match_t)
        if method.match_weight > 0:
            parts.add("match", method.match_weight, update.match(), even=self.matching is not None)
        distils = method.distill_weight > 0 and (method.match_weight == 0 or progress >= preset.distill_from)
        if not distils and self.noising is None:
            return parts.loss, parts.shown
        own, timed = OwnSample.of(update.student, draws.sample_noise, len(update.t)), self.matching is None
        if distils:
            parts.add("distill", method.distill_weight, update.distilled(own), timed=timed)
        if self.noising is not None:
            found = corrected(
                velocity_of(self.noising, clean),
                update.teacher(update.distill_strength()),
                own,
                draws.noise,
                update.t,
                clean.samples,
                preset.sigma_min,
            )
            parts.add("correct", preset.correction, found.student, timed=timed)
            parts.add("noising", 1.0, found.noising, timed=False)
        return parts.loss, parts.shown


class _Parts:
    """The parts of a loss as they are added, and what is shown of them."""

    def __init__(self, samples: Samples, rows: float, t: Tensor) -> None:
        self.samples, self.rows = samples, rows
        self.loss = torch.zeros((), device=t.device)
        self.shown = {"t": t, "by_sample": torch.zeros_like(t)}

    def add(self, name: str, weight: float, residual: Tensor, *, even: bool = False, timed: bool = True) -> None:
        """Add the mean square of a residual. ``even``: with ``evened`` samples, but shown as it is. ``timed``: it
        counts in the losses by time, because it belongs to the times ``t``."""
        part = mean_square(evened(residual, self.samples) if even else residual, self.rows)
        self.loss = self.loss + weight * part
        self.shown[name] = mean_square(residual.detach(), self.rows)
        if timed:
            by_sample = self.samples.mean(residual.detach().square())
            self.shown["by_sample"] = self.shown["by_sample"] + weight * by_sample


class _Update:
    """The times, the guidance and the networks' velocities of one forward pass."""

    def __init__(self, loss: DistillationLoss, clean: Clean, draws: Draws) -> None:
        self.method, self.preset = loss.method, loss.preset
        self.objective, self.matching = loss.objective, loss.matching
        self.clean, self.draws, self.samples = clean, draws, clean.samples
        preset = self.preset
        earliest = preset.sigma_min + (preset.interval if self.method.steps_back(preset) else 0.0)
        self.t = logistic_times(draws.normal, earliest, mean=preset.time_mean)
        self.guidance = Guidance(
            velocity_of(loss.teacher[0], clean),
            velocity_of(loss.teacher[0], clean.unconditional()),
            self._bounds(),
        )
        self.match_t = self.t  # a flow map also begins at the noise itself
        self.student: Velocity
        if self.matching is None:
            self.student = velocity_of(loss.student, clean)
            return
        self.match_t = torch.where(draws.uniform[:, 0] < self.method.from_noise, 1.0, self.t)
        self.strengths = strengths(draws.uniform[:, 3], preset.match_guidance)
        self.map = map_velocity_of(loss.student, clean, self.strengths)
        self.student = to_data(self.map)

    def _bounds(self) -> Bounds | None:
        """Those of the teacher's guidance, if the preset has any."""
        preset, interval = self.preset, (self.preset.guidance_from, self.preset.guidance_until)
        if interval == (0.0, 1.0) and not preset.guidance_rescale:
            return None
        return Bounds(self.samples, interval, preset.guidance_rescale, preset.sigma_min)

    def teacher(self, strength: Strength) -> TeacherVelocity:
        """The teacher under a strength of guidance."""
        return guided_teacher(self.guidance, strength)

    def match(self) -> Tensor:
        """The residual of Velocity Matching, of a baseline, or of a flow map."""
        preset, draws, clean = self.preset, self.draws, self.clean
        if self.matching is None:
            teacher = self.teacher(preset.match_guidance)
            given = clean.x_0, draws.noise, self.t, self.samples, preset.sigma_min
            return match_at(self.objective, self.student, teacher, *given).residual
        strength = self._spread(self.strengths) if preset.match_guidance else None
        s = second_times(self.match_t, draws.uniform[:, 1:3], preset.diagonal)
        given_times = clean.x_0, draws.noise, self.match_t, s, self.samples, preset.sigma_min
        return self.matching(self.map, partial(self.guidance.velocity, strength=strength), *given_times).residual

    def distill_strength(self) -> Strength:
        """The teacher's guidance where it judges the student's own samples: for a flow map that of the sample, but not
        above the preset's."""
        most = self.preset.distill_guidance
        if self.matching is None or not most:
            return most
        return self._spread(self.strengths.clamp(max=most))

    def distilled(self, own: OwnSample) -> Tensor:
        """The residual of Velocity Distillation."""
        draws, teacher = self.draws, self.teacher(self.distill_strength())
        given = draws.noise, own, self.t, self.samples, self.preset.sigma_min
        return velocity_distillation(self.objective, self.student, teacher, *given).residual

    def _spread(self, values: Tensor) -> Tensor:
        return self.samples.spread(values, self.draws.noise)
