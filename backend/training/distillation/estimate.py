"""What a distillation would need, before it starts: memory and time, from counts and one short measurement.

No weights or data are needed: the flow may be on the meta device. For cards that are not there, their makers' figures
take the place of the measurement. ``ASSUMED`` says what else is not known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from ...models.latent_flow import LatentFlow
from ...models.operations import latent_flow, structure_flow
from ...models.structure_flow import StructureFlow
from ..loop import TrainingState
from ..run_folder import clock
from .distill import Devices
from .methods import DistillPreset, Method

#: A flow's many smaller products reach this share of the rate measured for one large product.
EFFICIENCY = 0.5

#: How many numbers each block keeps for each token for the backward pass, in units of the model's width and of the
#: bytes of the products: the inputs of its norms, products, activations and attention. Those of TRELLIS.2 are wider and
#: keep queries and keys in fp32 before they are turned. ``RECOMPUTED`` if activations are computed again.
ACTIVATIONS, ROTARY_ACTIVATIONS, RECOMPUTED = 34, 45, 4

#: The bytes that a forward-mode derivative needs for each query, key and head while a block's attention is computed:
#: scores and weights, each with its tangent, in fp32. No fused kernel of torch's has such a derivative.
TANGENTS = 4 * 4

#: Voxels of an object's surface, in units of one side of the grid: 3.1 for ours, about 4.9 (20,000 of 64^3) for
#: TRELLIS-500K's, 1.3 to 4.9 (1,300 to 5,000 of 32^3) for TRELLIS.2's.
SURFACE = 4.0

#: What an estimate takes for granted, for people.
ASSUMED = (
    f"assumed: products at {EFFICIENCY:.0%} of the rate of a large one, an object of {SURFACE:g} R^2 voxels on a grid "
    "of R^3; data are there when they are needed, and nothing is lost between devices"
)

#: The share of a card's memory that a plan may fill. The rest is for the image encoder, the driver and fragments.
FILLED = 0.85


@dataclass(frozen=True)
class Hardware:
    """What a run computes on: equal devices, and the operations per second of a large product on each of them."""

    name: str
    count: int
    rate: float
    half: bool  # whether products are in half precision, if the preset wants it
    memory: float = float("inf")  # bytes on each device

    @classmethod
    def here(cls, devices: Devices, preset: DistillPreset) -> Hardware:
        """This machine, measured for half a second."""
        device = devices.device
        rate = _product_rate(device, preset)
        return cls(f"{devices.count} x {device.type}", devices.count, rate, device.type == "cuda")


#: The set-ups that a run of full size is planned for. Rates are of dense products in half precision with sums in fp32,
#: as NVIDIA states them for the RTX 4090 and the A100.
CARDS = (
    Hardware("one 24 GB card (as RTX 4090)", 1, 165e12, True, 24e9),
    Hardware("one 80 GB card (as A100)", 1, 312e12, True, 80e9),
    Hardware("eight 80 GB cards (as A100)", 8, 312e12, True, 80e9),
)


@dataclass(frozen=True)
class Estimate:
    """What a run would need on these devices."""

    parameters: int
    tokens: int  # of a sample
    memory: float  # bytes on each device
    operations: float  # of an update
    seconds: float  # for all updates
    device: str

    @classmethod
    def of(
        cls, student: nn.Module, context: int, method: Method, preset: DistillPreset, hardware: Hardware
    ) -> Estimate:
        """Estimate. A picture has ``context`` tokens. The batch must be divided evenly."""
        parameters, tokens = sum(p.numel() for p in student.parameters()), _tokens(student)
        memory = _weights(student, preset, hardware) + _activations(student, method, preset, hardware)
        operations = _forward(student, context) * preset.batch * _passes(method, preset)
        rate = hardware.rate * EFFICIENCY * hardware.count
        return cls(parameters, tokens, memory, operations, preset.steps * operations / rate, hardware.name)

    def words(self) -> str:
        """The estimate as four lines for people."""
        work = f"{self.operations / 1e12:.2f} TFLOP an update"
        return (
            f"student: {self.parameters / 1e6:.1f} M parameters, about {self.tokens} tokens a sample\n"
            f"memory: about {self.memory / 2**30:.2f} GiB on each device\n"
            f"time: about {clock(self.seconds)} on {self.device} ({work})\n{ASSUMED}"
        )


def on_cards(student: nn.Module, context: int, method: Method, preset: DistillPreset) -> Iterator[str]:
    """For each of ``CARDS`` a line: memory and time, and the options with which the run fits."""
    for card in CARDS:
        fitting = fitted(student, context, method, preset, card)
        if fitting is None:
            yield f"{card.name}: it does not fit, even with --offload and one sample at a time"
            continue
        need = Estimate.of(student, context, method, fitting, card)
        options = f"--split {fitting.split}" + (" --offload --precision bf16" if fitting.offload else "")
        memory, days = f"{need.memory / 2**30:.1f} GiB on each", clock(need.seconds)
        yield f"{card.name}: {options}, about {memory}, {days} for {preset.steps:,} updates"


def fitted(
    student: nn.Module, context: int, method: Method, preset: DistillPreset, card: Hardware
) -> DistillPreset | None:
    """The preset with the fewest accumulation steps that fit the card, without ``offload`` if possible; None if even
    single samples do not fit."""
    splits = [n for n in range(1, preset.batch + 1) if preset.batch % (card.count * n) == 0]
    for offload in (False, True):
        for split in splits:
            tried = replace(preset, split=split, offload=offload, precision="bf16" if offload else preset.precision)
            if Estimate.of(student, context, method, tried, card).memory <= FILLED * card.memory:
                return tried
    return None


def _half(preset: DistillPreset, hardware: Hardware) -> int:
    """The bytes of a number in the products."""
    return 2 if preset.precision != "fp32" and hardware.half else 4


def _weights(student: nn.Module, preset: DistillPreset, hardware: Hardware) -> float:
    """Bytes of what each parameter needs: in fp32 weight, gradient, two moments and average, its copy for the products,
    and with several processes its place in the buffers that they exchange; the teacher in half precision."""
    names = {name: p.numel() for name, p in student.named_parameters()}
    teacher = sum(count for name, count in names.items() if not name.startswith("map_embedder."))
    learned = sum(names.values()) + (teacher if preset.correction else 0)
    half = _half(preset, hardware)
    each = 4 * (2 if preset.offload else 5) + (half if half == 2 else 0) + 4 * (hardware.count > 1)
    brought = 3 * 4 * min(learned, TrainingState.CHUNK) if preset.offload else 0
    return learned * each + brought + teacher * half


def _activations(student: nn.Module, method: Method, preset: DistillPreset, hardware: Hardware) -> float:
    """Bytes of what is kept for the backward pass: by the student once for each of its losses, and by the network of
    the noising velocity; and by one block while it is computed again, or while it is differentiated forwards."""
    flow = cast(StructureFlow, student)  # the other flow has these parts too
    width, blocks, tokens = flow.model_channels, len(flow.blocks), _tokens(student)
    at_once = preset.batch // (hardware.count * preset.split)
    whole = ROTARY_ACTIVATIONS if flow.rotary_channels else ACTIVATIONS
    kept, again = (RECOMPUTED, whole) if preset.checkpoint_blocks else (whole, 0)
    own = bool(method.distill_weight or preset.correction)
    graphs = bool(method.match_weight) + own + bool(preset.correction)
    numbers = tokens * width * (graphs * blocks * kept + again)
    heads = cast(Any, flow.blocks[0]).self_attn.heads
    tangents = 0 if method.steps_back(preset) else TANGENTS * heads * tokens**2
    return at_once * (numbers * _half(preset, hardware) + tangents)


def _passes(method: Method, preset: DistillPreset) -> float:
    """How many forward passes an update takes; a backward pass counts as two."""
    teacher, judge = (2.0 if strength else 1.0 for strength in (preset.match_guidance, preset.distill_guidance))
    target = 1.0 if method.steps_back(preset) else 2.0  # a forward-mode derivative takes two
    with_gradient = 4.0 if preset.checkpoint_blocks else 3.0
    match = (with_gradient + target + teacher + method.more_passes) * bool(method.match_weight)
    share = (1.0 - preset.distill_from if method.match_weight else 1.0) * bool(method.distill_weight)
    own = with_gradient * (1.0 if preset.correction else share)
    correction = (with_gradient + judge) * bool(preset.correction)
    return match + own + correction + share * (1.0 + target + judge)


def _forward(student: nn.Module, context: int) -> float:
    """The operations of a call for one sample with ``context`` tokens of a picture."""
    if isinstance(student, StructureFlow):
        return structure_flow(student, context).operations
    flow = cast(LatentFlow, student)
    return latent_flow(flow, round(SURFACE * flow.resolution**2), _tokens(flow), context).operations


def _tokens(student: nn.Module) -> int:
    """How many tokens a sample has in the transformer: the patches of a whole grid, or the cells of a surface."""
    if isinstance(student, StructureFlow):
        return int(student.resolution // student.patch_size) ** 3
    flow = cast(LatentFlow, student)
    return round(SURFACE * (flow.resolution // (2 if len(flow.input_blocks) else 1)) ** 2)


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
