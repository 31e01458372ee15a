"""The parts of ``scripts.device_run``: what each measures, at full size or at a size to rehearse with."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.config import PipelineConfig, SamplerSettings, read_json
from backend.mesh import RawMesh
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import finish
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentMeshDecoder
from backend.models.layers import MixedPrecisionNetwork
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.pipeline import (
    decode_structure,
    encode,
    latent_noise,
    sample_latents,
    sample_structure,
    structure_noise,
)
from backend.protocol import Settings
from backend.sparse.tensor import SparseTensor
from backend.weights.checkpoints import NETWORKS

from .meter import rates
from .networks import LARGE, description_of
from .objects import cube_features, ellipsoid, nearest_voxels

DEFAULTS = Settings()

Say = Callable[[dict[str, Any]], None]
Network = TypeVar("Network", bound=nn.Module)

#: How far half precision may be from single, and one device from another in single: norms of the difference, relative.
HALF_BOUND, DEVICE_BOUND = 5e-3, 1e-5


@dataclass(frozen=True)
class Scale:
    """The size of everything that is measured."""

    device: torch.device
    voxels: int
    fresh: tuple[int, ...]  # voxel counts that nothing has seen before
    changes: dict[str, Any]  # to the networks' arguments
    repeats: int

    @classmethod
    def full(cls, device: str) -> Scale:
        """The published sizes."""
        fresh = (9_973, 11_003, 11_507, 12_011, 12_503, 13_001, 13_499)
        return cls(torch.device(device), 12_000, fresh, {}, 5)

    @classmethod
    def small(cls, device: str) -> Scale:
        """One narrow block, to rehearse with."""
        changes = {"num_blocks": 1, "depth": 1, "model_channels": 256, "num_heads": 4, "channels": [32, 16, 16]}
        return cls(torch.device(device), 300, (233, 267), changes, 1)


class Networks:
    """The published networks with random weights."""

    def __init__(self, scale: Scale, **changes: Any) -> None:
        self.scale, self.device = scale, scale.device
        self.config = PipelineConfig.read(LARGE)
        self._changes = scale.changes | changes

    def make(self, name: str, kind: type[Network], *, half: bool = True) -> Network:
        """A network of pipeline.json. The same weights every time, whatever the precision."""
        values = read_json(description_of(LARGE, name))
        args = values["args"] | {key: new for key, new in self._changes.items() if key in values["args"]}
        network = NETWORKS[values["name"]](**{k: v for k, v in args.items() if k != "use_fp16"})
        network.to(self.device).eval().requires_grad_(False)
        generator = torch.Generator(self.device).manual_seed(0)
        for key, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=self.device)
            gain = key.endswith("gamma") or (key.endswith("weight") and parameter.ndim == 1)
            parameter.copy_(1 + 0.02 * noise if gain else 0.03 * noise)
        if half and args.get("use_fp16") and self.device.type != "cpu":
            assert isinstance(network, MixedPrecisionNetwork)
            network.convert_to_fp16()
        assert isinstance(network, kind)
        return network

    def encoder(self, **options: Any) -> ImageEncoder:
        """The image encoder."""
        return self.make(self.config.image_encoder, ImageEncoder, **options)

    def structure_flow(self, **options: Any) -> StructureFlow:
        """The structure flow."""
        return self.make(self.config.structure_flow, StructureFlow, **options)

    def structure_decoder(self, **options: Any) -> StructureDecoder:
        """The structure decoder."""
        return self.make(self.config.structure_decoder, StructureDecoder, **options)

    def latent_flow(self, **options: Any) -> LatentFlow:
        """The latent flow."""
        return self.make(self.config.latent_flow, LatentFlow, **options)

    def mesh_decoder(self, **options: Any) -> LatentMeshDecoder:
        """The mesh decoder."""
        return self.make(self.config.mesh_decoder, LatentMeshDecoder, **options)

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers, the same on every device."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(self.device)

    def tokens(self) -> Tensor:
        """Condition tokens of one image."""
        return self.noise(1, 1374, 1024)

    def coords(self, count: int) -> Tensor:
        """The voxels nearest to the ellipsoid, [count, 4]."""
        return F.pad(nearest_voxels(ellipsoid, count, 64), (1, 0)).int().to(self.device)


def wait(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, run: Callable[[], Any]) -> float:
    """The seconds of one call, the device's work included."""
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def warm_ms(scale: Scale, run: Callable[[], Any]) -> float:
    """The median of several calls in milliseconds, after one that does not count."""
    seconds(scale.device, run)
    return round(1e3 * median(seconds(scale.device, run) for _ in range(scale.repeats)), 3)


