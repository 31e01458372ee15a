"""What the latent networks do beside the reference's figures, which `test_goldens` holds them to."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentEncoder, LatentMeshDecoder
from backend.random_weights import fill_by_rule
from backend.sparse.tensor import SparseTensor
from tests.backend.golden import assert_close, load_case

Network = TypeVar("Network", bound=nn.Module)


def loaded(network: Network, weights: dict[str, Tensor]) -> Network:
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def test_batch_items_do_not_see_each_other() -> None:
    case = load_case("slat_flow", "c_no_io_share_mod")
    args = {**case.config["args"], "io_block_channels": [16], "share_mod": True}
    torch.manual_seed(0)
    flow = LatentFlow(**args).eval().requires_grad_(False)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, t, cond = case.voxels, torch.tensor([100.0, 500.0, 900.0]), case.inputs["cond"]
    together = flow(x, t, cond)
    for item in range(3):
        alone = flow(x[item], t[item : item + 1], cond[item : item + 1])
        assert_close(together[item].feats, alone.feats)


def test_two_levels_of_input_and_output_blocks() -> None:
    """The U may be deeper than the published one; its rows come back in the order they were given."""
    case = load_case("fp16_casts", "slat_flow")
    args = {**case.config["args"], "patch_size": 4, "io_block_channels": [8, 16]}
    flow = LatentFlow(**args).requires_grad_(False)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = case.voxels
    order = torch.randperm(len(x.feats), generator=torch.Generator().manual_seed(0))
    velocity = flow(x, case.inputs["t"], case.inputs["cond"])
    shuffled = flow(SparseTensor(x.feats[order], x.coords[order]), case.inputs["t"], case.inputs["cond"])
    assert velocity.feats.abs().max() > 0
    assert_close(shuffled.feats, velocity.feats[order])


def test_patch_size_must_fit_the_levels() -> None:
    case = load_case("fp16_casts", "slat_flow")
    with pytest.raises(ValueError, match="patch_size"):
        LatentFlow(**{**case.config["args"], "patch_size": 4})


def test_derivatives_of_the_flow_in_forward_and_reverse_mode_agree() -> None:
    """Velocity matching needs the derivative along a direction: forward mode, or backward of backward."""
    case = load_case("fp16_casts", "slat_flow")
    flow = loaded(LatentFlow(**case.config["args"]), case.weights)
    x, cond, t = case.voxels, case.inputs["cond"], case.inputs["t"]
    along = torch.randn(x.feats.shape, generator=torch.Generator().manual_seed(0)), torch.ones_like(t)

    def velocity(feats: Tensor, time: Tensor) -> Tensor:
        return flow(x.replace(feats), time, cond).feats

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        forward = torch.func.jvp(velocity, (x.feats, t), along)[1]
        _, reverse = torch.autograd.functional.jvp(velocity, (x.feats, t), along)
    assert_close(forward, reverse, 1e-4)


def test_latent_encoder_samples_the_posterior_it_reports() -> None:
    case = load_case("slat_enc", "a_swin8")
    encoder = loaded(LatentEncoder(**case.config["args"]), case.weights)
    torch.manual_seed(7)
    z, mean, logvar = encoder(case.voxels, sample_posterior=True, return_raw=True)
    torch.manual_seed(7)
    assert torch.equal(z.feats, mean.feats + torch.exp(0.5 * logvar.feats) * torch.randn_like(mean.feats))


def test_latent_mesh_decoder_learns_in_every_parameter() -> None:
    case = load_case("slat_dec_mesh", "a_color")
    decoder = LatentMeshDecoder(**case.config["args"])
    fill_by_rule(decoder, case.config["rule_salt"], case.config["rule_s"])
    decoder(case.voxels).feats.square().mean().backward()
    silent = [
        key for key, parameter in decoder.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("options", [{"attn_mode": "shift_sequence"}, {"pe_mode": "rope"}, {"attn_mode": "swin"}])
def test_unsupported_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attn_mode|pe_mode"):
        LatentEncoder(resolution=8, in_channels=4, model_channels=8, latent_channels=2, num_blocks=1, **options)
