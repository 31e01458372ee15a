"""What a distillation would need, before it starts: memory and time, from counts and one short measurement.

No weights or data are needed: the flow may be on the meta device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from ...models.structure_flow import StructureFlow
from ..run_folder import clock
from .distill import Devices
from .methods import DistillPreset, Method

#: A flow's many smaller products reach this share of the rate measured for one large product.
EFFICIENCY = 0.5

#: How many numbers each block keeps for each token for the backward pass, in units of the model's width: the inputs of
#: its norms, products, activations and attention. Four if activations are computed again.
ACTIVATIONS, RECOMPUTED = 34, 4

#: Voxels of an object's surface, in units of one side of the grid: 3.1 for ours, about 4.9 (20,000 of 64^3) for
#: TRELLIS-500K's.
SURFACE = 4.0


@dataclass(frozen=True)
class Estimate:
    """What a run would need on these devices."""

    parameters: int
    tokens: float  # of a sample
    memory: float  # bytes on each device
    operations: float  # of an update
    seconds: float  # for all updates
    device: str

    @classmethod
    def of(cls, student: nn.Module, method: Method, preset: DistillPreset, devices: Devices) -> Estimate:
        """Estimate, measuring the device for half a second. Raises ValueError if the batch cannot be divided evenly."""
        parameters = sum(p.numel() for p in student.parameters())
        flow = cast(StructureFlow, student)  # the other flow has these parts too
        width, blocks = cast(nn.Linear, flow.t_embedder.mlp[2]).out_features, len(flow.blocks)
        tokens = _tokens(student)
        half = 2 if preset.precision != "fp32" and devices.device.type == "cuda" else 4
        at_once = devices.share(preset)
        kept = RECOMPUTED if preset.checkpoint_blocks else ACTIVATIONS
        activations = at_once * tokens * blocks * kept * width * half * (2 if method.distill_weight else 1)
        # Weights, gradients, two moments and the average in fp32; the teacher in the device's precision.
        memory = parameters * (5 * 4 + half) + activations
        operations = 2.0 * parameters * tokens * preset.batch * _passes(method, preset)
        rate = _product_rate(devices.device, preset) * EFFICIENCY * devices.count
        on = f"{devices.count} x {devices.device.type}"
        return cls(parameters, tokens, memory, operations, preset.steps * operations / rate, on)

    def words(self) -> str:
        """The estimate as three lines for people."""
        return (
            f"student: {self.parameters / 1e6:.1f} M parameters, about {self.tokens:.0f} tokens a sample\n"
            f"memory: about {self.memory / 2**30:.2f} GiB on each device\n"
            f"time: about {clock(self.seconds)} on {self.device} ({self.operations / 1e12:.2f} TFLOP an update)"
        )


def _passes(method: Method, preset: DistillPreset) -> float:
    """How many forward passes an update takes; a backward pass counts as two."""
    teacher = 2.0 if preset.match_guidance else 1.0
    target = 1.0 if method.steps_back(preset) else 2.0  # a forward-mode derivative takes two
    with_gradient = 4.0 if preset.checkpoint_blocks else 3.0
    match = with_gradient + target + teacher
    distill = with_gradient + 1.0 + target + (2.0 if preset.distill_guidance else 1.0)
    share = 1.0 - preset.distill_from if method.match_weight else 1.0
    return match * bool(method.match_weight) + distill * share * bool(method.distill_weight)


def _tokens(student: nn.Module) -> float:
    """How many tokens a sample has: the patches of a whole grid, or of the surface in it."""
    side = cast(int, student.resolution) / cast(int, getattr(student, "patch_size", 2))
    return side**3 if isinstance(student, StructureFlow) else SURFACE * side**2


def _product_rate(device: torch.device, preset: DistillPreset, seconds: float = 0.5) -> float:
    """The operations per second of a large matrix product in the run's precision."""
    names = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = names.get(preset.precision, torch.float32) if device.type == "cuda" else torch.float32
    side = 4096 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    a @ a
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        done += 1
    return 2.0 * side**3 * done / (time.perf_counter() - started)
