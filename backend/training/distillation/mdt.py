"""Marginal-data transport distillation: Velocity Matching and Velocity Distillation (MDT-dist, arXiv 2509.04406).

The student u(x_t, t) is the mean velocity from time t down to 0, so that x_0 = x_t - t u: one step does the work of the
teacher's many. Differentiating t u along the teacher's path gives u = v - t du/dt. Velocity Matching turns this into a
regression. Velocity Distillation moves the student's own samples by the residual of that regression.

Everything here is a pure function of plain tensors, for both dense and sparse states (see ``flow_path``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...sampling import rescaled_velocity
from ..flow_path import SIGMA_MIN, Samples, path_velocity, state_at

#: The velocity of a state at times [B] in 0..1.
Velocity = Callable[[Tensor, Tensor], Tensor]

#: How a derivative is scaled in each sample: by its L2 norm over the sample, by its root mean square, or not at all.
Normalization = Literal["l2", "rms", "none"]

#: How a derivative is found: from a difference over a small interval, or its limit, by forward-mode differentiation.
Derivative = Literal["discrete", "continuous"]

NORM_OFFSET = 0.1


@dataclass(frozen=True)
class Match:
    """What a regression compares: ``prediction`` (with gradients) with ``target`` (without), and their origin."""

    prediction: Tensor
    target: Tensor
    x_t: Tensor
    teacher: Tensor  #: the teacher's velocity at x_t
    student: Tensor  #: the student's velocity at x_t
    previous: tuple[Tensor, Tensor, Tensor] | None = None  #: state and times a little earlier, the student's velocity

    @property
    def residual(self) -> Tensor:
        """Prediction minus target, with the shape of a state."""
        return self.prediction - self.target


#: An objective: student, the teacher's velocity at x_t, x_t, t [B], samples -> what to compare.
Objective = Callable[[Velocity, Tensor, Tensor, Tensor, Samples], Match]


def directional_derivative(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], directions: tuple[Tensor, ...]
) -> Tensor:
    """The product of a function's Jacobian with ``directions``, one for each input, without gradient.

    Forward-mode differentiation, with dual numbers: ``torch.func.jvp`` would wrap a network's weights, too, and what
    the network keeps of them. Of torch's attention kernels only the plain one supports it.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, d) for x, d in zip(inputs, directions, strict=True)]
        value, tangent = forward_ad.unpack_dual(function(*duals))
        return torch.zeros_like(value) if tangent is None else tangent


def derivative_along(student: Velocity, x: Tensor, t: Tensor, direction: Tensor) -> Tensor:
    """Exact du/dt along the path dx/dt = ``direction``: the Jacobian times (direction, 1), no gradient."""
    return directional_derivative(student, (x, t), (direction, torch.ones_like(t)))


def velocity_matching(
    derivative: Derivative,
    normalization: Normalization,
    interval: float = 0.01,
) -> Objective:
    """L_VM: u against sg(v_T - t D), D the total derivative of u along the teacher's path.

    ``discrete``: (u(x_t, t) - u(x_t - d v_T, t - d)) / d with d = ``interval``; ``continuous``: its limit. D is then
    divided by its size in each sample, plus 0.1. In the paper this is meant to tame D. But over a whole sample the L2
    norm is so large that almost nothing of D is left (see docs/LOG.md). The root mean square avoids that.
    """

    def match(student: Velocity, teacher: Tensor, x_t: Tensor, t: Tensor, samples: Samples) -> Match:
        u = student(x_t, t)
        previous = None
        if derivative == "continuous":
            change = derivative_along(student, x_t, t, teacher)
        else:
            previous = step_back(student, teacher, x_t, t, interval)
            change = (u.detach() - previous[2]) / interval
        if normalization != "none":
            size = samples.norm(change) if normalization == "l2" else samples.rms(change)
            change = change / samples.spread(size + NORM_OFFSET, change)
        return Match(u, teacher - samples.spread(t, x_t) * change, x_t, teacher, u, previous)

    return match


@torch.no_grad()
def step_back(
    student: Velocity, teacher: Tensor, x_t: Tensor, t: Tensor, interval: float
) -> tuple[Tensor, Tensor, Tensor]:
    """An Euler step of the teacher by ``interval`` towards the data: state, times [B], the student's velocity there."""
    x, earlier = x_t - interval * teacher, t - interval
    return x, earlier, student(x, earlier)


#: A strength of guidance: one for all samples, or a tensor that multiplies a state. None: no guidance.
Strength = float | Tensor | None