def relative(a: Tensor, b: Tensor) -> float:
    """The norm of the difference over that of ``b``, in double precision on the CPU."""
    a, b = a.cpu().double(), b.cpu().double()
    return float((a - b).norm() / b.norm())


# --- the machine -----------------------------------------------------------------------------------------------------


def machine(scale: Scale, say: Say) -> None:
    """Versions, and how fast the device multiplies and copies."""
    values: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(scale.device),
    }
    if scale.device.type == "cuda":
        about = torch.cuda.get_device_properties(scale.device)
        values |= {"name": about.name, "capability": f"{about.major}.{about.minor}", "memory": about.total_memory}
        query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap,clocks.sm,memory.used", "--format=csv,noheader"]
        values["nvidia_smi"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    say(values)
    say({"rates": rates(scale.device)})


# --- correctness -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def correct(scale: Scale, say: Say) -> None:
    """Every network: half precision beside single, the device beside the CPU, and the same bytes twice."""
    cpu = replace(scale, device=torch.device("cpu"), changes=scale.changes | {"num_blocks": 2, "depth": 2})
    few = replace(cpu, device=scale.device)
    for name in ("encoder", "structure_flow", "structure_decoder", "latent_flow", "mesh_decoder"):
        found: dict[str, Any] = {"network": name}
        half, whole = (_output(Networks(scale), name, half=half) for half in (True, False))
        found["half_error"] = relative(half, whole)
        found["same_bytes_twice"] = bool(torch.equal(half, _output(Networks(scale), name, half=True)))
        shallow = _output(Networks(few), name, half=False)
        on_cpu = Networks(cpu)
        moved = Networks(few)
        found["device_error"] = relative(shallow, _output(on_cpu, name, half=False, weights_of=moved))
        found["right"] = found["half_error"] <= HALF_BOUND and found["device_error"] <= DEVICE_BOUND
        say(found)
    _surfaces(scale, say)


def _output(networks: Networks, name: str, *, half: bool, weights_of: Networks | None = None) -> Tensor:
    """What a network makes of the same inputs; optionally with the weights that another device drew."""
    network: nn.Module = getattr(networks, name)(half=half)
    if weights_of is not None:
        network.load_state_dict(getattr(weights_of, name)(half=half).state_dict())
    count = min(2000, networks.scale.voxels)
    t = torch.tensor([700.0], device=networks.device)
    if isinstance(network, ImageEncoder):
        return network(networks.noise(1, 3, 518, 518))
    if isinstance(network, StructureFlow):
        return network(networks.noise(1, 8, 16, 16, 16), t, networks.tokens())
    if isinstance(network, StructureDecoder):
        return network(networks.noise(1, 8, 16, 16, 16))
    latents = SparseTensor(networks.noise(count, 8), networks.coords(count))
    out = network(latents, t, networks.tokens()) if isinstance(network, LatentFlow) else network(latents)
    assert isinstance(out, SparseTensor)
    return out.feats


def _surfaces(scale: Scale, say: Say) -> None:
    """The extracted surface, on the device and on the CPU."""
    cubes, features = cube_features(ellipsoid, nearest_voxels(ellipsoid, scale.voxels, 64), 64)
    ours, plain = (
        extract_mesh(cubes.to(device), features.to(device), 256) for device in (scale.device, torch.device("cpu"))
    )
    same = ours.faces.shape == plain.faces.shape and torch.equal(ours.faces.cpu(), plain.faces)
    farthest = float((ours.vertices.cpu() - plain.vertices).abs().max()) if same else float("nan")
    say({"network": "extraction", "faces": len(ours.faces), "same_faces": same, "farthest": farthest, "right": same})


# --- times -----------------------------------------------------------------------------------------------------------


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

            sample = partial(_sample_latents, latent_flow, tokens, once, networks.config)
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


def _sample_latents(
    flow: LatentFlow, tokens: Tensor, sampler: SamplerSettings, config: PipelineConfig, noise: SparseTensor
) -> SparseTensor:
    return sample_latents(flow, noise, tokens, sampler, config.latent_normalization)


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
                sampled = _sample_latents(latent_flow, tokens, samplers[1], config, sparse)
            with clocked(scale, found, "mesh decoder"):
                mesh_decoder(sampled)
            say(found)


@contextmanager
def clocked(scale: Scale, found: dict[str, Any], name: str) -> Iterator[None]:
    """Note the milliseconds of a block."""
    wait(scale.device)
    started = time.perf_counter()
    yield
    wait(scale.device)
    found[name] = round(1e3 * (time.perf_counter() - started), 3)


# --- choices ---------------------------------------------------------------------------------------------------------

#: Attention in the networks: heads, queries, keys; the first three are always the same, the others vary.
SHAPES = {
    "encoder": (16, 1374, 1374),
    "structure, self": (16, 4096, 4096),
    "structure, cross": (16, 4096, 1374),
    "latents, self": (16, 2944, 2944),
    "latents, cross": (16, 2944, 1374),
}


@torch.inference_mode()
def attention(scale: Scale, say: Say) -> None:
    """Each of torch's attention kernels on each shape: the first call on lengths never seen, and later ones."""
    if scale.device.type != "cuda":
        say({"end": "no CUDA device"})
        return
    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "default": None,
    }
    for shape, (heads, queries, keys) in SHAPES.items():
        for name, backend in backends.items():
            found: dict[str, Any] = {"shape": shape, "kernel": name}
            try:
                with sdpa_kernel(backend) if backend else torch.inference_mode():
                    fresh = []
                    for more in (0, 3, 6):
                        q, k, v = (_heads(scale, heads, length + more) for length in (queries, keys, keys))
                        fresh.append(1e3 * seconds(scale.device, partial(F.scaled_dot_product_attention, q, k, v)))
                    found["first_ms"] = [round(ms, 3) for ms in fresh]
                    found["ms"] = warm_ms(replace(scale, repeats=20), partial(F.scaled_dot_product_attention, q, k, v))
            except RuntimeError as error:
                found["error"] = str(error)[:200]
            say(found)


def _heads(scale: Scale, heads: int, length: int) -> Tensor:
    """Random queries, keys or values as the networks have them: a transposed view of [1, length, heads, 64]."""
    return torch.randn(1, length, heads, 64, dtype=torch.half, device=scale.device).transpose(1, 2)


@torch.inference_mode()
def kernels(scale: Scale, say: Say) -> None:
    """The sparse convolutions: Triton's kernels with several block sizes, beside plain torch."""
    from backend.sparse import triton_convolution

    for row in triton_convolution.time_candidates(scale.device, scale.voxels):
        say(row)


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
        return _sample_latents(latent_flow, tokens, once, networks.config, sparse)

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


# --- memory ----------------------------------------------------------------------------------------------------------


def memory(scale: Scale, say: Say) -> None:
    """Loading a model of full size from a disk, and the peak of a job: all resident, and with low memory."""
    from backend.pipeline import Pipeline
    from backend.weights.folders import ModelFolder

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
        sampled = _sample_latents(pipeline.latent_flow, tokens, once, pipeline.config, sparse)
    with pipeline.resident(pipeline.mesh_decoder):
        pipeline.mesh_decoder(sampled)
