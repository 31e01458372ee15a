"""The latent networks against the reference's figures, and their keys against the published checkpoints."""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentEncoder, LatentMeshDecoder
from backend.models.sparse_layers import SparseCrossAttention, SparseSelfAttention
from backend.sparse.tensor import SparseTensor
from tests.backend.golden import FP16, GoldenCase, assert_close, assert_keys_as_published, load_case

Network = TypeVar("Network", bound=nn.Module)


def loaded(network: Network, weights: dict[str, Tensor]) -> Network:
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def latents(case: GoldenCase) -> SparseTensor:
    return SparseTensor(case.inputs["feats"], case.inputs["coords"])


def drawn_weights(network: nn.Module, salt: str, scale: float) -> dict[str, Tensor]:
    """Weights that need no file: every parameter from a generator of its own, seeded by its name."""
    weights = {}
    for key, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32((salt + key).encode()))
        draw = torch.randn(parameter.shape, generator=generator)
        is_gain = key.endswith(".weight") and parameter.ndim == 1
        weights[key] = 1 + 0.02 * draw if is_gain else scale * draw
    return weights


@pytest.mark.parametrize(
    ("network", "keymap"),
    [
        (LatentFlow, "slat_flow_img_dit_L_64l8p2_fp16"),
        (LatentEncoder, "slat_enc_swin8_B_64l8_fp16"),
        (LatentMeshDecoder, "slat_dec_mesh_swin8_B_64l8m256c_fp16"),
    ],
)
def test_full_size_networks_have_the_published_keys(network: type[nn.Module], keymap: str) -> None:
    assert_keys_as_published(network, keymap)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {}),
        ("full_rms", {"qk_rms_norm": True}),
        ("full_nobias", {"qkv_bias": False}),
        ("win4_shift2", {"window_size": 4, "shift": 2, "qk_rms_norm": True}),
        ("win8_shift0", {"window_size": 8}),
    ],
)
def test_self_attention(name: str, options: dict[str, Any]) -> None:
    case = load_case("sparse_attention", "a")
    weights = {k.removeprefix(f"{name}."): v for k, v in case.weights.items() if k.startswith(f"{name}.")}
    attention = loaded(SparseSelfAttention(32, 4, **options), weights)
    assert_close(attention(latents(case)).feats, case.outputs[name])


def test_cross_attention() -> None:
    case = load_case("sparse_attention", "a")
    weights = {k.removeprefix("cross."): v for k, v in case.weights.items() if k.startswith("cross.")}
    attention = loaded(SparseCrossAttention(32, 20, 4), weights)
    assert_close(attention(latents(case), case.inputs["context"]).feats, case.outputs["cross"])


@pytest.mark.parametrize("name", ["b_sorted_single", "c_no_io_share_mod"])
def test_latent_flow(name: str) -> None:
    case = load_case("slat_flow", name)
    flow = loaded(LatentFlow(**case.config["args"]), case.weights)
    velocity = flow(latents(case), case.inputs["t"], case.inputs["cond"])
    assert_close(velocity.feats, case.outputs["out_feats"])


def test_latent_flow_in_half_precision() -> None:
    case = load_case("slat_flow", "b_sorted_single")
    flow = loaded(LatentFlow(**case.config["args"], use_fp16=True), case.weights)
    velocity = flow(latents(case), case.inputs["t"], case.inputs["cond"])
    assert velocity.dtype == torch.float32
    assert_close(velocity.feats, case.outputs["out_feats"], FP16)


def test_batch_items_do_not_see_each_other() -> None:
    case = load_case("slat_flow", "c_no_io_share_mod")
    args = {**case.config["args"], "io_block_channels": [16], "share_mod": True}
    torch.manual_seed(0)
    flow = LatentFlow(**args).eval().requires_grad_(False)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, t, cond = latents(case), torch.tensor([100.0, 500.0, 900.0]), case.inputs["cond"]
    together = flow(x, t, cond)
    for item in range(3):
        alone = flow(x[item], t[item : item + 1], cond[item : item + 1])
        assert_close(together[item].feats, alone.feats)


