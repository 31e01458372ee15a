"""A complete model folder in the published layout, with tiny random networks, made in a second.

The networks are the real classes. Their weights are random except where an object has to come out: the structure
decoder answers with a noisy blob that keeps off the border of the grid, the mesh decoder with a closed surface around
it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from backend.models.latent_vae import LatentMeshDecoder
from backend.models.structure_vae import StructureDecoder
from backend.weights.checkpoints import NETWORKS

RESOLUTION = 8  # of the structure
IMAGE_SIZE = 28
LATENT_CHANNELS = 8
TOKEN_CHANNELS = 24

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "image_encoder": (
        "DinoVisionTransformer",
        {
            "img_size": IMAGE_SIZE,
            "patch_size": 14,
            "embed_dim": TOKEN_CHANNELS,
            "depth": 1,
            "num_heads": 2,
            "num_register_tokens": 2,
        },
    ),
    "structure_flow": (
        "SparseStructureFlowModel",
        {
            "resolution": RESOLUTION // 2,
            "in_channels": LATENT_CHANNELS,
            "out_channels": LATENT_CHANNELS,
            "model_channels": 24,
            "cond_channels": TOKEN_CHANNELS,
            "num_blocks": 2,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 1,
            "qk_rms_norm": True,
            "use_fp16": True,  # as published; the CPU has to ignore it
        },
    ),
    "structure_decoder": (
        "SparseStructureDecoder",
        {
            "out_channels": 1,
            "latent_channels": LATENT_CHANNELS,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [16, 8],
        },
    ),
    "structure_encoder": (
        "SparseStructureEncoder",
        {
            "in_channels": 1,
            "latent_channels": LATENT_CHANNELS,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [8, 16],
        },
    ),
    "latent_flow": (
        "ElasticSLatFlowModel",
        {
            "resolution": RESOLUTION,
            "in_channels": LATENT_CHANNELS,
            "out_channels": LATENT_CHANNELS,
            "model_channels": 48,
            "cond_channels": TOKEN_CHANNELS,
            "num_blocks": 2,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 2,
            "num_io_res_blocks": 1,
            "io_block_channels": [32],
            "qk_rms_norm": True,
        },
    ),
    "mesh_decoder": (
        "ElasticSLatMeshDecoder",
        {
            "resolution": RESOLUTION,
            "model_channels": 256,  # the least that the decoder's 32 groups allow
            "latent_channels": LATENT_CHANNELS,
            "num_blocks": 1,
            "num_heads": 4,
            "mlp_ratio": 1,
            "attn_mode": "swin",
            "window_size": 8,
            "representation_config": {"use_color": True},
        },
    ),
}


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a model folder whose weights follow from ``seed``, as fp16 safetensors. Returns ``folder``."""
    (folder / "ckpts").mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for name, (kind, args) in sorted(CONFIGS.items(), key=lambda config: config[0] == "structure_encoder"):
        network = NETWORKS[kind](**{key: value for key, value in args.items() if key != "use_fp16"})
        randomise(network, generator)
        if name == "structure_decoder":
            answer_with_a_blob(network, generator)
        if name == "mesh_decoder":
            _answer_with_a_shell(network)
        weights = {
            # The position embedding is a computed buffer, published in fp32.
            key: tensor.contiguous() if key == "pos_emb" else tensor.half().contiguous()
            for key, tensor in network.state_dict().items()
        }
        save_file(weights, folder / "ckpts" / f"{name}.safetensors")
        (folder / "ckpts" / f"{name}.json").write_text(json.dumps({"name": kind, "args": args}), "utf-8")
    (folder / "pipeline.json").write_text(json.dumps(_pipeline()), "utf-8")
    return folder


def _pipeline() -> dict[str, Any]:
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 3, "cfg_strength": 2.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    statistics = {"mean": [0.1] * LATENT_CHANNELS, "std": [1.1] * LATENT_CHANNELS}
    return {
        "name": "TrellisImageTo3DPipeline",
        "args": {
            "models": {
                "sparse_structure_decoder": "ckpts/structure_decoder",
                "sparse_structure_flow_model": "ckpts/structure_flow",
                "slat_decoder_mesh": "ckpts/mesh_decoder",
                "slat_flow_model": "ckpts/latent_flow",
            },
            "sparse_structure_sampler": sampler,
            "slat_sampler": sampler,
            "sparse_structure_normalization": statistics,
            "slat_normalization": statistics,
            "image_cond_model": "ckpts/image_encoder",
        },
    }


@torch.no_grad()
def randomise(network: nn.Module, generator: torch.Generator) -> None:
    """Gains near 1, small biases, matrices that keep the scale of what they multiply; nothing stays at zero."""
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if (parameter.ndim == 1 and name.endswith("weight")) or name.endswith("gamma"):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight"):
            parameter.copy_(noise / (parameter.numel() / parameter.shape[0]) ** 0.5)
        else:
            parameter.copy_(0.1 * noise)


@torch.no_grad()
def answer_with_a_blob(decoder: nn.Module, generator: torch.Generator) -> None:
    """Let the last convolution sum up its neighbourhood, so that voxels at the border, which have fewer neighbours, are
    empty, and choose its bias such that about four fifths of the others are occupied."""
    assert isinstance(decoder, StructureDecoder)
    last = cast(nn.Conv3d, decoder.out_layer[-1])
    assert last.bias is not None
    last.weight.mul_(0.05).add_(1 / 27)
    last.bias.zero_()
    logits = decoder(torch.randn(1, LATENT_CHANNELS, *[RESOLUTION // 2] * 3, generator=generator))
    last.bias.sub_(logits[0, 0, 1:-1, 1:-1, 1:-1].quantile(0.2))


@torch.no_grad()
def _answer_with_a_shell(decoder: nn.Module) -> None:
    """Let all corners of occupied voxels be inside, so that the surface closes around them."""
    assert isinstance(decoder, LatentMeshDecoder)
    decoder.out_layer.weight.mul_(0.2)
    decoder.out_layer.bias[:8] = -1.0
