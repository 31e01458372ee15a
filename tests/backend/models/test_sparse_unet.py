"""The sparse VAE of TRELLIS.2: its decoders with and without masks, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from backend.models import sparse_unet
from backend.models.dual_grid_vae import DualGridDecoder, DualGridEncoder, encoder_input
from backend.models.sparse_unet import SparseConvNeXtBlock, SparseUnetDecoder
from backend.sparse.tensor import SparseTensor
from tests.backend.golden import assert_close, load_case
from tests.backend.sparse.test_sparse import random_tensor

SIZES: dict[str, Any] = {"model_channels": [16, 8, 8], "latent_channels": 8, "num_blocks": [1, 1, 0]}


def random(network: nn.Module) -> Any:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def z() -> SparseTensor:
    return random_tensor((20, 10), 8)


def test_the_finest_voxels_are_those_that_a_decoder_has_features_on(z: SparseTensor) -> None:
    decoder = random(DualGridDecoder(24, **SIZES)).requires_grad_(False)
    decoded = decoder(z)
    assert 0 < len(decoded.features.coords) < 64 * 30
    assert torch.equal(decoder.finest(z).coords, decoded.features.coords)


def test_another_decoder_splits_as_the_masks_say(z: SparseTensor) -> None:
    shape = random(DualGridDecoder(24, **SIZES)).requires_grad_(False)(z)
    told = random(SparseUnetDecoder(6, **SIZES, pred_subdiv=False)).requires_grad_(False)
    features = told(z, shape.masks).features
    assert torch.equal(features.coords, shape.features.coords)
    assert features.feats.shape[1] == 6
    with pytest.raises(ValueError, match="has to be told"):
        told(z)
    with pytest.raises(ValueError, match="1 masks for 2 levels"):
        told(z, shape.masks[:1])
    with pytest.raises(ValueError, match="a mask of the children"):
        told(z, shape.masks[::-1])


def test_a_guided_decoder_says_what_it_would_have_kept(z: SparseTensor) -> None:
    decoder = random(DualGridDecoder(24, **SIZES)).requires_grad_(False)
    alone = decoder(z)
    features, logits = decoder.guided(z, alone.masks)
    assert torch.equal(features.feats, alone.features.feats)
    assert [torch.equal(one > 0, mask) for one, mask in zip(logits, alone.masks, strict=True)] == [True, True]
    whole = decoder.guided(z, [torch.ones(30, 8, dtype=torch.bool), torch.ones(240, 8, dtype=torch.bool)])
    assert len(whole[0].feats) == 64 * 30
    assert torch.equal(whole[1][0], logits[0])


def test_an_mlp_in_slabs_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_tensor((60, 40), 8)
    block = random(SparseConvNeXtBlock(8)).requires_grad_(False)
    with torch.no_grad():
        whole = block(x).feats
        monkeypatch.setattr(sparse_unet, "_INNER_ELEMENTS", 7 * 32)
        assert_close(block(x).feats, whole, 1e-6)


def test_half_precision_leaves_norms_and_the_outer_layers(z: SparseTensor) -> None:
    decoder = DualGridDecoder(24, **SIZES, use_fp16=True)
    for key, parameter in decoder.named_parameters():
        inside = key.startswith("blocks.") and "norm" not in key
        assert parameter.dtype == (torch.float16 if inside else torch.float32), key
    features = random(decoder)(z).features
    assert features.dtype == torch.float32


def test_decoders_and_encoders_learn_in_every_parameter(z: SparseTensor) -> None:
    decoder = random(DualGridDecoder(24, **SIZES))
    decoder(z).features.feats.square().mean().backward()
    silent = [key for key, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    # Which children are kept is not differentiable: training adds a loss on the logits.
    assert all("to_subdiv" in key for key in silent)
    encoder = random(DualGridEncoder([8, 8, 16], 4, [1, 0, 1]))
    x = random_tensor((60, 40), 6)
    encoder(x, return_raw=True)[1].feats.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())


def test_an_encoder_samples_the_posterior_it_reports() -> None:
    case = load_case("t2_shape_enc", "b_batch_of_two")
    encoder = DualGridEncoder(**case.config["args"]).requires_grad_(False)
    encoder.load_state_dict(case.weights)
    x = SparseTensor(encoder_input(case.inputs["vertices"], case.inputs["flags"]), case.inputs["coords"])
    torch.manual_seed(7)
    z, mean, logvar = encoder(x, sample_posterior=True, return_raw=True)
    torch.manual_seed(7)
    assert torch.equal(z.feats, mean.feats + torch.exp(0.5 * logvar.feats) * torch.randn_like(mean.feats))


@pytest.mark.parametrize("margin", [0.5, 0.1])
def test_vertices_leave_their_voxels_by_the_margin_at_most(margin: float) -> None:
    decoder = DualGridDecoder(24, **SIZES, voxel_margin=margin)
    features = torch.tensor([[-1e3, 0.0, 1e3, -1.0, 0.0, 1.0, 0.0]])
    grid = decoder.dual_grid(features)
    assert_close(grid.vertices, torch.tensor([[-margin, 0.5, 1 + margin]]), 1e-6)
    assert grid.crossed.tolist() == [[False, False, True]]
    assert_close(grid.weights, torch.tensor([2.0]).log(), 1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block_type": ["SparseResBlock3d"] * 3}, "block_type must be"),
        ({"up_block_type": ["SparseResBlockUpsample3d"] * 2}, "up_block_type must be"),
        ({"block_args": [{"use_checkpoint": True}, {"mlp_ratio": 2.0}]}, "block_args with mlp_ratio"),
        ({"num_blocks": [1, 1]}, "as many num_blocks"),
        ({"model_channels": [16, 9, 8]}, "cannot be split"),
        ({"model_channels": [12, 8, 8]}, "cannot be split"),
        ({"voxel_margin": 0.7}, "voxel_margin"),
    ],
)
def test_what_is_not_known_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DualGridDecoder(24, **SIZES | options)


def test_an_encoder_needs_channels_that_eight_voxels_fill() -> None:
    with pytest.raises(ValueError, match="cannot be joined"):
        DualGridEncoder([8, 12], 4, [0, 0])
