"""Alternatives side by side: attention kernels, Triton's convolutions, padded windows, CUDA graphs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.sparse import attention as attention_module
from backend.sparse import dispatch
from backend.sparse.tensor import SparseTensor

from .correct import lines
from .setup import Networks, Say, Scale, relative, seconds, warm_ms

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


#: Ways to compute the sparse networks: which path the convolutions take, and whether windows stand in turn.
VARIANTS: dict[str, tuple[dispatch.Path, bool]] = {
    "all": ("auto", True),
    "no triton": ("torch", True),
    "padded windows": ("auto", False),
}


@torch.inference_mode()
def plain(scale: Scale, say: Say) -> None:
    """Latent flow and mesh decoder without the Triton kernels, and with padded windows, beside both."""
    networks = Networks(scale)
    latent_flow, mesh_decoder = networks.latent_flow(), networks.mesh_decoder()
    coords, t, tokens = networks.coords(scale.voxels), torch.tensor([700.0], device=scale.device), networks.tokens()
    latents = SparseTensor(networks.noise(len(coords), 8), coords)
    inner = mesh_decoder.torso(latents)
    for name, (path, in_turn) in VARIANTS.items():
        previous = dispatch.use(path)
        padded = nullcontext() if in_turn else mock.patch.object(attention_module, "takes_lengths", return_value=False)
        with padded:
            found: dict[str, Any] = {"variant": name}
            found["latents_ms"] = warm_ms(scale, partial(latent_flow, latents, t, tokens))
            found["torso_ms"] = warm_ms(scale, partial(mesh_decoder.torso, latents))
            found["subdivide_ms"] = warm_ms(scale, partial(mesh_decoder.upsampled, inner))
        dispatch.use(previous)
        say(found)


@torch.inference_mode()
def graphs(scale: Scale, say: Say) -> None:
    """The stages whose shapes are always the same, launched kernel by kernel and replayed as a CUDA graph.

    The program does without graphs as long as launching takes less time than computing: ``launched_ms`` is how long the
    processor is busy with a call, ``ms`` when it has been computed.
    """
    if scale.device.type != "cuda":
        say({"end": "no CUDA device"})
        return
    networks = Networks(scale)
    t, tokens = torch.tensor([700.0], device=scale.device), networks.tokens()
    encoder, flow, decoder = networks.encoder(), networks.structure_flow(), networks.structure_decoder()
    calls = {
        "encode": partial(encoder, networks.noise(1, 3, 518, 518)),
        "structure flow": partial(flow, networks.noise(1, 8, 16, 16, 16), t, tokens),
        "structure decoder": partial(decoder, networks.noise(1, 8, 16, 16, 16)),
    }
    for stage, call in calls.items():
        found: dict[str, Any] = {"stage": stage, "ms": warm_ms(scale, call), "launched_ms": _launched_ms(scale, call)}
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = call()
            found["graph_ms"] = warm_ms(scale, graph.replay)
            found["difference"] = relative(output, call())
        except RuntimeError as error:
            found["error"] = str(error)[:200]
        say(found)


def _launched_ms(scale: Scale, call: Callable[[], Any]) -> float:
    """How long a call takes to return, which is before the device has computed it."""
    took = []
    for _ in range(scale.repeats):
        torch.cuda.synchronize(scale.device)
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return round(1e3 * median(took), 3)


def kernels(scale: Scale, say: Say) -> None:
    """The sparse convolutions: Triton's kernels with several block sizes, beside plain torch."""
    if scale.device.type != "cuda":
        say({"end": "no CUDA device"})
        return
    lines([sys.executable, "-m", "scripts.benchmark.kernels", "--time"], say)