def test_two_levels_of_input_and_output_blocks() -> None:
    """The U may be deeper than the published one; its rows come back in the order they were given."""
    case = load_case("slat_flow", "b_sorted_single")
    args = {**case.config["args"], "patch_size": 4, "io_block_channels": [8, 16]}
    flow = LatentFlow(**args).requires_grad_(False)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = latents(case)
    order = torch.randperm(len(x.feats), generator=torch.Generator().manual_seed(0))
    velocity = flow(x, case.inputs["t"], case.inputs["cond"])
    shuffled = flow(SparseTensor(x.feats[order], x.coords[order]), case.inputs["t"], case.inputs["cond"])
    assert velocity.feats.abs().max() > 0
    assert_close(shuffled.feats, velocity.feats[order])


def test_patch_size_must_fit_the_levels() -> None:
    case = load_case("slat_flow", "b_sorted_single")
    with pytest.raises(ValueError, match="patch_size"):
        LatentFlow(**{**case.config["args"], "patch_size": 4})


def test_derivatives_of_the_flow_in_forward_and_reverse_mode_agree() -> None:
    """Velocity matching needs the derivative along a direction: forward mode, or backward of backward."""
    case = load_case("slat_flow", "b_sorted_single")
    flow = loaded(LatentFlow(**case.config["args"]), case.weights)
    x, cond, t = latents(case), case.inputs["cond"], case.inputs["t"]
    along = torch.randn(x.feats.shape, generator=torch.Generator().manual_seed(0)), torch.ones_like(t)

    def velocity(feats: Tensor, time: Tensor) -> Tensor:
        return flow(x.replace(feats), time, cond).feats

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        forward = torch.func.jvp(velocity, (x.feats, t), along)[1]
        _, reverse = torch.autograd.functional.jvp(velocity, (x.feats, t), along)
    assert_close(forward, reverse, 1e-4)


def test_latent_encoder() -> None:
    case = load_case("slat_enc", "a_swin8")
    encoder = loaded(LatentEncoder(**case.config["args"]), case.weights)
    z, mean, logvar = encoder(latents(case), return_raw=True)
    assert torch.equal(z.feats, mean.feats)
    assert_close(mean.feats, case.outputs["mean"])
    assert_close(logvar.feats, case.outputs["logvar"])


def test_latent_encoder_samples_the_posterior_it_reports() -> None:
    case = load_case("slat_enc", "a_swin8")
    encoder = loaded(LatentEncoder(**case.config["args"]), case.weights)
    torch.manual_seed(7)
    z, mean, logvar = encoder(latents(case), sample_posterior=True, return_raw=True)
    torch.manual_seed(7)
    assert torch.equal(z.feats, mean.feats + torch.exp(0.5 * logvar.feats) * torch.randn_like(mean.feats))


def test_latent_mesh_decoder() -> None:
    case = load_case("slat_dec_mesh", "a_color")
    decoder = LatentMeshDecoder(**case.config["args"])
    loaded(decoder, drawn_weights(decoder, case.config["rule_salt"], case.config["rule_s"]))
    raw = decoder(latents(case))
    assert torch.equal(raw.coords, case.outputs["raw_coords"])
    assert_close(raw.feats[::2], case.outputs["raw_feats.every_2nd_row"])


def test_latent_mesh_decoder_learns_in_every_parameter() -> None:
    case = load_case("slat_dec_mesh", "a_color")
    decoder = LatentMeshDecoder(**case.config["args"])
    decoder.load_state_dict(drawn_weights(decoder, case.config["rule_salt"], case.config["rule_s"]))
    decoder(latents(case)).feats.square().mean().backward()
    silent = [
        key for key, parameter in decoder.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("options", [{"attn_mode": "shift_sequence"}, {"pe_mode": "rope"}, {"attn_mode": "swin"}])
def test_unsupported_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attn_mode|pe_mode"):
        LatentEncoder(resolution=8, in_channels=4, model_channels=8, latent_channels=2, num_blocks=1, **options)
