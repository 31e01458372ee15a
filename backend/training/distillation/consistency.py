"""The objectives that MDT-dist is compared with (its Table 2): consistency models, discrete, phased and continuous.

They have the same form as ``mdt``: an objective says what to predict and what to compare it with. The student is the
same mean velocity u, so its state at the target time t' is f(x_t, t) = x_t - (t - t') u(x_t, t).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..flow_path import Samples
from .mdt import NORM_OFFSET, Match, Objective, Velocity, derivative_along, step_back


def target_times(t: Tensor, interval: float, phases: int) -> Tensor:
    """The phase boundary k / ``phases`` below t - ``interval``, [B]; 0 throughout with one phase.

    A boundary equal to t - ``interval`` belongs to the phase above it.
    """
    boundaries = torch.arange(phases + 1, device=t.device, dtype=t.dtype) / phases
    above = boundaries > (t - interval)[:, None]
    first = torch.where(above.any(1), above.to(torch.uint8).argmax(1), phases)
    return boundaries[(first - 1).clamp(min=0)]


def consistency(interval: float = 0.01, phases: int = 1) -> Objective:
    """CM (Song et al. 2023, equation 7): f at (x_t, t) equals f a step of ``interval`` along the teacher's path.

    With several ``phases``, PCM (Wang et al. 2024): both go only to the boundary of their phase.
    """

    def match(student: Velocity, teacher: Tensor, x_t: Tensor, t: Tensor, samples: Samples) -> Match:
        u = student(x_t, t)
        previous = step_back(student, teacher, x_t, t, interval)
        x, earlier, u_earlier = previous
        goal = target_times(t, interval, phases)
        prediction = x_t - samples.spread(t - goal, x_t) * u
        return Match(prediction, x - samples.spread(earlier - goal, x) * u_earlier, x_t, teacher, u, previous)

    return match


def continuous_consistency(normalized: bool = True) -> Objective:
    """sCM (Lu and Song 2025): u against sg(u + G), G = (v_T - u - t du/dt) / (rms + 0.1) for each sample.

    Without the normalisation it equals continuous Velocity Matching without normalisation.
    """

    def match(student: Velocity, teacher: Tensor, x_t: Tensor, t: Tensor, samples: Samples) -> Match:
        u = student(x_t, t)
        change = derivative_along(student, x_t, t, teacher)
        gap = teacher - u.detach() - samples.spread(t, x_t) * change
        if normalized:
            gap = gap / samples.spread(samples.rms(gap) + NORM_OFFSET, gap)
        return Match(u, u.detach() + gap, x_t, teacher, u)

    return match
