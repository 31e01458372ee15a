"""What the dense networks do beside the reference's figures, which ``test_goldens`` holds them to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backend.models import layers
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder, StructureEncoder
from tests.backend.golden import assert_close, load_case


def loaded(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    network.load_state_dict(weights)
    return network.eval()


def test_norms_compute_half_precision_inputs_in_single_precision() -> None:
    x = 200 * torch.randn(4, 64, generator=torch.Generator().manual_seed(0))  # squares overflow fp16
    normed = layers.LayerNorm32(64)(x.half())
    assert normed.dtype == torch.float16
    assert_close(normed.float(), layers.LayerNorm32(64)(x.half().float()), 1e-3)


@torch.no_grad()
def test_structure_encoder_samples_its_posterior() -> None:
    case = load_case("ss_enc", "b_group")
    encoder = loaded(StructureEncoder(**case.config["args"]), case.weights)
    torch.manual_seed(0)
    draws = encoder(case.inputs["x"].expand(200, -1, -1, -1, -1), sample_posterior=True)
    standardised = (draws - case.outputs["mean"]) / (case.outputs["logvar"] / 2).exp()
    assert standardised.mean().abs() < 0.02  # of 38,400 draws
    assert (standardised.std() - 1).abs() < 0.02


@torch.no_grad()
def test_a_half_precision_network_converts_back() -> None:
    case = load_case("fp16_casts", "ss_dec")
    decoder = StructureDecoder(**case.config["args"], use_fp16=True)
    assert decoder.dtype == torch.float16
    decoder.convert_to_fp32()
    assert decoder.dtype == torch.float32
    assert_close(loaded(decoder, case.weights)(case.inputs["z"]), case.outputs["out_fp32_model"])


def test_a_fresh_flow_predicts_zero_and_learns() -> None:
    torch.manual_seed(0)
    flow = StructureFlow(2, 4, 24, 6, 4, num_blocks=1, num_heads=2, patch_size=1)
    x, t, cond = torch.randn(3, 4, 2, 2, 2), torch.tensor([0.0, 500.0, 1000.0]), torch.randn(3, 5, 6)
    assert not flow(x, t, cond).any()
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (flow(x, t, cond) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pe_mode"):
        StructureFlow(4, 4, 24, 6, 4, num_blocks=1, num_heads=2, pe_mode="learned")
    with pytest.raises(ValueError, match="patch_size"):
        StructureFlow(5, 4, 24, 6, 4, num_blocks=1, num_heads=2, patch_size=2)
    with pytest.raises(ValueError, match="norm_type"):
        StructureDecoder(1, 4, 1, [16, 8], norm_type="batch")
    flow = StructureFlow(4, 4, 24, 6, 4, num_blocks=1, num_heads=2, patch_size=1)
    with pytest.raises(ValueError, match="expected latents"):
        flow(torch.zeros(1, 4, 8, 8, 8), torch.zeros(1), torch.zeros(1, 5, 6))
