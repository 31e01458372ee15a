"""Loading from a disk, and the memory that a job takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.config import SamplerSettings
from backend.pipeline import Pipeline
from backend.stages import (
    decode_structure,
    encode,
    latent_noise,
    sample_structure,
    structure_noise,
)
from backend.weights.folders import ModelFolder

from .setup import Networks, Say, Scale, clocked, sampled_latents


def memory(scale: Scale, say: Say) -> None:
    """Loading a model of full size from a disk, and the peak of a job: all resident, and with low memory."""

    with tempfile.TemporaryDirectory() as folder:
        if scale.changes:
            say({"end": "not rehearsed: it writes 4.3 GB"})
            return
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "scripts.make_random_model", folder], check=True)
        say({"written_s": round(time.perf_counter() - started, 1)})
        for low in (False, True):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            found: dict[str, Any] = {"low_memory": low}
            with clocked(scale, found, "load_ms"):
                pipeline = Pipeline.load(ModelFolder.read(Path(folder)), scale.device, low_memory=low)
            found["resident_bytes"] = torch.cuda.memory_allocated()
            for attempt in ("first", "again"):
                with clocked(scale, found, f"{attempt}_ms"):
                    _networks_in_order(pipeline, Networks(scale).coords(scale.voxels))
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
            say(found)
            del pipeline


@torch.inference_mode()
def _networks_in_order(pipeline: Any, coords: Tensor) -> None:
    """A student's job without the steps after the networks: random weights make no object."""
    device = coords.device
    once = SamplerSettings(1, 0.0, (0.5, 1.0), 1.0, 1e-5)
    pixels = torch.randn(1, 3, 518, 518).to(device)
    with pipeline.resident(pipeline.image_encoder):
        tokens = encode(pipeline.image_encoder, pixels)
    noise = structure_noise(pipeline.structure_flow, torch.Generator(), device)
    with pipeline.resident(pipeline.structure_flow):
        latents = sample_structure(pipeline.structure_flow, noise, tokens, once, None)
    with pipeline.resident(pipeline.structure_decoder):
        decode_structure(pipeline.structure_decoder, latents)
    sparse = latent_noise(pipeline.latent_flow, coords, torch.Generator())
    with pipeline.resident(pipeline.latent_flow):
        sampled = sampled_latents(pipeline.latent_flow, tokens, once, pipeline.config, sparse)
    with pipeline.resident(pipeline.mesh_decoder):
        pipeline.mesh_decoder(sampled)
