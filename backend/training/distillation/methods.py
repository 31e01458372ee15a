"""Distillation methods and presets as tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ..flow_path import SIGMA_MIN
from .consistency import consistency, continuous_consistency
from .flow_map import MapMatching, from_the_prior, lagrangian, mean_flow
from .mdt import Derivative, Normalization, Objective, velocity_matching

#: Which of a model's flows is distilled. Only TRELLIS.2 has one of textures; there, latents are those of the shape.
StageName = Literal["structure", "latents", "textures"]
STAGES: tuple[StageName, ...] = ("structure", "latents", "textures")
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class DistillPreset:
    """How a student learns. ``batch`` is the samples of an update, over all processes and accumulation steps."""

    steps: int
    batch: int
    rate: float
    warmup: int
    ema: float
    schedule: Literal["cosine", "constant"]  # of the rate; with cosine the average's memory also grows at the start
    match_guidance: float  # of the teacher in Velocity Matching, and in the baselines; the strongest of a flow map
    distill_guidance: float  # of the teacher in Velocity Distillation and in a correction; for a flow map, at most
    normalization: Normalization
    guidance_from: float = 0.0  # the times between which the teacher is guided, see ``mdt.Bounds``
    guidance_until: float = 1.0
    guidance_rescale: float = 0.0  # share of its guided estimates that gets the spread of unguided ones
    time_mean: float = 1.0  # of the logits of training times; a sampler's ``rescale_t`` adds its logarithm to a logit
    split: int = 1  # accumulation steps an update is divided into, on each device
    derivative: Derivative = "discrete"  # of Velocity Matching, Velocity Distillation and flow maps
    interval: float = 0.01
    phases: int = 4  # of PCM
    distill_from: float = 0.0  # share of the steps after which Velocity Distillation joins Velocity Matching
    correction: float = 0.0  # weight of the correction of the noising velocity; 0: none
    diagonal: float = 0.25  # share of a flow map's samples whose two times are the same
    max_norm: float = 1.0
    clip_percentile: float = 95.0
    sigma_min: float = SIGMA_MIN
    precision: Precision = "fp32"  # of the products on CUDA; weights and sums stay fp32
    checkpoint_blocks: bool = False  # compute each block's activations again in the backward pass
    offload: bool = False  # keep the optimizer's moments and the average in the host's memory
    picture_every: int = 1000


#: Settings that came after the first runs.
_LATER = ("guidance_from", "guidance_until", "guidance_rescale", "time_mean")


def recorded(preset: DistillPreset) -> dict[str, Any]:
    """The settings as the folder of a run records them. Later ones are left out where they change nothing, so that a
    run that was begun without them goes on."""
    defaults = {field.name: field.default for field in fields(preset)}
    values = asdict(preset)
    return {name: value for name, value in values.items() if name not in _LATER or value != defaults[name]}


@dataclass(frozen=True)
class Method:
    """An objective, and the weights of Velocity Matching (or the baseline's loss) and Velocity Distillation.

    With ``matching`` the student is a flow map: that is what it learns instead, and the objective serves Velocity
    Distillation alone.
    """

    objective: Callable[[DistillPreset], Objective]
    match_weight: float
    distill_weight: float
    title: str
    derivative: Derivative | None = None  # None: the preset's
    matching: Callable[[DistillPreset], MapMatching] | None = None
    from_noise: float = 0.0  # share of a flow map's samples that begin at t = 1
    needs_latents: bool = True  # False: pictures are enough
    more_passes: float = 0.0  # of the student without gradient, besides those of a derivative

    def steps_back(self, preset: DistillPreset) -> bool:
        """Whether the objective takes a step of ``interval``, so that times must be above it; a derivative does not."""
        return (self.derivative or preset.derivative) == "discrete"


def _velocity(preset: DistillPreset) -> Objective:
    return velocity_matching(preset.derivative, preset.normalization, preset.interval)


def _of(matching: Callable[[Derivative, float], MapMatching]) -> Callable[[DistillPreset], MapMatching]:
    return lambda preset: matching(preset.derivative, preset.interval)


METHODS: dict[str, Method] = {
    "vm": Method(_velocity, 1.0, 0.0, "Velocity Matching"),
    "vd": Method(_velocity, 0.0, 1.0, "Velocity Distillation alone", needs_latents=False),
    "vm-vd": Method(_velocity, 1.0, 1.0, "Velocity Matching and Velocity Distillation"),
    "cm": Method(lambda p: consistency(p.interval), 1.0, 0.0, "consistency distillation", "discrete"),
    "pcm": Method(lambda p: consistency(p.interval, p.phases), 1.0, 0.0, "phased consistency distillation", "discrete"),
    "scm": Method(
        lambda p: continuous_consistency(), 1.0, 0.0, "continuous-time consistency distillation", "continuous"
    ),
    "flow-map": Method(
        _velocity, 1.0, 0.0, "MeanFlow on the teacher's velocities", matching=_of(mean_flow), from_noise=0.25
    ),
    "lagrangian": Method(
        _velocity,
        1.0,
        0.0,
        "Lagrangian self-distillation",
        matching=_of(lagrangian),
        from_noise=0.25,
        more_passes=1.0,
    ),
    "data-free": Method(
        _velocity,
        1.0,
        1.0,
        "data-free distillation: prediction, correction, then Velocity Distillation",
        matching=_of(from_the_prior),
        from_noise=0.5,
        needs_latents=False,
        more_passes=1.0,
    ),
}

#: The methods whose students are flow maps: they see two times, and guidance is an input.
FLOW_MAPS = tuple(name for name, method in METHODS.items() if method.matching is not None)
#: The methods that learn from pictures alone.
DATA_FREE = tuple(name for name, method in METHODS.items() if not method.needs_latents)

# Not known of the published runs: on how many devices, and how far they went of their million updates. Their
# configurations name no course of the rate, which in TRELLIS's trainer, that they build on, means a constant one; that
# trainer's average has the same memory from the first update on.
_PAPER = DistillPreset(
    steps=1_000_000,
    batch=64,
    split=2,
    rate=4e-8,
    warmup=0,
    ema=0.9999,
    schedule="constant",
    match_guidance=40.0,
    distill_guidance=100.0,
    normalization="l2",
    precision="fp16",
    checkpoint_blocks=True,
    picture_every=10_000,
)
# Velocity Matching has the guidance that the bundled model itself is sampled with. Velocity Distillation has none: the
# more its teacher is guided, the less samples vary where the image shows nothing (docs/LOG.md). A run takes about a
# quarter of an hour on one CPU core, so the rate is high and the average short.
_MINI = DistillPreset(
    steps=270,
    batch=32,
    rate=2e-4,
    warmup=20,
    ema=0.99,
    schedule="cosine",
    match_guidance=1.0,
    distill_guidance=0.0,
    normalization="rms",
    distill_from=0.5,
    picture_every=100,
)
# TRELLIS.2, untried. The teacher is guided as its pipeline.json says, and times lie where its own steps do, so that the
# student learns what the teacher would have done. A rate of 1e-5 and 100,000 updates are guesses, see _FULL_SIZE. bf16,
# because keys and values can be beyond the range of fp16.
_TRELLIS2 = replace(
    _PAPER,
    steps=100_000,
    rate=1e-5,
    warmup=1000,
    match_guidance=6.5,
    distill_guidance=6.5,
    guidance_from=0.6,
    guidance_rescale=0.7,
    time_mean=math.log(5.0),
    normalization="rms",
    precision="bf16",
)
_TRELLIS2_SHAPES = replace(_TRELLIS2, guidance_rescale=0.5, time_mean=math.log(3.0))
_TRELLIS2_TEXTURES = replace(
    _TRELLIS2_SHAPES, match_guidance=0.0, distill_guidance=0.0, guidance_until=0.9, guidance_rescale=0.0
)
_SMOKE = replace(_MINI, steps=2, batch=2, warmup=1, distill_guidance=1.0, picture_every=2)  # guided, as the paper

#: Preset -> stage -> how it is distilled. ``paper``: the published configurations, for eight devices (they state a
#: batch of 8 per device); ``trellis2``: the same for TRELLIS.2, whose students nobody has published; ``mini``: the
#: bundled model on a CPU; ``smoke``: seconds, to prove that everything runs.
DISTILL_PRESETS: dict[str, dict[StageName, DistillPreset]] = {
    "paper": {"structure": _PAPER, "latents": replace(_PAPER, rate=1e-8)},
    "trellis2": {"structure": _TRELLIS2, "latents": _TRELLIS2_SHAPES, "textures": _TRELLIS2_TEXTURES},
    "mini": {
        "structure": _MINI,
        "latents": replace(_MINI, steps=200, batch=16, match_guidance=0.0),
    },
    "smoke": {"structure": _SMOKE, "latents": _SMOKE},
}

#: Preset -> the model that is distilled by default.
DEFAULT_TEACHERS = {"paper": "trellis-image-large", "trellis2": "trellis2-4b", "mini": "mini", "smoke": "mini"}

#: Preset -> stage -> method -> updates instead of the preset's: methods are compared in about equal time on one core.
#: An update of vm (also cm and pcm), vd and scm takes 1.44, 1.76 and 2.06 s for the structure, 2.36, 2.89 and 3.67 s
#: for the latents. So scm gets a fifth more time than vm, and vm-vd, where half the updates do both, a tenth less. Of
#: flow-map, lagrangian and data-free an update takes 1.0, 1.27 and 2.8 times as long as of vm for the structure, 1.09,
#: 1.31 and 3.25 times for the latents.
EQUAL_TIME: dict[str, dict[StageName, dict[str, int]]] = {
    "mini": {
        "structure": {"vm": 486, "vd": 398, "vm-vd": 270, "cm": 486, "pcm": 486, "scm": 405}
        | {"flow-map": 486, "lagrangian": 384, "data-free": 173},
        "latents": {"vm": 338, "vd": 276, "vm-vd": 200, "cm": 338, "pcm": 338, "scm": 281}
        | {"flow-map": 311, "lagrangian": 257, "data-free": 104},
    }
}


#: Method -> what it changes in every preset. A flow map has its derivative without normalisation. Over 0.01, that of
#: mini's flows is for the most part noise of the time's embedding; over 0.03 it is as over 0.1 (docs/LOG.md).
CHANGES: dict[str, dict[str, Any]] = {name: {"interval": 0.03} for name in FLOW_MAPS}
CHANGES["data-free"]["correction"] = 1.0

#: Preset -> method -> what it changes in that preset, for both stages. ``paper``: the published rates and guidance are
#: for Velocity Matching, whose normalisation leaves almost nothing of a derivative. The papers of the flow maps have a
#: rate of 1e-4 for trainings from nothing; ten times less is a guess. TRELLIS is sampled with guidance 5. 100,000
#: updates are a guess, too, but a run need not go so far: docs/distilling.md says when to stop.
_FULL_SIZE = {"rate": 1e-5, "steps": 100_000, "warmup": 1000, "normalization": "rms"}
_FULL_SIZE |= {"match_guidance": 5.0, "distill_guidance": 5.0}
PRESET_CHANGES: dict[str, dict[str, dict[str, Any]]] = {"paper": dict.fromkeys(FLOW_MAPS, _FULL_SIZE)}


def distill_preset(name: str, stage: StageName, method: str) -> DistillPreset:
    """How a method's student learns: the preset, with the method's changes and the updates of ``EQUAL_TIME``."""
    changes = {**CHANGES.get(method, {}), **PRESET_CHANGES.get(name, {}).get(method, {})}
    preset = replace(DISTILL_PRESETS[name][stage], **changes)
    return replace(preset, steps=EQUAL_TIME.get(name, {}).get(stage, {}).get(method, preset.steps))
