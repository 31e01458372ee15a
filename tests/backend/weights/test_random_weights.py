"""Weights made by rule are the ones the reference figures of the full-size networks were computed with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.weights.random_weights import fill_by_rule, rule_tensor


@pytest.mark.parametrize(
    ("key", "shape", "first", "total"),
    [  # as the reference recorded them
        ("blocks.0.attn.proj.bias", (1024,), (-0.0055003494, 0.0148907201, 0.0127376793), -0.784358527),
        ("blocks.2.ls1.gamma", (1024,), (0.9898434281, 0.9819806815, 0.9734030366), 1023.619907),
        ("blocks.16.self_attn.q_rms_norm.gamma", (16, 64), (1.0002872944, 1.0264903307, 1.0077034235), 1024.545468),
        ("register_tokens", (1, 4, 1024), (0.0073084412, -0.0002787831, -0.0042893859), 0.902729692),
        ("t_embedder.mlp.2.weight", (1024, 1024), (0.0796331838, 0.0623112917, 0.1998864114), -100.989509),
    ],
)
def test_values_are_those_the_reference_used(
    key: str, shape: tuple[int, ...], first: tuple[float, ...], total: float
) -> None:
    values = rule_tensor(key, shape)
    assert values.shape == shape
    assert values.dtype == torch.float32
    assert values.flatten()[:3].tolist() == pytest.approx(first, abs=1e-6)
    assert float(values.double().sum()) == pytest.approx(total, abs=1e-2)


def test_gains_lie_around_one_whatever_the_scale() -> None:
    assert rule_tensor("norm.weight", (64,), scale=5.0).sub(1).abs().max() < 0.1
    assert rule_tensor("mlp.weight", (64, 64), scale=5.0).std() == pytest.approx(5.0, rel=0.1)


def test_a_network_is_filled_in_its_own_dtypes_and_keeps_its_buffers() -> None:
    network = nn.Sequential(nn.Linear(3, 2).half(), nn.BatchNorm1d(2))
    fill_by_rule(network, salt="s")
    filled = network.state_dict()
    assert torch.equal(filled["0.weight"], rule_tensor("0.weight", (2, 3), salt="s").half())
    assert torch.equal(filled["1.weight"], rule_tensor("1.weight", (2,), salt="s"))
    assert filled["1.running_mean"].tolist() == [0.0, 0.0]
    assert not torch.equal(rule_tensor("0.weight", (2, 3)), rule_tensor("0.weight", (2, 3), salt="s"))
