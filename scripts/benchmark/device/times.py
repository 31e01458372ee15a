"""How long the stages take on voxels that are new to every cache, and a few steps beside 25 guided ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from backend.config import SamplerSettings
from backend.mesh import RawMesh
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import finish
from backend.protocol import Settings
from backend.sparse.tensor import SparseTensor
from backend.stages import (
    decode_structure,
    encode,
    latent_noise,
    sample_structure,
    structure_noise,
)

from ..objects import cube_features, ellipsoid
from .setup import Networks, Say, Scale, clocked, sampled_latents, seconds, wait, warm_ms

DEFAULTS = Settings()


@torch.inference_mode()
def stages(scale: Scale, say: Say) -> None:
    """Each stage at one voxel count again and again, then at counts that are new to every cache."""
    networks = Networks(scale)
    once = SamplerSettings(1, 0.0, (0.5, 1.0), 1.0, 1e-5)
    encoder, tokens = networks.encoder(), networks.tokens()
    pixels = networks.noise(1, 3, 518, 518)
    say({"stage": "encode", "ms": warm_ms(scale, lambda: encode(encoder, pixels))})
    whole = networks.encoder(half=False)
    say({"stage": "encode in fp32", "ms": warm_ms(scale, lambda: encode(whole, pixels))})
    flow, decoder = networks.structure_flow(), networks.structure_decoder()
    noise = structure_noise(flow, torch.Generator(), scale.device)
    say({"stage": "structure", "ms": warm_ms(scale, lambda: sample_structure(flow, noise, tokens, once, None))})
    say({"stage": "structure decoder", "ms": warm_ms(scale, lambda: decode_structure(decoder, noise))})
    latent_flow, mesh_decoder = networks.latent_flow(), networks.mesh_decoder()
    for count in (scale.voxels, *scale.fresh):
        coords = networks.coords(count)
        cubes, features = (x.to(scale.device) for x in cube_features(ellipsoid, coords[:, 1:].cpu(), 64))
        found: dict[str, Any] = {"voxels": count, "fresh": count != scale.voxels}
        for turn in ("first", "again"):
            sparse = latent_noise(latent_flow, coords, torch.Generator())
            state: list[Any] = [sparse]

            def step(run: Callable[[Any], Any], state: list[Any] = state) -> float:
                def call() -> None:
                    state[0] = run(state[0])

                return round(1e3 * seconds(scale.device, call), 3)

            sample = partial(sampled_latents, latent_flow, tokens, once, networks.config)
            found[turn] = {
                "latents": step(sample),
                "torso": step(mesh_decoder.torso),
                "subdivide": step(mesh_decoder.upsampled),
                "extract": step(lambda _, c=cubes, f=features: extract_mesh(c, f, 256)),  # type: ignore[misc]
                "to numpy": step(lambda raw: raw.numpy()),
            }
        say(found)
    raw = extract_mesh(cubes, features, 256)
    for attempt in range(3):
        say({"stage": "finish", "attempt": attempt, **_finishing(raw)})


def _finishing(raw: RawMesh) -> dict[str, Any]:
    started = time.perf_counter()
    mesh = finish(raw, faces=DEFAULTS.faces, texture_size=DEFAULTS.texture_size)
    return {"s": round(time.perf_counter() - started, 3)} | {k: round(v, 3) for k, v in mesh.seconds.items()}


@torch.inference_mode()
def steps(scale: Scale, say: Say) -> None:
    """Both flows in one and two steps beside 25 guided ones, each time on new voxels; and with the decoders."""
    networks = Networks(scale)
    config, tokens = networks.config, networks.tokens()
    flow, latent_flow = networks.structure_flow(), networks.latent_flow()
    decoder, mesh_decoder = networks.structure_decoder(), networks.mesh_decoder()
    noise = structure_noise(flow, torch.Generator(), scale.device)
    counts = iter(range(scale.voxels - 999 * (scale.voxels > 5000), scale.voxels + 10_000, 7))
    student = SamplerSettings(1, 0.0, (0.5, 1.0), 1.0, 1e-5)
    chosen = {
        "1": (student, student),
        "2": (replace(student, steps=2), replace(student, steps=2)),
        "25 guided": (config.structure_sampler, config.latent_sampler),
    }
    if scale.changes:
        chosen = {name: (replace(a, steps=2), replace(b, steps=2)) for name, (a, b) in chosen.items()}
    for name, samplers in chosen.items():
        for attempt in range(3 if name == "25 guided" else 5):
            coords = networks.coords(next(counts))
            sparse = latent_noise(latent_flow, coords, torch.Generator())
            found: dict[str, Any] = {"steps": name, "attempt": attempt, "voxels": len(coords)}
            with clocked(scale, found, "structure flow"):
                latents = sample_structure(flow, noise, tokens, samplers[0], None)
            with clocked(scale, found, "structure decoder"):
                decode_structure(decoder, latents)
            with clocked(scale, found, "latent flow"):
                sampled = sampled_latents(latent_flow, tokens, samplers[1], config, sparse)
            with clocked(scale, found, "mesh decoder"):
                mesh_decoder(sampled)
            say(found)


@torch.inference_mode()
def profile(scale: Scale, say: Say) -> None:
    """Where the device's time goes in one forward of everything."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    networks = Networks(scale)
    tokens, coords = networks.tokens(), networks.coords(scale.voxels)
    once = SamplerSettings(1, 0.0, (0.5, 1.0), 1.0, 1e-5)
    flow, latent_flow, mesh_decoder = networks.structure_flow(), networks.latent_flow(), networks.mesh_decoder()
    noise = structure_noise(flow, torch.Generator(), scale.device)

    def latents() -> SparseTensor:
        sparse = latent_noise(latent_flow, coords, torch.Generator())
        return sampled_latents(latent_flow, tokens, once, networks.config, sparse)

    made = latents()
    runs: dict[str, Callable[[], Any]] = {
        "structure flow": lambda: sample_structure(flow, noise, tokens, once, None),
        "latent flow": latents,
        "mesh decoder": lambda: mesh_decoder(made),
    }
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (scale.device.type == "cuda")
    for name, run in runs.items():
        run()
        with profiled(activities=activities) as found:
            run()
            wait(scale.device)
        rows = sorted(found.key_averages(), key=lambda row: -row.self_device_time_total)[:14]
        top = [[row.key[:90], round(row.self_device_time_total / 1e3, 3), row.count] for row in rows]
        say({"run": name, "top_ms": top})
