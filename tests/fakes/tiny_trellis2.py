"""A model folder of TRELLIS.2's family with tiny random networks, made in a second.

As ``tiny_model``, whose structure decoder it shares: the structure is a blob. What the shape decoder makes of it is
noise, pieces of surface everywhere in the blob.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from backend.models.dual_grid_vae import DualGridDecoder
from backend.weights.checkpoints import NETWORKS
from tests.fakes.tiny_model import CONFIGS, LATENT_CHANNELS, RESOLUTION, TOKEN_CHANNELS, answer_with_a_blob, randomise

#: The shape's grid is four times as fine as the structure's.
LEVELS: dict[str, Any] = {"model_channels": [16, 8, 8], "latent_channels": LATENT_CHANNELS, "num_blocks": [1, 1, 0]}

#: What sets the second family's flows apart, whatever their size.
OF_THE_FAMILY: dict[str, Any] = {
    "mlp_ratio": 5.3334,
    "pe_mode": "rope",
    "share_mod": True,
    "initialization": "scaled",
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
}
FLOW: dict[str, Any] = OF_THE_FAMILY | {
    "model_channels": 24,
    "cond_channels": TOKEN_CHANNELS,
    "num_blocks": 2,
    "num_heads": 2,
    "dtype": "bfloat16",  # as published; the CPU has to ignore it
}

NETWORKS_HERE: dict[str, tuple[str, dict[str, Any]]] = {
    "image_encoder": (
        "DINOv3ViTModel",
        {"hidden_size": TOKEN_CHANNELS, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    ),
    "structure_flow": (
        "SparseStructureFlowModel",
        FLOW | {"resolution": RESOLUTION // 2, "in_channels": LATENT_CHANNELS, "out_channels": LATENT_CHANNELS},
    ),
    "structure_decoder": CONFIGS["structure_decoder"],
    "shape_flow": (
        "SLatFlowModel",
        FLOW | {"resolution": RESOLUTION, "in_channels": LATENT_CHANNELS, "out_channels": LATENT_CHANNELS},
    ),
    "shape_decoder": ("FlexiDualGridVaeDecoder", LEVELS | {"resolution": 256, "use_fp16": True}),
    "texture_flow": (
        "SLatFlowModel",
        FLOW | {"resolution": RESOLUTION, "in_channels": 2 * LATENT_CHANNELS, "out_channels": LATENT_CHANNELS},
    ),
    "texture_decoder": ("SparseUnetVaeDecoder", LEVELS | {"out_channels": 6, "pred_subdiv": False, "use_fp16": True}),
    "fine_shape_flow": (
        "SLatFlowModel",
        FLOW | {"resolution": 2 * RESOLUTION, "in_channels": LATENT_CHANNELS, "out_channels": LATENT_CHANNELS},
    ),
    "fine_texture_flow": (
        "SLatFlowModel",
        FLOW | {"resolution": RESOLUTION, "in_channels": 2 * LATENT_CHANNELS, "out_channels": LATENT_CHANNELS},
    ),
}


def write_tiny_trellis2(folder: Path, seed: int = 0) -> Path:
    """Write a model folder whose weights follow from ``seed``, as fp16 safetensors. Returns ``folder``."""
    (folder / "ckpts").mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for name, (kind, args) in NETWORKS_HERE.items():
        network = NETWORKS[kind](**{key: value for key, value in args.items() if key not in ("use_fp16", "dtype")})
        randomise(network, generator)
        if name == "structure_decoder":
            answer_with_a_blob(network, generator)
        if isinstance(network, DualGridDecoder):
            _keep_most(network)
        weights = {key: tensor.half().contiguous() for key, tensor in network.state_dict().items()}
        save_file(weights, folder / "ckpts" / f"{name}.safetensors")
        (folder / "ckpts" / f"{name}.json").write_text(json.dumps({"name": kind, "args": args}), "utf-8")
    (folder / "pipeline.json").write_text(json.dumps(_pipeline()), "utf-8")
    return folder


def _pipeline() -> dict[str, Any]:
    statistics = {"mean": [0.1] * LATENT_CHANNELS, "std": [1.1] * LATENT_CHANNELS}
    return {
        "name": "Trellis2ImageTo3DPipeline",
        "args": {
            "models": {
                "sparse_structure_flow_model": "ckpts/structure_flow",
                "sparse_structure_decoder": "ckpts/structure_decoder",
                "shape_slat_flow_model_512": "ckpts/shape_flow",
                "shape_slat_decoder": "ckpts/shape_decoder",
                "tex_slat_flow_model_512": "ckpts/texture_flow",
                "tex_slat_decoder": "ckpts/texture_decoder",
                "shape_slat_flow_model_1024": "ckpts/fine_shape_flow",
                "tex_slat_flow_model_1024": "ckpts/fine_texture_flow",
            },
            "sparse_structure_sampler": _sampler(7.5, 0.7, 1.0),
            "shape_slat_sampler": _sampler(7.5, 0.5, 1.0),
            "tex_slat_sampler": _sampler(1.0, 0.0, 0.9),
            "shape_slat_normalization": statistics,
            "tex_slat_normalization": statistics,
            "image_cond_model": {"name": "DinoV3FeatureExtractor", "args": {"model_name": "image_encoder"}},
            "default_pipeline_type": "512",
        },
    }


def _sampler(strength: float, rescale: float, until: float) -> dict[str, Any]:
    return {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {
            "steps": 3,
            "rescale_t": 3.0,
            "guidance_strength": strength,
            "guidance_rescale": rescale,
            "guidance_interval": [0.6, until],
        },
    }


@torch.no_grad()
def _keep_most(decoder: DualGridDecoder) -> None:
    """Let most children be kept, and the surface cross few edges."""
    for key, parameter in decoder.named_parameters():
        if key.endswith("to_subdiv.bias"):
            parameter.add_(1.0)
    decoder.output_layer.bias[3:6] -= 0.5
