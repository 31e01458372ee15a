"""The families of samplers: every number of every step, where the velocity is a formula or a tiny flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..sampling import Step, conditioned, euler_sample, of_several, time_steps, with_guidance
from ..sparse.tensor import SparseTensor
from .case import GoldenCase, filled_for
from .compare import Comparison, Value, compare_outputs
from .networks import network_of

#: Times are computed in float64 and rounded once, when they are passed to the model.
TIMES_F64 = 1e-12
TIMES_F32 = 1e-7


def analytic_velocity(x: Any, t: Tensor, cond: Tensor) -> Any:
    """``tanh(x) / 2 + (1 - u) m + sin(2 pi u) x / 4`` at time u in 0..1, with the condition's mean m.

    Of a state [B, ...] or [N, C], times [B] scaled by 1000 and a condition [B, L, C].
    """
    state, u, mean = _values(x), _spread(t / 1000, x), _spread(cond.flatten(1).mean(1), x)
    v = 0.5 * torch.tanh(state) + (1 - u) * mean + 0.25 * torch.sin(2 * math.pi * u) * state
    return v if isinstance(x, Tensor) else x.replace(v)


def _flow(case: GoldenCase) -> Callable[[Any, Tensor, Tensor], Any]:
    """The case's own flow, with the latents that it is conditioned on."""
    flow = filled_for(case, network_of(case)(**case.config["args"]))
    if "concat_cond" not in case.inputs:
        return flow
    return partial(flow, concat_cond=SparseTensor(case.inputs["concat_cond"], case.inputs["coords"]))


class Recorded:
    """A velocity that records the times and the conditions' means it is asked for."""

    def __init__(self, velocity: Callable[[Any, Tensor, Tensor], Any]) -> None:
        self.velocity = velocity
        self.times: list[Tensor] = []
        self.condition_means: list[Tensor] = []

    def __call__(self, x: Any, t: Tensor, cond: Tensor) -> Any:
        """As the velocity: a state, times [B] scaled by 1000 and a condition [B, L, C]."""
        self.times.append(t)
        self.condition_means.append(cond.double().flatten(1).mean(1))
        return self.velocity(x, t, cond)


def _values(x: Tensor | SparseTensor) -> Tensor:
    return x if isinstance(x, Tensor) else x.feats


def _spread(per_item: Tensor, x: Tensor | SparseTensor) -> Tensor:
    """Numbers [B] of the batch items, shaped to multiply the state ``x``."""
    if isinstance(x, SparseTensor):
        return per_item[x.coords[:, 0].long()][:, None]
    return per_item.reshape(-1, *[1] * (x.ndim - 1))


def samplers(case: GoldenCase) -> list[Comparison]:
    """Runs of the sampler: one for a case with several images, else one for each combination of settings."""
    if "multi_image_mode" in case.config:
        images, mode = list(case.inputs["cond"].split(1)), case.config["multi_image_mode"]
        return _check_run(case, "", case.config["params"], images, mode)
    runs = enumerate(case.config["combos"])
    images = [case.inputs["cond"]]
    return [c for i, combo in runs for c in _check_run(case, f"{i:02d}.", combo, images, "multidiffusion")]


def _check_run(
    case: GoldenCase, prefix: str, params: dict[str, Any], images: list[Tensor], mode: str
) -> list[Comparison]:
    """Run the sampler and compare the outputs whose names begin with ``prefix``."""
    expected = {name: tensor for name, tensor in case.outputs.items() if name.startswith(prefix)}
    if params.get("cfg_strength") == 0:  # the reference computes the negative all the same, and multiplies it by zero
        calls = len(images) if mode == "multidiffusion" else 1
        used = torch.cat([torch.arange(calls + acts) < calls for acts in _guidance_acts(params)])
        for name in (f"{prefix}model_t_calls", f"{prefix}model_cond_mean_calls"):
            expected[name] = expected[name][used]
    return compare_outputs(expected, {prefix + name: x for name, x in sample(case, params, images, mode).items()})


def sample(case: GoldenCase, params: dict[str, Any], images: list[Tensor], mode: str) -> dict[str, Tensor | Value]:
    """One run of the sampler, conditioned on each of these images: outputs by the names of the stored ones."""
    model, steps = Recorded(_flow(case) if "model_class" in case.config else analytic_velocity), list[Step[Any]]()
    noise: Any = case.inputs["noise"]
    if "coords" in case.inputs:
        noise = SparseTensor(noise, case.inputs["coords"])
    schedule = {"steps": params["steps"], "rescale_t": params.get("rescale_t", 1.0)}
    times = time_steps(**schedule)
    velocity = of_several([conditioned(model, tokens) for tokens in images], mode, times)
    sigma_min = case.config["sigma_min"]
    if "cfg_strength" in params or "guidance_strength" in params:
        negative = conditioned(model, case.inputs["neg_cond"])
        rescale = params.get("guidance_rescale", 0.0)
        velocity = with_guidance(
            velocity, negative, strength_of(params), interval_of(params), rescale=rescale, sigma_min=sigma_min
        )
    result = euler_sample(velocity, noise, **schedule, sigma_min=sigma_min, on_step=steps.append)
    return {
        "samples": _values(result),
        "pred_x_t": torch.stack([_values(step.x_t) for step in steps]),
        "pred_x_0": torch.stack([_values(step.x_0) for step in steps]),
        "t_seq_f64": Value(torch.from_numpy(times), TIMES_F64),
        "model_t_calls": Value(torch.stack(model.times), TIMES_F32),
        "model_cond_mean_calls": torch.stack(model.condition_means),
    }


def strength_of(params: dict[str, Any]) -> float:
    """The strength w of guidance, ``(1 + w) v - w v0``, 0 if there is none. TRELLIS.2 states 1 + w."""
    return float(params.get("cfg_strength", params.get("guidance_strength", 1.0) - 1))


def interval_of(params: dict[str, Any]) -> tuple[float, float]:
    """The times, ends included, at which guidance acts."""
    low, high = params.get("cfg_interval", params.get("guidance_interval", (0.0, 1.0)))
    return low, high


def _guidance_acts(params: dict[str, Any]) -> list[bool]:
    """Whether the time of each step is inside the guidance interval."""
    low, high = interval_of(params)
    return [low <= t <= high for t in time_steps(params["steps"], params.get("rescale_t", 1.0))[:-1]]
