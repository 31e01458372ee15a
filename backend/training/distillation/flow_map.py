"""The objectives of flow maps: students that see two times, so that every step has a target of its own.

A flow map X(x_t, t, s) = x_t - (t - s) u(x_t, t, s) leads from time t straight to the time s < t, and its mean velocity
u is what the network predicts. u(x, t, t) is the velocity itself. Differentiating X by t or by s turns the definition
into a regression: by t along the teacher's path (``mean_flow``), by s along the map's own path (``lagrangian``,
``from_the_prior``).

Everything here is a pure function of plain tensors, for both dense and sparse states (see ``flow_path``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..flow_path import Samples, state_at
from .mdt import Derivative, Match, Velocity, derivative_along, directional_derivative, step_back

#: The mean velocity of a flow map from a state at times t [B] down to times s [B].
MapVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]

#: How a flow map is matched: student, the teacher's velocity, x_0, noise, t [B], s [B], samples, sigma_min.
MapMatching = Callable[[MapVelocity, Velocity, Tensor, Tensor, Tensor, Tensor, Samples, float], Match]

#: Keeps the weight of a sample finite, see ``evened``. It is a mean of squares of velocities, which are of order 1.
EVENING = 0.1


def jump(student: MapVelocity, x: Tensor, t: Tensor, s: Tensor, samples: Samples) -> Tensor:
    """X(x, t, s) = x - (t - s) u(x, t, s): the state at ``s``, with the shape of ``x``."""
    return x - samples.spread(t - s, x) * student(x, t, s)


def to_data(student: MapVelocity) -> Velocity:
    """A flow map as a student of one time, whose steps all lead to the data: u(x, t, 0)."""
    return lambda x, t: student(x, t, torch.zeros_like(t))


def mean_flow(derivative: Derivative, interval: float = 0.01) -> MapMatching:
    """MeanFlow on a teacher: u(x_t, t, s) against sg(v_T - (t - s) du/dt), the target that follows from the MeanFlow
    identity u = v - (t - s) du/dt (Geng et al. 2025, arXiv 2505.13447).

    du/dt is the total derivative along the teacher's path: ``continuous``, the product of u's Jacobian with (v_T, 1,
    0), or ``discrete``, a step of ``interval`` back along it, as in Velocity Matching. In a training from data it goes
    along the straight path of one sample, or along the network's own u(x, t, t), and the loss of Improved MeanFlow
    (arXiv 2512.02012), on u + (t - s) sg(du/dt), differs from this one. With a teacher's velocity, which is that of all
    samples, the two have the same gradient.
    """

    def match(
        student: MapVelocity,
        teacher: Velocity,
        x_0: Tensor,
        noise: Tensor,
        t: Tensor,
        s: Tensor,
        samples: Samples,
        sigma_min: float,
    ) -> Match:
        def leading_there(x: Tensor, at: Tensor) -> Tensor:
            return student(x, at, s)

        x_t = state_at(x_0, noise, t, samples, sigma_min)
        v = teacher(x_t, t)
        u = student(x_t, t, s)
        if derivative == "continuous":
            change = derivative_along(leading_there, x_t, t, v)
        else:
            change = (u.detach() - step_back(leading_there, v, x_t, t, interval)[2]) / interval
        return Match(u, v - samples.spread(t - s, x_t) * change, x_t, v, u)

    return match


@dataclass(frozen=True)
class OwnPath:
    """u(x_t, t, s) against sg(v(X, s) + (t - s) du/ds), X = X(x_t, t, s): the path of the map follows a velocity v.

    It says d/ds X(x_t, t, s) = v(X(x_t, t, s), s), the Lagrangian equation of a flow map (Boffi et al. 2025, arXiv
    2505.18825). The derivative is by the second time alone, none by the state: exact (``continuous``) or from a
    difference over ``interval``. It has no gradient, as in FreeFlow (arXiv 2511.19428), which keeps the solution
    and spares a backward pass through a derivative.
    """

    derivative: Derivative
    interval: float = 0.01

    def match(
        self, student: MapVelocity, velocity: Velocity, x_t: Tensor, t: Tensor, s: Tensor, samples: Samples
    ) -> Match:
        """Compare, for the path that begins at ``x_t``."""
        u = student(x_t, t, s)
        if self.derivative == "continuous":
            change = directional_derivative(lambda at: student(x_t, t, at), (s,), (torch.ones_like(s),))
        else:
            with torch.no_grad():
                change = (student(x_t, t, s + self.interval) - u) / self.interval
        left = samples.spread(t - s, x_t)
        v = velocity((x_t - left * u).detach(), s)
        return Match(u, v + left * change, x_t, v, u)


def lagrangian(derivative: Derivative, interval: float = 0.01) -> MapMatching:
    """Lagrangian self-distillation (Boffi et al. 2025, arXiv 2505.18825): the map follows its own velocity u(x, s, s),
    and that follows the teacher's.

    Samples with t = s are on the diagonal, where u(x_t, t, t) is compared with v_T(x_t, t). All others are compared
    with the student itself, see ``OwnPath``.
    """

    def match(
        student: MapVelocity,
        teacher: Velocity,
        x_0: Tensor,
        noise: Tensor,
        t: Tensor,
        s: Tensor,
        samples: Samples,
        sigma_min: float,
    ) -> Match:
        x_t = state_at(x_0, noise, t, samples, sigma_min)
        v_t = teacher(x_t, t)
        diagonal = samples.spread(t <= s, x_t) > 0

        def velocity(x: Tensor, at: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.where(diagonal, v_t, student(x, at, at))

        return OwnPath(derivative, interval).match(student, velocity, x_t, t, s, samples)

    return match


def from_the_prior(derivative: Derivative, interval: float = 0.01) -> MapMatching:
    """FreeFlow's prediction objective (Tong et al. 2025, arXiv 2511.19428): the teacher's path from noise, no data.

    The map's path from noise follows the teacher's velocity at the states that the map itself predicts, see
    ``OwnPath``. The paper begins at t = 1. For students of several steps, t may be lower here: the path begins at the
    student's own state X(noise, 1, t). ``x_0`` is not used.
    """

    def match(
        student: MapVelocity,
        teacher: Velocity,
        x_0: Tensor,
        noise: Tensor,
        t: Tensor,
        s: Tensor,
        samples: Samples,
        sigma_min: float,
    ) -> Match:
        with torch.no_grad():
            x_t = jump(student, noise, torch.ones_like(t), t, samples)
        return OwnPath(derivative, interval).match(student, teacher, x_t, t, s, samples)

    return match


def second_times(t: Tensor, uniform: Tensor, diagonal: float) -> Tensor:
    """Second times [B] for the first ones [B] from uniform draws [B, 2]: uniform in 0..t, or t in a share ``diagonal``
    of the samples (MeanFlow, section 4.3)."""
    return torch.where(uniform[:, 0] < diagonal, t, t * uniform[:, 1])


def strengths(uniform: Tensor, most: float) -> Tensor:
    """Strengths of guidance w [B] from uniform draws [B], such that 1 + w has the density 1 / (1 + w) up to 1 + most.

    Improved MeanFlow (arXiv 2512.02012) draws them from a power law, too: weak guidance needs more of the samples.
    """
    return (1 + most) ** uniform - 1


def evened(residual: Tensor, samples: Samples) -> Tensor:
    """A residual divided in each sample by the root of its mean square plus ``EVENING``, as a constant.

    So its squares have the gradient of |r|^2 / sg(|r|^2 + c): no sample outweighs the others (MeanFlow,
    section 4.3, with p = 1; FreeFlow's decay with k = 1).
    """
    size = samples.mean(residual.detach().square()) + EVENING
    return residual / samples.spread(size.sqrt(), residual)
