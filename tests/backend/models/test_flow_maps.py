"""Flow maps as networks: they begin as the flow they are made from, see two times, and leave flows as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.models.latent_flow import LatentFlow
from backend.models.structure_flow import StructureFlow
from backend.sparse.tensor import SparseTensor
from backend.training.distillation.mdt import directional_derivative

WIDTHS: dict[str, Any] = {"model_channels": 16, "cond_channels": 8, "num_blocks": 2, "num_heads": 2, "patch_size": 2}
DENSE: dict[str, Any] = {"resolution": 4, "in_channels": 2, "out_channels": 2, "share_mod": True, **WIDTHS}
SPARSE: dict[str, Any] = {**DENSE, "resolution": 8, "num_io_res_blocks": 1, "io_block_channels": [8]}
KINDS: dict[str, tuple[type[StructureFlow | LatentFlow], dict[str, Any]]] = {
    "dense": (StructureFlow, DENSE),
    "sparse": (LatentFlow, SPARSE),
}
T, TO, W = torch.tensor([1000.0, 600.0]), torch.tensor([500.0, 0.0]), torch.tensor([0.0, 3.0])
COND = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))


def made(kind: str, **more: Any) -> StructureFlow | LatentFlow:
    """A network none of whose weights are zero."""
    network, args = KINDS[kind]
    flow = network(**args, **more)
    generator = torch.Generator().manual_seed(0)
    for p in flow.parameters():
        nn.init.normal_(p, std=0.2, generator=generator)
    return flow


def velocity(flow: StructureFlow | LatentFlow, *times: Tensor | None) -> Tensor:
    """Of two samples, at T and perhaps more."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(flow, StructureFlow):
        return flow(torch.randn(2, 2, 4, 4, 4, generator=generator), T, COND, *times)
    coords = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4], [1, 5, 5, 5]], dtype=torch.int32)
    state = SparseTensor(torch.randn(3, 2, generator=generator), coords, batch_size=2)
    features: Tensor = flow(state, T, COND, *times).feats
    return features


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_begins_as_the_flow_that_it_was(kind: str) -> None:
    flow = made(kind)
    expected, keys = velocity(flow), set(flow.state_dict())
    was = flow.flow_map
    flow.become_flow_map()
    assert (was, flow.flow_map) == (False, True)
    assert torch.equal(velocity(flow, TO, W), expected)
    added = set(flow.state_dict()) - keys
    assert added == {f"map_embedder.mlp.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")}
    again = made(kind)
    again.become_flow_map()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in flow.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_says_whether_it_is_a_map(kind: str) -> None:
    assert "map_embedder" not in str(made(kind).state_dict().keys())
    flow_map = made(kind, flow_map=True)
    assert flow_map.flow_map
    flow = made(kind)
    flow.become_flow_map()
    assert flow.state_dict().keys() == flow_map.state_dict().keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_sees_its_second_time_and_the_guidance(kind: str) -> None:
    flow = made(kind, flow_map=True)
    first = velocity(flow, TO, W)
    for to, guidance in ((TO + 1, W), (TO, W + 1)):
        other = velocity(flow, to, guidance)
        assert (first - other).abs().max() > 1e-4
    with pytest.raises(ValueError, match="needs a second time and the guidance"):
        velocity(flow)
    with pytest.raises(ValueError, match="a flow has one time"):
        velocity(made(kind), TO, W)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_by_the_second_time(kind: str) -> None:
    flow, step = made(kind, flow_map=True), 5.0  # of 1000
    found = directional_derivative(lambda to: velocity(flow, to, W), (TO + 100,), (torch.ones(2),))
    between = (velocity(flow, TO + 100 + step, W) - velocity(flow, TO + 100 - step, W)) / (2 * step)
    assert found.abs().max() > 1e-5
    torch.testing.assert_close(found, between, rtol=2e-2, atol=1e-4)  # in fp32
