"""The Euler sampler, guidance and several images, against the reference's figures for a velocity in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.sampling import (
    Step,
    alternated,
    averaged,
    conditioned,
    euler_sample,
    guided,
    guided_velocity,
    time_steps,
    with_guidance,
)
from backend.sparse.tensor import SparseTensor
from tests.backend.golden import assert_close, load_case


class ToyModel:
    """The velocity `tanh(x) / 2 + (1 - u) m + sin(2 pi u) x / 4`, u the time in 0..1, m the mean of the condition."""

    def __init__(self) -> None:
        self.times: list[Tensor] = []
        self.conditions: list[Tensor] = []

    def __call__(self, x: Any, t: Tensor, cond: Tensor) -> Any:
        self.times.append(t)
        self.conditions.append(cond.double().mean(dim=(1, 2)))
        state = values(x)
        u, m = (self._spread(value, x) for value in (t / 1000, cond.mean(dim=(1, 2))))
        v = 0.5 * torch.tanh(state) + (1 - u) * m + 0.25 * torch.sin(2 * math.pi * u) * state
        return v if isinstance(x, Tensor) else x.replace(v)

    @staticmethod
    def _spread(value: Tensor, x: Any) -> Tensor:
        """One number for each batch item, shaped to multiply the state."""
        if isinstance(x, SparseTensor):
            return value[x.coords[:, 0].long()][:, None]
        return value.reshape(-1, *[1] * (x.ndim - 1))


def values(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else x.feats


@pytest.mark.parametrize("name", ["cfg", "interval", "interval_sparse", "euler_sigma"])
def test_samples_follow_the_reference(name: str) -> None:
    case = load_case("samplers", name)
    noise: Any = case.inputs["noise"]
    if "coords" in case.inputs:
        noise = SparseTensor(noise, case.inputs["coords"])
    for index, combo in enumerate(case.config["combos"]):
        expected = {
            key.partition(".")[2]: value for key, value in case.outputs.items() if key.startswith(f"{index:02d}.")
        }
        model, steps = ToyModel(), list[Step[Any]]()
        strength = combo.get("cfg_strength")
        if strength is None:
            velocity = conditioned(model, case.inputs["cond"])
        else:
            interval = tuple(combo.get("cfg_interval", (0.0, 1.0)))
            velocity = guided(model, case.inputs["cond"], case.inputs["neg_cond"], strength, interval)
        schedule = {"steps": combo["steps"], "rescale_t": combo["rescale_t"]}
        sample = euler_sample(velocity, noise, **schedule, sigma_min=case.config["sigma_min"], on_step=steps.append)
        np.testing.assert_array_equal(time_steps(**schedule), expected["t_seq_f64"].numpy())
        assert_close(values(sample), expected["samples"], 1e-6)
        assert_close(torch.stack([values(step.x_t) for step in steps]), expected["pred_x_t"], 1e-6)
        assert_close(torch.stack([values(step.x_0) for step in steps]), expected["pred_x_0"], 1e-6)
        assert [step.index for step in steps] == list(range(1, combo["steps"] + 1))
        if strength != 0:  # the reference computes the negative even then
            assert torch.equal(torch.stack(model.times), expected["model_t_calls"])


@pytest.mark.parametrize("mode", ["multidiffusion", "stochastic"])
def test_several_images_follow_the_reference(mode: str) -> None:
    case = load_case("samplers", f"multi_{mode}")
    params = case.config["params"]
    schedule = {"steps": params["steps"], "rescale_t": params["rescale_t"]}
    model, states = ToyModel(), list[Tensor]()
    images = [conditioned(model, tokens) for tokens in case.inputs["cond"].split(1)]
    conditional = averaged(images) if mode == "multidiffusion" else alternated(images, time_steps(**schedule))
    negative = conditioned(model, case.inputs["neg_cond"])
    velocity = with_guidance(conditional, negative, params["cfg_strength"], tuple(params["cfg_interval"]))
    sample = euler_sample(
        velocity, case.inputs["noise"], **schedule, sigma_min=case.config["sigma_min"],
        on_step=lambda step: states.append(step.x_t),
    )  # fmt: skip
    assert_close(sample, case.outputs["samples"], 1e-6)
    assert_close(torch.stack(states), case.outputs["pred_x_t"], 1e-6)
    assert torch.equal(torch.stack(model.times), case.outputs["model_t_calls"])
    assert torch.equal(torch.stack(model.conditions), case.outputs["model_cond_mean_calls"])


def test_times_run_from_one_to_zero() -> None:
    assert time_steps(2, 1.0).tolist() == [1.0, 0.5, 0.0]
    np.testing.assert_allclose(time_steps(2, 3.0), [1.0, 0.75, 0.0])
    assert time_steps(25, 3.0).dtype == np.float64
    with pytest.raises(ValueError, match="steps"):
        time_steps(0)
    with pytest.raises(ValueError, match="rescale_t"):
        time_steps(2, 0.0)


def test_straight_paths_are_sampled_exactly_in_any_number_of_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 2, 3, 4, generator=generator)
    for steps in (1, 2, 7):
        found = list[Step[Tensor]]()
        sample = euler_sample(lambda x, t: noise - data, noise, steps=steps, rescale_t=3.0, on_step=found.append)
        torch.testing.assert_close(sample, data)
        for step in found:
            torch.testing.assert_close(step.x_0, data, atol=1e-4, rtol=0)  # sigma_min is 1e-5


def test_guidance_extrapolates_away_from_the_negative() -> None:
    assert guided_velocity(torch.tensor(3.0), torch.tensor(1.0), 2.0) == 7.0


def test_the_negative_is_computed_only_where_guidance_acts() -> None:
    model = ToyModel()
    noise, cond = torch.zeros(1, 2), torch.ones(1, 3, 4)
    for strength, interval, calls in (
        (0.0, (0.0, 1.0), 4),
        (2.0, (0.0, 1.0), 8),
        (2.0, (0.5, 1.0), 7),
        (2.0, (0.6, 0.7), 4),
    ):
        model.times.clear()
        euler_sample(guided(model, cond, torch.zeros_like(cond), strength, interval), noise, steps=4)
        assert len(model.times) == calls


def test_one_condition_serves_a_whole_batch() -> None:
    model = ToyModel()
    conditioned(model, torch.ones(1, 3, 4))(torch.zeros(5, 2), 0.25)
    assert model.times[0].tolist() == [250.0] * 5
    assert model.conditions[0].shape == (5,)


def test_what_on_step_raises_ends_the_sampling() -> None:
    class Cancelled(Exception):
        pass

    model = ToyModel()
    velocity, noise = conditioned(model, torch.ones(1, 3, 4)), torch.zeros(1, 2)

    def cancel(step: Step[Tensor]) -> None:
        if step.index == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        euler_sample(velocity, noise, steps=5, on_step=cancel)
    assert len(model.times) == 2
    after = euler_sample(velocity, noise, steps=5)
    assert torch.equal(after, euler_sample(conditioned(ToyModel(), torch.ones(1, 3, 4)), noise, steps=5))


def test_a_time_off_the_schedule_has_no_image() -> None:
    velocity = alternated([lambda x, t: x], time_steps(4))
    with pytest.raises(KeyError):
        velocity(torch.zeros(1), 0.4)
