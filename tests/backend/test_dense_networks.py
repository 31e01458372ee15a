"""The dense networks against the reference's figures, and their keys against the published checkpoints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backend.models import layers
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder, StructureEncoder
from tests.backend.golden import FP16, GoldenCase, assert_close, assert_keys_as_published, load_case


@pytest.fixture(scope="module")
def dense_ops() -> GoldenCase:
    return load_case("dense_ops", "b")


def loaded(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    network.load_state_dict(weights)
    return network.eval()


@pytest.mark.parametrize(
    ("network", "keymap"),
    [
        (StructureEncoder, "ss_enc_conv3d_16l8_fp16"),
        (StructureDecoder, "ss_dec_conv3d_16l8_fp16"),
        (StructureFlow, "ss_flow_img_dit_L_16l8_fp16"),
    ],
)
def test_full_size_networks_have_the_published_keys(network: type[nn.Module], keymap: str) -> None:
    assert_keys_as_published(network, keymap)


@pytest.mark.parametrize("channels", [33, 256])
def test_timestep_embedding(dense_ops: GoldenCase, channels: int) -> None:
    embedding = layers.timestep_embedding(dense_ops.inputs["t"], channels)
    assert_close(embedding, dense_ops.outputs[f"timestep_embedding_{channels}"], 1e-6)


@pytest.mark.parametrize("channels", [96, 100])
def test_position_embedding(dense_ops: GoldenCase, channels: int) -> None:
    embedding = layers.AbsolutePositionEmbedder(channels)(dense_ops.inputs["coords"])
    assert_close(embedding, dense_ops.outputs[f"abs_pos_embed_{channels}"], 1e-6)


def test_pixel_shuffle_moves_values_as_the_reference_does(dense_ops: GoldenCase) -> None:
    shuffled = layers.pixel_shuffle_3d(dense_ops.inputs["pixel_shuffle_x"], 2)
    assert torch.equal(shuffled, dense_ops.outputs["pixel_shuffle_3d"])


def test_pixel_unshuffle_cuts_patches_and_shuffle_joins_them(dense_ops: GoldenCase) -> None:
    volume, size = dense_ops.inputs["patchify_x"], dense_ops.config["params"]["patch_size"]
    patches = layers.pixel_unshuffle_3d(volume, size)
    assert torch.equal(patches, dense_ops.outputs["patchify"])
    assert torch.equal(layers.pixel_shuffle_3d(patches, size), volume)


def test_multi_head_rms_norm(dense_ops: GoldenCase) -> None:
    heads, head_dim = dense_ops.config["params"]["rms_heads_dim"]
    norm = loaded(layers.MultiHeadRMSNorm(head_dim, heads), {"gamma": dense_ops.inputs["rms_gamma"]})
    assert_close(norm(dense_ops.inputs["rms_x"]), dense_ops.outputs["multihead_rms_norm"])


@pytest.mark.parametrize(
    ("norm", "output"),
    [(layers.ChannelLayerNorm32(32), "channel_layer_norm"), (layers.GroupNorm32(8, 32), "group_norm_8")],
)
def test_affine_norms(dense_ops: GoldenCase, norm: nn.Module, output: str) -> None:
    weights = {name: dense_ops.inputs[f"norm_{name}"] for name in ("weight", "bias")}
    assert_close(loaded(norm, weights)(dense_ops.inputs["norm_x"]), dense_ops.outputs[output])


def test_norms_compute_half_precision_inputs_in_single_precision() -> None:
    x = 200 * torch.randn(4, 64, generator=torch.Generator().manual_seed(0))  # squares overflow fp16
    normed = layers.LayerNorm32(64)(x.half())
    assert normed.dtype == torch.float16
    assert_close(normed.float(), layers.LayerNorm32(64)(x.half().float()), 1e-3)


@torch.no_grad()
def test_structure_encoder() -> None:
    case = load_case("ss_enc", "b_group")
    encoder = loaded(StructureEncoder(**case.config["args"]), case.weights)
    z, mean, logvar = encoder(case.inputs["x"], return_raw=True)
    assert_close(mean, case.outputs["mean"])
    assert_close(logvar, case.outputs["logvar"])
    assert torch.equal(z, mean)
    assert torch.equal(encoder(case.inputs["x"]), mean)


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
def test_structure_decoder() -> None:
    case = load_case("fp16_casts", "ss_dec")
    decoder = loaded(StructureDecoder(**case.config["args"]), case.weights)
    assert_close(decoder(case.inputs["z"]), case.outputs["out_fp32_model"])


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "case", "output"),
    [("fp16_casts", "ss_flow", "out_fp32_model"), ("ss_flow", "b_share_mod_patch2", "out")],
)
def test_structure_flow(family: str, case: str, output: str) -> None:
    golden = load_case(family, case)
    flow = loaded(StructureFlow(**golden.config["args"]), golden.weights)
    assert_close(flow.get_buffer("pos_emb"), golden.weights["pos_emb"], 1e-6)
    assert_close(flow(**golden.inputs), golden.outputs[output])


def dtype_name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


@torch.no_grad()
@pytest.mark.parametrize(("network", "name"), [(StructureDecoder, "ss_dec"), (StructureFlow, "ss_flow")])
def test_half_precision_casts_where_the_reference_does(network: type[nn.Module], name: str) -> None:
    case = load_case("fp16_casts", name)
    model = loaded(network(**case.config["args"], use_fp16=True), case.weights)
    halves = {key for key, value in model.state_dict().items() if value.dtype == torch.float16}
    assert halves == set(case.config["half_parameters"])

    trace: dict[str, list[object]] = {}
    for path, module in model.named_modules():

        def record(_: nn.Module, args: tuple[Tensor, ...], out: Tensor, path: str = path or "<model>") -> None:
            trace.setdefault(path, [[dtype_name(x) for x in args], dtype_name(out)])

        module.register_forward_hook(record)
    output = model(*(case.inputs[key] for key in ("x", "z", "t", "cond") if key in case.inputs))

    expected = case.config["module_dtype_trace_in_out"]
    # Identities stand for what a configuration leaves out, and differ: a residual block here has none.
    identities = {path for path, module in model.named_modules() if isinstance(module, nn.Identity)}
    assert {path: dtypes for path, dtypes in trace.items() if path not in identities} == {
        path: dtypes for path, dtypes in expected.items() if not path.endswith("skip_connection")
    }
    assert_close(output, case.outputs["out_fp16_model"], FP16)


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
        StructureFlow(4, 4, 24, 6, 4, num_blocks=1, num_heads=2, pe_mode="rope")
    with pytest.raises(ValueError, match="patch_size"):
        StructureFlow(5, 4, 24, 6, 4, num_blocks=1, num_heads=2, patch_size=2)
    with pytest.raises(ValueError, match="norm_type"):
        StructureDecoder(1, 4, 1, [16, 8], norm_type="batch")
    flow = StructureFlow(4, 4, 24, 6, 4, num_blocks=1, num_heads=2, patch_size=1)
    with pytest.raises(ValueError, match="expected latents"):
        flow(torch.zeros(1, 4, 8, 8, 8), torch.zeros(1), torch.zeros(1, 5, 6))
