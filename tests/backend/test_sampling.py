"""The Euler sampler, guidance and several images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.goldens.samplers import Recorded, analytic_velocity
from backend.sampling import (
    Step,
    alternated,
    clean_estimate,
    conditioned,
    euler_sample,
    guided,
    guided_velocity,
    mapped,
    rescaled_velocity,
    spread_of,
    time_steps,
    velocity_to,
)
from backend.sparse.tensor import SparseTensor


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
    model = Recorded(analytic_velocity)
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
    model = Recorded(analytic_velocity)
    conditioned(model, torch.ones(1, 3, 4))(torch.zeros(5, 2), 0.25)
    assert model.times[0].tolist() == [250.0] * 5
    assert model.condition_means[0].shape == (5,)


def test_what_on_step_raises_ends_the_sampling() -> None:
    class Cancelled(Exception):
        pass

    model = Recorded(analytic_velocity)
    velocity, noise = conditioned(model, torch.ones(1, 3, 4)), torch.zeros(1, 2)

    def cancel(step: Step[Tensor]) -> None:
        if step.index == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        euler_sample(velocity, noise, steps=5, on_step=cancel)
    assert len(model.times) == 2
    after = euler_sample(velocity, noise, steps=5)
    alone = conditioned(Recorded(analytic_velocity), torch.ones(1, 3, 4))
    assert torch.equal(after, euler_sample(alone, noise, steps=5))


def test_a_time_off_the_schedule_has_no_image() -> None:
    velocity = alternated([lambda x, t: x], time_steps(4))
    with pytest.raises(KeyError):
        velocity(torch.zeros(1), 0.4)


def gaussian_map(x: Tensor, t: Tensor, cond: Tensor, to: Tensor, guidance: Tensor) -> Tensor:
    """The mean velocity from data N(m, 1/4), m the guidance: x_t = (1 - t) m + a(t) z with the same z at all times."""
    t, to, m = (value.reshape(-1, 1).double() for value in (t / 1000, to / 1000, guidance))
    width, there = (((1 - time) ** 2 / 4 + time**2).sqrt() for time in (t, to))
    return (x - ((1 - to) * m + there / width * (x - (1 - t) * m))) / (t - to)


def test_a_flow_map_is_sampled_exactly_in_any_number_of_steps() -> None:
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for steps in (1, 2, 7):
        velocity = mapped(gaussian_map, torch.ones(1, 3, 4), 0.7, time_steps(steps, 3.0))
        sample = euler_sample(velocity, noise, steps=steps, rescale_t=3.0)
        torch.testing.assert_close(sample, 0.7 + 0.5 * noise, rtol=0, atol=1e-6)
    with pytest.raises(KeyError):
        velocity(noise, 0.33)


# --- guidance whose spread is that of no guidance ---------------------------------------------------------------------


def test_a_rescaled_estimate_spreads_as_the_conditional_one() -> None:
    x, guided, conditional = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)) * 3
    t, sigma = 0.7, 1e-5
    wanted = clean_estimate(x, conditional, t, sigma).std((1, 2))
    full = clean_estimate(x, rescaled_velocity(x, guided, conditional, t, 1.0, sigma), t, sigma)
    torch.testing.assert_close(full.std((1, 2)), wanted)
    half = rescaled_velocity(x, guided, conditional, t, 0.5, sigma)
    mean = (clean_estimate(x, guided, t, sigma) + full) / 2
    torch.testing.assert_close(clean_estimate(x, half, t, sigma), mean)


def test_the_spread_of_sparse_latents_is_an_objects_own() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    x = SparseTensor(torch.tensor([[1.0, 3.0], [5.0, 7.0], [2.0, 8.0]]), coords)
    torch.testing.assert_close(spread_of(x), torch.tensor([[5.0**0.5], [3.0]]))
    torch.testing.assert_close(spread_of(x.feats[:2][None]), torch.tensor([[[(20 / 3) ** 0.5]]]))


def test_the_velocity_to_an_estimate_has_that_estimate() -> None:
    x, v = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(velocity_to(x, clean_estimate(x, v, 0.4, 0.01), 0.4, 0.01), v)


def test_where_only_the_negative_counts_only_that_is_computed() -> None:
    model, cond = Recorded(analytic_velocity), torch.ones(1, 3, 4)
    velocity = guided(model, cond, torch.zeros_like(cond), -1.0, (0.5, 1.0))
    velocity(torch.ones(1, 2), 0.6)
    velocity(torch.ones(1, 2), 0.4)
    assert [float(mean) for mean in model.condition_means] == [0.0, 1.0]
