"""What a dry run says of memory and time, held to what torch counts on small networks of the published proportions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from backend.models.structure_flow import StructureFlow
from backend.training.distillation.distill import Devices, recompute_blocks
from backend.training.distillation.estimate import ASSUMED, CARDS, FILLED, Estimate, Hardware, fitted, on_cards
from backend.training.distillation.methods import (
    DISTILL_PRESETS,
    METHODS,
    STAGES,
    DistillPreset,
    StageName,
    distill_preset,
)
from backend.training.distillation.teacher import Teacher
from tests.backend.training.distillation.test_distill import PRESET, flow
from tests.fakes.tiny_trellis2 import OF_THE_FAMILY

CONTEXT = 3
ONE = Hardware("one device", 1, 1e12, half=False)
#: TRELLIS's and TRELLIS.2's structure flows, a sixteenth as wide; a token keeps as many numbers for each channel.
KINDS: dict[str, dict[str, Any]] = {
    "TRELLIS": {"model_channels": 64, "num_heads": 2, "patch_size": 1, "qk_rms_norm": True},
    "TRELLIS.2": {"model_channels": 96, "num_heads": 2, **OF_THE_FAMILY},
}


def small(kind: str, blocks: int) -> StructureFlow:
    return StructureFlow(
        resolution=8, in_channels=2, out_channels=2, cond_channels=16, num_blocks=blocks, **KINDS[kind]
    )


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_estimate_counts_what_is_there(kind: str) -> None:
    student = flow(kind).to("meta")  # no weight is looked at

    def need(method: str, **changes: Any) -> Estimate:
        return Estimate.of(student, CONTEXT, METHODS[method], replace(PRESET, **changes), ONE)

    usual, both = need("vm"), need("vm-vd", distill_from=0.0)
    assert usual.parameters == sum(p.numel() for p in student.parameters())
    assert both.operations > 1.5 * usual.operations
    assert both.memory > usual.memory > 20 * usual.parameters
    assert usual.tokens == (2**3 if kind == "dense" else 4 * 4**2)
    assert need("scm").operations > need("cm").operations == usual.operations
    assert need("scm").memory - need("cm").memory == PRESET.batch * 16 * 2 * usual.tokens**2  # attention of two heads
    corrected = need("vm", correction=0.01)
    assert corrected.memory > usual.memory + 20 * usual.parameters  # of a second network
    assert corrected.operations > 2 * usual.operations
    assert need("vm", offload=True).memory == usual.memory  # all of so small a network is brought back at once
    assert ASSUMED in usual.words()


def test_this_machine_is_measured() -> None:
    here = Hardware.here(Devices("cpu"), PRESET)
    assert here.rate > 1e8
    assert not here.half


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_takes_the_operations_that_torch_counts(kind: str) -> None:
    """Of Velocity Matching: the student's pass and its backward pass, the student a step earlier, the teacher twice."""
    student, preset = small(kind, blocks=2), replace(PRESET, batch=1, match_guidance=1.0)
    x, t, cond = torch.randn(1, 2, 8, 8, 8), torch.tensor([500.0]), torch.randn(1, CONTEXT, 16)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        student(x, t, cond).square().mean().backward()
        for _ in range(3):
            with torch.no_grad():
                student(x, t, cond)
    found = Estimate.of(student, CONTEXT, METHODS["vm"], preset, ONE).operations
    assert found == pytest.approx(counter.get_total_flops(), rel=0.02)  # the first layer's input has no gradient


def kept(network: nn.Module, call: Callable[[], Tensor]) -> int:
    """The bytes that a call keeps for its backward pass, besides weights."""
    weights, found = {p.data_ptr() for p in network.parameters()}, dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
        return sum(found.values())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_block_keeps_about_what_is_estimated(kind: str, recompute: bool) -> None:
    """Never less than torch keeps, and not much more. Of a block that is computed again, its input alone is kept: in
    fp32 even where products are in half precision, so the estimate has room for twice that and more."""
    x, t, cond = torch.randn(1, 2, 8, 8, 8), torch.tensor([500.0]), torch.randn(1, CONTEXT, 16)
    counted, estimated = [], []
    for blocks in (2, 3):
        network = small(kind, blocks)
        preset = replace(PRESET, batch=1, checkpoint_blocks=recompute)
        need = Estimate.of(network, CONTEXT, METHODS["vm"], preset, ONE)
        estimated.append(need.memory - 24 * need.parameters)  # weights, gradients, moments, average, and the teacher's
        if recompute:
            recompute_blocks(network)
        counted.append(kept(network, partial(network, x, t, cond)))
    one, guess = counted[1] - counted[0], estimated[1] - estimated[0]
    assert one <= guess <= (4.2 if recompute else 1.6) * one


@pytest.mark.parametrize("stage", ["structure", "latents"])
@pytest.mark.parametrize("method", METHODS)
def test_a_plan_fits_its_cards(method: str, stage: Any) -> None:
    """With as few accumulation steps as possible, and without ``--offload`` where a run fits without it."""
    teacher = Teacher.published(stage)
    student, context = teacher.described(), teacher.context()
    assert context == 1374
    preset = distill_preset("paper", stage, method)
    for card in CARDS:
        plan = fitted(student, context, METHODS[method], preset, card)
        assert plan is not None
        assert need(student, plan, method, card) <= FILLED * card.memory
        coarser = [n for n in range(1, plan.split) if preset.batch % (card.count * n) == 0]
        for split in coarser:
            assert need(student, replace(plan, split=split), method, card) > FILLED * card.memory
        if plan.offload:
            near = replace(preset, split=preset.batch // card.count)
            assert need(student, near, method, card) > FILLED * card.memory
    assert fitted(student, context, METHODS[method], preset, replace(CARDS[0], memory=4e9)) is None


def need(student: nn.Module, preset: DistillPreset, method: str, card: Hardware) -> float:
    return Estimate.of(student, 1374, METHODS[method], preset, card).memory


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", METHODS)
def test_a_plan_for_the_second_family_fits_or_says_so(method: str, stage: StageName) -> None:
    """Its flows have 1.3 B parameters: 24 GB hold one network in training, with its moments elsewhere, but not two, and
    not what exact derivatives need besides."""
    teacher = Teacher.published(stage, "trellis2-4b")
    student, context, preset = teacher.described(), teacher.context(), distill_preset("trellis2", stage, method)
    plans = [fitted(student, context, METHODS[method], preset, card) for card in CARDS]
    small = not preset.correction and METHODS[method].steps_back(preset)
    assert [plan is not None for plan in plans] == [small, True, True]
    for card, plan in zip(CARDS, plans, strict=True):
        if plan is not None:
            found = Estimate.of(student, context, METHODS[method], plan, card)
            assert found.memory <= FILLED * card.memory
            assert (found.tokens, plan.precision) == (4096, "bf16")
    assert plans[0] is None or plans[0].offload
    words = list(on_cards(student, context, METHODS[method], preset))
    assert ["does not fit" in line for line in words] == [plan is None for plan in plans]


def test_every_set_up_gets_a_line() -> None:
    student = Teacher.published("structure").described()
    lines = list(on_cards(student, 1374, METHODS["data-free"], DISTILL_PRESETS["paper"]["structure"]))
    assert len(lines) == len(CARDS)
    assert all("GiB on each" in line for line in lines)
