"""Sampling of rectified flows: time schedule, guidance and the Euler method, as pure functions.

Time runs from 1 (noise) to 0 (data) along ``x_t = (1 - t) x_0 + (sigma_min + (1 - sigma_min) t) noise``. The networks
predict its velocity ``dx/dt`` (Lipman et al. 2023; Liu et al. 2023) and are given 1000 t. A state ``x`` is a dense
tensor [B, ...] or a sparse one: the functions here only add states and multiply them by numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .sparse.tensor import SparseTensor

State = TypeVar("State", "Tensor", "SparseTensor")

#: A time in 0..1, or those of several objects, shaped to multiply a state.
Time = float | Tensor

#: Velocity at a state and a time in 0..1.
Velocity = Callable[[State, float], State]

#: A state at a time 1..0, changed before the velocity there is asked for, and once more at 0.
Hold = Callable[[State, float], State]

#: A flow network: from a state, times [B] scaled by 1000 and condition tokens [B, L, C] to a velocity.
Model = Callable[[State, Tensor, Tensor], State]

#: A flow map: from a state, times [B], tokens [B, L, C], later times [B] and guidance strengths [B] to the mean
#: velocity between the times. They are scaled by 1000, guidance is not.
FlowMap = Callable[[State, Tensor, Tensor, Tensor, Tensor], State]


@dataclass(frozen=True)
class Step(Generic[State]):
    """A finished Euler step."""

    index: int  #: steps done so far, 1..total
    total: int
    x_t: State  #: the state after the step
    x_0: State  #: the clean sample that the step was heading for, see ``clean_estimate``


def time_steps(steps: int, rescale_t: float = 1.0) -> np.ndarray:
    """The ``steps + 1`` times from 1 to 0 in float64, ``t' = r t / (1 + (r - 1) t)`` (Esser et al. 2024, equation 23).

    With ``rescale_t`` above 1 more of the steps are near the noise. Raises ValueError unless ``steps >= 1`` and
    ``rescale_t > 0``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if rescale_t <= 0:
        raise ValueError(f"rescale_t must be positive, not {rescale_t}")
    t = np.linspace(1.0, 0.0, steps + 1)
    return rescale_t * t / (1 + (rescale_t - 1) * t)


def conditioned(model: Model[State], cond: Tensor) -> Velocity[State]:
    """The velocity that ``model`` predicts given tokens ``cond`` [B, L, C], or [1, L, C] for all items of the batch."""

    def velocity(x: State, t: float) -> State:
        return model(x, _for_all(1000 * t, x), cond.expand(_batch_size(x), -1, -1))

    return velocity


def mapped(model: FlowMap[State], cond: Tensor, guidance: float, times: np.ndarray) -> Velocity[State]:
    """The mean velocity that a flow map predicts from each of ``times`` to the next one, given tokens ``cond``
    [B, L, C] or [1, L, C] and the strength of the guidance.

    Euler's step with it is exact for a perfect map: x_s = x_t - (t - s) u(x_t, t, s) (Geng et al. 2025, "MeanFlow",
    equation 12). ``times`` is the schedule used for sampling; any other time raises KeyError.
    """
    later = dict(pairwise(times.tolist()))

    def velocity(x: State, t: float) -> State:
        to, strength = _for_all(1000 * later[t], x), _for_all(guidance, x)
        return model(x, _for_all(1000 * t, x), cond.expand(_batch_size(x), -1, -1), to, strength)

    return velocity


def _for_all(value: float, x: Tensor | SparseTensor) -> Tensor:
    """The same number for each item of the batch, [B]."""
    return torch.full((_batch_size(x),), value, dtype=torch.float32, device=x.device)


def _batch_size(x: Tensor | SparseTensor) -> int:
    return x.shape[0] if isinstance(x, Tensor) else x.batch_size


def averaged(velocities: Sequence[Velocity[State]]) -> Velocity[State]:
    """The mean of several velocities: every reference image counts in every step ("multidiffusion")."""

    def velocity(x: State, t: float) -> State:
        return reduce(add, [v(x, t) for v in velocities]) * (1 / len(velocities))

    return velocity


def alternated(velocities: Sequence[Velocity[State]], times: np.ndarray) -> Velocity[State]:
    """Velocity k mod n in the step from ``times[k]``: the reference images take turns ("stochastic").

    ``times`` is the schedule used for sampling; any other time raises KeyError.
    """
    turn = {float(t): velocities[k % len(velocities)] for k, t in enumerate(times)}

    def velocity(x: State, t: float) -> State:
        return turn[t](x, t)

    return velocity


def of_several(velocities: Sequence[Velocity[State]], mode: str, times: np.ndarray) -> Velocity[State]:
    """Combine the velocities for several images by ``mode``, "multidiffusion" or "stochastic".

    ``times`` is the schedule used for sampling. Raises ValueError for another mode.
    """
    if mode == "multidiffusion":
        return averaged(velocities)
    if mode == "stochastic":
        return alternated(velocities, times)
    raise ValueError(f"several images are combined by 'multidiffusion' or 'stochastic', not by {mode!r}")


def guided_velocity(conditional: State, unconditional: State, strength: float) -> State:
    """Classifier-free guidance ``(1 + w) v(cond) - w v(uncond)`` (Ho and Salimans 2022, equation 6)."""
    return conditional * (1 + strength) - unconditional * strength


