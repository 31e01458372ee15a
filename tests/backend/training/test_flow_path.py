"""The path that flows learn on: its ends, its derivative, and that dense and sparse samples are one to it."""

from __future__ import annotations

import pytest
import torch

from backend.training.flow_path import SIGMA_MIN, Samples, logistic_times, path_velocity, state_at


def test_it_runs_from_the_data_to_the_noise() -> None:
    x_0, noise = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 4, 4, 4)
    samples = Samples.of(2, None)
    assert torch.equal(state_at(x_0, noise, torch.zeros(2), samples), x_0 + SIGMA_MIN * noise)
    torch.testing.assert_close(state_at(x_0, noise, torch.ones(2), samples), noise)


def test_the_velocity_is_its_derivative() -> None:
    x_0, noise = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    t, samples = torch.tensor([0.2, 0.7], dtype=torch.float64), Samples.of(2, None)
    step = state_at(x_0, noise, t + 1e-3, samples, 0.1) - state_at(x_0, noise, t - 1e-3, samples, 0.1)
    torch.testing.assert_close(step / 2e-3, path_velocity(x_0, noise, 0.1))


def test_voxels_of_a_sample_are_treated_as_its_elements() -> None:
    """Two samples of as many voxels, as rows of features and as a dense block each."""
    dense, noise, t = torch.randn(2, 5, 3), torch.randn(2, 5, 3), torch.tensor([0.25, 0.75])
    sample = torch.arange(2).repeat_interleave(5)
    coords = torch.stack([sample, *torch.arange(30).reshape(3, 10)], 1).int()
    blocks, rows = Samples.of(2, None), Samples.of(2, coords)
    expected = state_at(dense, noise, t, blocks)
    assert torch.equal(state_at(dense.flatten(0, 1), noise.flatten(0, 1), t, rows), expected.flatten(0, 1))
    for of_blocks, of_rows in ((blocks.mean, rows.mean), (blocks.rms, rows.rms), (blocks.norm, rows.norm)):
        torch.testing.assert_close(of_rows(dense.flatten(0, 1)), of_blocks(dense))
    torch.testing.assert_close(blocks.norm(dense), dense.flatten(1).norm(dim=1))


def test_times_are_logistic_and_keep_to_their_range() -> None:
    normal = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logistic_times(normal, std=1.3), torch.sigmoid(normal * 1.3 + 1.0))
    t = logistic_times(normal, low=0.2)
    assert 0.2 <= float(t.min()) < float(t.max()) <= 1.0
    assert float(t.median()) == pytest.approx(0.2 + 0.8 * float(torch.sigmoid(torch.tensor(1.0))), abs=0.01)