@dataclass(frozen=True)
class Bounds:
    """Where guidance acts, and how far: as ``sampling.with_guidance``, with a time of its own for each sample.

    At times within ``interval``, ends included, samples are guided, and get the spread of an unguided one for a share
    ``rescale`` of their clean estimate.
    """

    samples: Samples
    interval: tuple[float, float]
    rescale: float
    sigma_min: float = SIGMA_MIN

    def inside(self, t: Tensor) -> Tensor:
        """Whether samples are guided at times [B], [B]. A time that was rounded to just above 1 counts as 1."""
        return (t >= self.interval[0]) & (t.clamp(max=1.0) <= self.interval[1])

    def bounded(self, x: Tensor, t: Tensor, guided: Tensor, conditional: Tensor) -> Tensor:
        """The velocity at a state and times [B], from the guided and the conditional one, with the state's shape."""
        if self.rescale:
            at, spread = self.samples.spread(t, x), self.samples.deviation
            guided = rescaled_velocity(x, guided, conditional, at, self.rescale, self.sigma_min, spread)
        return torch.where(self.samples.spread(self.inside(t), x) > 0, guided, conditional)


@dataclass(frozen=True)
class Guidance:
    """The teacher's velocity under guidance: (1 + w) v(x, t, c) - w v(x, t, 0), or v(x, t, c) if w is 0 or None.

    Without ``bounds`` guidance acts at all times, and as it is.
    """

    conditional: Velocity
    unconditional: Velocity
    bounds: Bounds | None = None

    @torch.no_grad()
    def velocity(self, x: Tensor, t: Tensor, strength: Strength) -> Tensor:
        """The velocity of a state at times [B] under guidance w = ``strength``, with the state's shape, no gradient."""
        v = self.conditional(x, t)
        if strength is None or (isinstance(strength, float | int) and strength == 0):
            return v
        if self.bounds is None:
            return (1 + strength) * v - strength * self.unconditional(x, t)
        if not self.bounds.inside(t).any():
            return v
        return self.bounds.bounded(x, t, (1 + strength) * v - strength * self.unconditional(x, t), v)


#: The teacher's velocity at a state on the path from x_0 to noise: x_t, t [B], x_0, noise -> velocity.
TeacherVelocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def guided_teacher(guidance: Guidance, strength: Strength) -> TeacherVelocity:
    """A network as the teacher, under guidance w = ``strength``."""
    return lambda x_t, t, x_0, noise: guidance.velocity(x_t, t, strength)


def data_teacher(sigma_min: float) -> TeacherVelocity:
    """A teacher without a network: the velocity of the straight path itself (flow matching)."""
    return lambda x_t, t, x_0, noise: path_velocity(x_0, noise, sigma_min)


def match_at(
    objective: Objective,
    student: Velocity,
    teacher: TeacherVelocity,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    samples: Samples,
    sigma_min: float,
) -> Match:
    """Apply an objective at ``x_0`` diffused to ``t``. The squared residual is L_VM, or a baseline's loss."""
    x_t = state_at(x_0, noise, t, samples, sigma_min)
    return objective(student, teacher(x_t, t, x_0, noise), x_t, t, samples)


@dataclass(frozen=True)
class OwnSample:
    """What a student makes of noise e' in one step: x_f = e' - u_f without gradient, u_f = u(e', 1) with it."""

    sample: Tensor  #: x_f
    velocity: Tensor  #: u_f

    @classmethod
    def of(cls, student: Velocity, noise: Tensor, count: int) -> OwnSample:
        """The sample from ``noise``, which has the shape of ``count`` states."""
        u_f = student(noise, torch.ones(count, device=noise.device))
        return cls((noise - u_f).detach(), u_f)


@dataclass(frozen=True)
class SampleMatch:
    """What Velocity Distillation compares, with the student's sample and the match made there."""

    residual: Tensor  #: its square is the loss
    sample: Tensor  #: x_f
    velocity: Tensor  #: u_f
    match: Match


def pulled(velocity: Tensor, residual: Tensor) -> Tensor:
    """r + u_f - sg(u_f): a residual r without gradient, whose square moves the student's velocity u_f against r."""
    return residual + velocity - velocity.detach()


def velocity_distillation(
    objective: Objective,
    student: Velocity,
    teacher: TeacherVelocity,
    noise: Tensor,
    own: OwnSample,
    t: Tensor,
    samples: Samples,
    sigma_min: float,
) -> SampleMatch:
    """L_VD = |r + u_f - sg(u_f)|^2.

    The student's one-step sample x_f is diffused to ``t``. There the residual r of ``objective``, without gradient,
    says in which direction the teacher would move it. It reaches the student through u_f.
    """
    with torch.no_grad():
        match = match_at(objective, student, teacher, own.sample, noise, t, samples, sigma_min)
    return SampleMatch(pulled(own.velocity, match.residual), own.sample, own.velocity, match)


def mean_square(residual: Tensor, total: float | None = None) -> Tensor:
    """The loss of a residual: the mean of its squares. If several processes or accumulation steps share a batch,
    ``total`` is the rows of them all, so that every voxel counts the same."""
    rows = residual.flatten(1).square().mean(1)
    return rows.sum() / (len(rows) if total is None else total)


def loss_by_time(per_sample: Tensor, t: Tensor, bins: int = 10) -> list[float]:
    """The mean of the losses [B] in each of ``bins`` equal ranges of time; NaN for a range without samples."""
    number = (t * bins).long().clamp(0, bins - 1)
    losses = [per_sample[number == k] for k in range(bins)]
    return [one.mean().item() if len(one) else math.nan for one in losses]
