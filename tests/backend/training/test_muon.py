"""The optimizer of the blocks' matrices."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from backend.training.loop import TrainingState
from backend.training.muon import Muon, hidden_matrices, orthogonalized


def test_orthogonalized_keeps_the_singular_vectors_and_brings_the_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((12, 12), (24, 8), (8, 24)):
        matrices = torch.randn(3, rows, columns, generator=generator)
        result = orthogonalized(matrices)
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        seen = (u.mT @ result @ v.mT).abs()
        values = seen.diagonal(dim1=1, dim2=2)
        assert values.min() > 0.5
        assert values.max() < 1.3
        assert (seen - values.diag_embed()).max() < 1e-4


def test_orthogonalized_in_half_precision_does_nearly_as_well() -> None:
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    exact, rough = orthogonalized(matrices), orthogonalized(matrices.bfloat16()).float()
    assert (rough - exact).abs().max() < 0.05


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"qkv": nn.Linear(4, 12), "norm": nn.LayerNorm(4)})])
        self.out = nn.Linear(4, 4)


def test_only_matrices_inside_blocks_are_muons() -> None:
    assert hidden_matrices(Network()) == {"blocks.0.qkv.weight"}


def test_a_fused_weight_is_stepped_as_its_square_parts() -> None:
    fused = nn.Parameter(torch.zeros(12, 4))
    parts = [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)]
    gradient = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    fused.grad = gradient.clone()
    for part, g in zip(parts, gradient.split(4), strict=True):
        part.grad = g.clone() * 7  # the size of a gradient does not matter, its direction does
    for parameters in ([fused], parts):
        Muon(parameters, lr=0.1).step()
    torch.testing.assert_close(fused, torch.cat([p.detach() for p in parts]))


def test_the_rate_of_a_step_scales_both_optimizers_and_a_saved_state_goes_on_alike(tmp_path: Path) -> None:
    def step(state: TrainingState, network: Network, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for p in network.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        state.update(5e-4, 0.9)

    def made() -> tuple[Network, TrainingState]:
        torch.manual_seed(0)
        network = Network()
        return network, TrainingState(network, 1e-3, 0.01, (0.9, 0.99), matrix_rate=0.02)

    network, state = made()
    step(state, network, 1)
    assert [group["lr"] for o in state.optimizers for group in o.param_groups] == [5e-4, 0.01]
    state.save(tmp_path / "state.safetensors")
    step(state, network, 2)

    again, restored = made()
    restored.restore(tmp_path / "state.safetensors")
    assert restored.step == 1
    step(restored, again, 2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