def with_guidance(
    conditional: Velocity[State],
    unconditional: Velocity[State],
    strength: float,
    interval: tuple[float, float] = (0.0, 1.0),
    *,
    rescale: float = 0.0,
    sigma_min: float = 1e-5,
) -> Velocity[State]:
    """Guidance at times within ``interval``, ends included (Kynkäänniemi et al. 2024); else ``conditional`` alone.

    With strength 0 the unconditional velocity does not affect the result and is not computed; with -1 the conditional
    one. ``rescale`` is that of ``rescaled_velocity``, which needs the flow's ``sigma_min``.
    """

    def velocity(x: State, t: float) -> State:
        if strength == 0 or not interval[0] <= t <= interval[1]:
            return conditional(x, t)
        if strength == -1:
            return unconditional(x, t)
        v = conditional(x, t)
        guided = guided_velocity(v, unconditional(x, t), strength)
        return guided if rescale == 0 else rescaled_velocity(x, guided, v, t, rescale, sigma_min)

    return velocity


def rescaled_velocity(
    x: State,
    guided: State,
    conditional: State,
    t: Time,
    share: float,
    sigma_min: float,
    spread: Callable[[State], Tensor] | None = None,
) -> State:
    """A guided velocity whose clean estimate has, for a ``share`` of it, the spread of the conditional one.

    Strong guidance makes samples too contrasty: ``x_0 (r std(x_c) / std(x_0) + 1 - r)`` with the clean estimates x_0
    and x_c of both velocities (Lin et al. 2024, equations 15 and 16), an object at a time. ``spread`` takes the
    place of ``spread_of``.
    """
    clean, deviation = clean_estimate(x, guided, t, sigma_min), spread or spread_of
    ratio = deviation(clean_estimate(x, conditional, t, sigma_min)) / deviation(clean)
    return velocity_to(x, clean * (ratio * share + (1 - share)), t, sigma_min)


def spread_of(x: Tensor | SparseTensor) -> Tensor:
    """The standard deviation of each object's values: [B, 1, ...] of a dense state, [B, 1] of a sparse one.

    The first is divided by one less than the count, the second by the count: so TRELLIS.2 was sampled.
    """
    if isinstance(x, Tensor):
        return x.std(dim=list(range(1, x.ndim)), keepdim=True)
    count = x.voxels.counts[:, None].clamp(min=1) * x.feats.shape[1]
    sums, squares = (x.voxels.total(feats).sum(1, keepdim=True) for feats in (x.feats, x.feats.square()))
    return (squares / count - (sums / count).square()).clamp(min=0).sqrt()


def guided(
    model: Model[State],
    cond: Tensor,
    uncond: Tensor,
    strength: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity[State]:
    """The guided velocity of ``model`` for one condition [B or 1, L, C] and its negative (zeros in TRELLIS)."""
    return with_guidance(conditioned(model, cond), conditioned(model, uncond), strength, interval)


def euler_step(x: State, v: State, t: float, t_next: float) -> State:
    """The state at ``t_next``: ``x - (t - t_next) v``."""
    return x - v * (t - t_next)


def clean_estimate(x: State, v: State, t: Time, sigma_min: float) -> State:
    """The data ``x_0`` on the straight path through ``x`` with velocity ``v``: ``(1 - s) x - (s + (1 - s) t) v``.

    s is ``sigma_min``.
    """
    return x * (1 - sigma_min) - v * (sigma_min + (1 - sigma_min) * t)


def velocity_to(x: State, x_0: State, t: Time, sigma_min: float) -> State:
    """The velocity whose ``clean_estimate`` is ``x_0``: ``((1 - s) x - x_0) / (s + (1 - s) t)``; s is ``sigma_min``."""
    return (x * (1 - sigma_min) - x_0) / (sigma_min + (1 - sigma_min) * t)


def state_at(x_0: State, noise: State, t: float, sigma_min: float) -> State:
    """The state on the straight path from the noise to the data ``x_0``: ``(1 - t) x_0 + (s + (1 - s) t) noise``.

    s is ``sigma_min``.
    """
    return x_0 * (1 - t) + noise * (sigma_min + (1 - sigma_min) * t)


def held(known: State, noise: State, new: State, sigma_min: float) -> Hold[State]:
    """Where ``new`` is 0, the state stays that of known data with its own noise; where it is 1, the state is free.

    In between they are mixed (Lugmayr et al. 2022, "RePaint", equation 8, on a flow's straight path).
    """

    def hold(x: State, t: float) -> State:
        there = state_at(known, noise, t, sigma_min)
        return there + (x - there) * new

    return hold


@torch.no_grad()
def euler_sample(
    velocity: Velocity[State],
    noise: State,
    *,
    steps: int,
    rescale_t: float = 1.0,
    sigma_min: float = 1e-5,
    on_step: Callable[[Step[State]], None] | None = None,
    start: float = 1.0,
    hold: Hold[State] | None = None,
) -> State:
    """Follow ``velocity`` from ``noise`` at t = 1 to a sample at t = 0 in ``steps`` Euler steps.

    With an earlier ``start``, ``noise`` is the state there, and all times are scaled by it (Meng et al. 2022, "SDEdit":
    data, noised and sampled again). ``hold`` may keep a part of the state, see ``held``. ``on_step`` is called after
    every step; an exception that it raises ends the sampling and reaches the caller.
    """
    times = (start * time_steps(steps, rescale_t)).tolist()
    x = noise
    for index, (t, t_next) in enumerate(pairwise(times), start=1):
        x = x if hold is None else hold(x, t)
        v = velocity(x, t)
        x_0 = clean_estimate(x, v, t, sigma_min)
        x = euler_step(x, v, t, t_next)
        if on_step is not None:
            on_step(Step(index, steps, x, x_0))
    return x if hold is None else hold(x, 0.0)
