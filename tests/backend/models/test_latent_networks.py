"""What the latent networks do beside the reference's figures, which ``test_goldens`` holds them to."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.models.gaussians import Gaussians, hammersley
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import (
    LatentEncoder,
    LatentGaussianDecoder,
    LatentMeshDecoder,
    LatentRadianceFieldDecoder,
)
from backend.sparse.tensor import SparseTensor
from backend.weights.random_weights import fill_by_rule
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


def gaussian_decoder(**config: Any) -> LatentGaussianDecoder:
    args = load_case("slat_dec_gs", "b_exp_noperturb").config["args"]
    return LatentGaussianDecoder(**{**args, "representation_config": {**args["representation_config"], **config}})


@pytest.mark.parametrize("use_fp16", [False, True])
def test_an_untrained_decoder_spreads_gaussians_evenly_in_every_voxel(use_fp16: bool) -> None:
    decoder = gaussian_decoder(perturb_offset=True, voxel_size=1.5)
    if use_fp16:
        decoder.convert_to_fp16()
    x = load_case("slat_dec_gs", "b_exp_noperturb").voxels
    (item,) = decoder.gaussians(decoder(x))
    assert item.raw_xyz.dtype == torch.float32
    offset = (item.xyz + 0.5).view(len(x.feats), 4, 3) * decoder.resolution - x.coords[:, None, 1:] - 0.5
    assert_close(offset, (hammersley(4).float() - 0.5).expand_as(offset), 1e-5)
    assert_close(item.scaling, torch.full_like(item.scaling, math.hypot(0.02, 0.0009)), 1e-6)
    assert_close(item.opacity, torch.full_like(item.opacity, 0.3), 1e-6)
    assert_close(item.covariance[:, [0, 3, 5]], item.scaling.square(), 1e-5)
    assert not item.covariance[:, [1, 2, 4]].any()


def test_a_turned_gaussian_lies_along_its_axis() -> None:
    turn = torch.tensor([[math.cos(math.pi / 4) - 1, 0.0, 0.0, math.sin(math.pi / 4)]])  # x to y
    raw = torch.log(torch.tensor([[3.0, 1.0, 1.0]]))
    zero = torch.zeros(1, 3)
    gaussians = Gaussians(zero, zero[:, None], raw, turn, zero[:, :1], 1.0, 0.5, 0.0, "exp")
    assert_close(gaussians.covariance, torch.tensor([[1.0, 0.0, 0.0, 9.0, 0.0, 1.0]]), 1e-6)
    assert gaussians.opacity.item() == 0.5


def test_what_a_representation_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="lacks lr, voxel_size, perturb_offset"):
        LatentGaussianDecoder(8, 24, 4, {"num_gaussians": 2}, num_blocks=1, window_size=4)
    with pytest.raises(ValueError, match="lacks dim"):
        LatentRadianceFieldDecoder(8, 24, 4, {"rank": 2}, num_blocks=1, window_size=4)
    decoder = gaussian_decoder(scaling_activation="relu")
    with pytest.raises(ValueError, match="exp, softplus"):
        decoder.gaussians(decoder(load_case("slat_dec_gs", "b_exp_noperturb").voxels))


@pytest.mark.parametrize("options", [{"attn_mode": "shift_sequence"}, {"pe_mode": "rope"}, {"attn_mode": "swin"}])
def test_unsupported_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attn_mode|pe_mode"):
        LatentEncoder(resolution=8, in_channels=4, model_channels=8, latent_channels=2, num_blocks=1, **options)
