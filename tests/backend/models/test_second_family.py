"""What the flows of TRELLIS.2 do that those of TRELLIS do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.models.latent_flow import LatentFlow
from backend.models.layers import LayerNorm32
from backend.models.structure_flow import StructureFlow
from backend.sparse.tensor import SparseTensor
from tests.backend.golden import assert_close, load_case
from tests.fakes.tiny_trellis2 import OF_THE_FAMILY

OPTIONS: dict[str, Any] = OF_THE_FAMILY | {
    "in_channels": 8,
    "model_channels": 32,
    "cond_channels": 16,
    "out_channels": 8,
    "num_blocks": 2,
    "num_heads": 2,
}


def keys(network: nn.Module) -> set[str]:
    return {key for key in network.state_dict() if "blocks.1" not in key}


def test_the_arguments_not_the_name_say_which_family_a_flow_is_of() -> None:
    """Absolute positions are possible in both; a modulation of its own has a block of the second alone."""
    second = StructureFlow(4, **OPTIONS)
    assert second.patch_size == 1
    assert "blocks.0.modulation" in keys(second)
    assert "pos_emb" not in keys(second)
    placed = StructureFlow(4, **OPTIONS | {"pe_mode": "ape"})
    assert keys(placed) == keys(second) | {"pos_emb"}
    first = StructureFlow(4, **OPTIONS | {"pe_mode": "ape", "initialization": None})
    assert keys(first) == keys(placed) - {"blocks.0.modulation"}
    assert first.patch_size == 2
    apart = LatentFlow(4, **OPTIONS | {"share_mod": False})
    assert "blocks.0.adaLN_modulation.1.weight" in keys(apart)
    assert "blocks.0.modulation" not in keys(apart)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("float16", torch.float16)])
def test_only_matrices_of_the_blocks_are_in_half_precision(name: str, dtype: torch.dtype) -> None:
    flow = LatentFlow(4, **OPTIONS, dtype=name)
    for key, parameter in flow.named_parameters():
        inside = key.startswith("blocks.") and "norm" not in key and "modulation" not in key
        assert parameter.dtype == (dtype if inside else torch.float32), key


def test_blocks_in_bfloat16_come_near_those_in_single_precision() -> None:
    case = load_case("t2_slat_flow", "b_texture_batch")
    x = case.voxels
    fixed = x.replace(case.inputs["concat_cond"])
    found = {}
    for dtype in ("float32", "bfloat16"):
        flow = LatentFlow(**case.config["args"], dtype=dtype).requires_grad_(False)
        flow.load_state_dict(case.weights)
        out = flow(x, case.inputs["t"], case.inputs["cond"], concat_cond=fixed).feats
        assert out.dtype == torch.float32
        found[dtype] = out
    assert_close(found["bfloat16"], found["float32"], 3e-2)
    assert not torch.equal(found["bfloat16"], found["float32"])


def test_the_last_norm_is_computed_in_the_precision_of_the_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def layer_norm(x: Tensor, *_: Any) -> Tensor:
        seen.append(x.dtype)
        return x

    monkeypatch.setattr("backend.models.latent_flow.F.layer_norm", layer_norm)
    monkeypatch.setattr(LayerNorm32, "forward", lambda _, x: x)
    monkeypatch.setattr(LayerNorm32, "modulated", lambda _, x, scale, shift: x)
    x = SparseTensor(torch.randn(2, 8), torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]]))
    LatentFlow(4, **OPTIONS, dtype="bfloat16")(x, torch.tensor([1.0]), torch.randn(1, 3, 16))
    first = OPTIONS | {"pe_mode": "ape", "initialization": None}
    LatentFlow(4, **first, dtype="bfloat16")(x, torch.tensor([1.0]), torch.randn(1, 3, 16))
    assert seen == [torch.float32, torch.bfloat16]


def test_fixed_latents_are_further_channels() -> None:
    case = load_case("t2_slat_flow", "b_texture_batch")
    flow = LatentFlow(**case.config["args"]).requires_grad_(False)
    flow.load_state_dict(case.weights)
    x, t, cond, fixed = case.voxels, case.inputs["t"], case.inputs["cond"], case.inputs["concat_cond"]
    joined = x.replace(torch.cat([x.feats, fixed], dim=1))
    assert torch.equal(flow(x, t, cond, concat_cond=x.replace(fixed)).feats, flow(joined, t, cond).feats)
    with pytest.raises(ValueError, match="expected latents"):
        flow(x, t, cond)
    elsewhere = SparseTensor(fixed, x.coords + torch.tensor([0, 1, 0, 0]))
    with pytest.raises(ValueError, match="different voxels"):
        flow(x, t, cond, concat_cond=elsewhere)


def test_arguments_that_nothing_is_known_of_are_refused() -> None:
    with pytest.raises(ValueError, match="pe_mode"):
        LatentFlow(4, **OPTIONS | {"pe_mode": "learned"})
    with pytest.raises(ValueError, match="dtype must be"):
        StructureFlow(4, **OPTIONS, dtype="int8")


def test_every_weight_of_a_block_learns() -> None:
    torch.manual_seed(0)
    flow = LatentFlow(4, **OPTIONS)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = SparseTensor(torch.randn(9, 8), torch.tensor([[0, i // 3, i % 3, 5] for i in range(9)]))

    def loss() -> Tensor:
        return flow(x, torch.tensor([300.0]), torch.randn(1, 3, 16)).feats.square().mean()

    loss().backward()
    assert [key for key, p in flow.named_parameters() if p.grad is None or not p.grad.any()] == []
