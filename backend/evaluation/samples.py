"""What an evaluation stores of generated objects: features and scores, one file for each model, question and seed."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import GenerationError
from ..files import sha256, written_whole
from ..models.image_encoder import ImageEncoder
from ..pipeline import Pipeline
from ..progress import Clock
from ..protocol import Settings
from ..training.objects.drawing import outer_surface
from ..weights.checkpoints import load_network
from ..weights.folders import ModelFolder
from ..weights.safetensors_file import safetensors_at
from . import judge, metrics
from .cases import Case
from .choices import Choices
from .subjects import Solid, Subject, Truth, points_on

#: The scores of each paired object, besides its features. ``valid``: the parts of the true object, no dust, no leak.
SCORES = ("F", "Chamfer", "PSNR", "silhouette", "valid")
#: The seconds of the stages that differ, and of all stages up to the raw mesh.
STAGES = ("structure", "latents", "decode", "raw mesh")


@dataclass(frozen=True)
class Row:
    """A model sampled in a number of steps. If ``guidance`` is None, it is the model's own. No model: true objects."""

    name: str
    model: Path | None = None
    steps: int = 0
    guidance: float | None = None
    guarded: bool = False  # whether implausible structures are sampled again, as for a user

    @cached_property
    def digest(self) -> str:
        """A short hash of what makes its samples: the networks, and how they are sampled."""
        found = hashlib.sha256(repr((self.steps, self.guidance, self.guarded)).encode())
        if self.model is not None:
            found.update(model_digest(ModelFolder.read(self.model)).encode())
        return found.hexdigest()[:12]

    def settings(self, seed: int) -> Settings:
        """The settings for generating one of its objects."""
        retry = Settings.retry_seconds if self.guarded else 0.0
        return Settings(seed=seed, steps=self.steps, guidance=self.guidance, retry_seconds=retry)


def model_digest(model: ModelFolder) -> str:
    """A hash of all that an object's raw mesh depends on: settings, and the networks' descriptions and weights."""
    config = model.config
    flows = (config.structure_sampler, config.latent_sampler, config.structure_normalization)
    found = hashlib.sha256(repr((flows, config.latent_normalization, config.seal_leaks)).encode())
    networks = (config.structure_flow, config.structure_decoder, config.latent_flow, config.mesh_decoder)
    for name in (config.image_encoder, *networks):
        files = model.network(name)
        found.update(files.description.read_bytes() + sha256(safetensors_at(files.weights)).encode())
    return found.hexdigest()


class Made(NamedTuple):
    """An object to judge. ``solid`` is None if it could not be generated."""

    subject: Subject
    solid: Solid | None
    seconds: tuple[float, ...] = (float("nan"),) * len(STAGES)


@dataclass
class Features:
    """What is stored of objects, one row each. ``choices``: the modes of the hidden choices."""

    encoder: ImageEncoder
    shape: list[np.ndarray] = field(default_factory=list)
    render: list[np.ndarray] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    seconds: list[tuple[float, ...]] = field(default_factory=list)
    choices: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    def see(self, made: Made) -> None:
        """Store what the paired columns need from an object."""
        self.see_unpaired(made.solid)
        self.scores.append(scores_of(made.solid, made.subject.truth()))
        self.seconds.append(made.seconds)

    def see_unpaired(self, solid: Solid | None) -> None:
        """Store what distances between distributions need from an object."""
        self.shape.append(shape_of(solid))
        self.render.append(judge.render_features(None if solid is None else solid.mesh, self.encoder))

    def see_one_of_many(self, made: Made) -> None:
        """Store what the conditional columns need from one answer to an image."""
        self.shape.append(shape_of(made.solid))
        if made.solid is not None and isinstance(made.subject, Case):
            self.choices.append((made.subject.family, Choices.of(made.subject, made.solid.filled)))

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            np.savez_compressed(
                part,
                shape=np.stack(self.shape).astype(np.float16),
                render=np.concatenate(self.render) if self.render else np.zeros((0, 1), np.float32),
                scores=np.array(self.scores, np.float64).reshape(-1, len(SCORES)),
                seconds=np.array(self.seconds, np.float64).reshape(-1, len(STAGES)),
                choices=np.array(json.dumps(self.choices)),
            )


def load(path: Path) -> dict[str, np.ndarray]:
    """Saved features, in float32: one row of shapes for each object, one row of renders for each view."""
    with np.load(path) as file:
        return {name: file[name].astype(np.float32) if name == "shape" else file[name] for name in file.files}


def shape_of(solid: Solid | None) -> np.ndarray:
    """Shape features. An object that could not be generated counts as empty space."""
    return np.zeros(judge.POOLED**3, np.float32) if solid is None else judge.shape_features(solid.filled)


def scores_of(made: Solid | None, truth: Truth) -> list[float]:
    """The ``SCORES`` of a result compared with a true object, as means over several views."""
    if made is None:
        return [0.0, 1.0, 0.0, 0.0, 0.0]
    gaps = metrics.Gaps.between(points_on(made.mesh, seed=2), truth.points)
    valid = judge.structure_of(made.mesh, made.filled).valid(truth.parts)
    seen = [metrics.likeness(made.mesh, picture, view, window) for picture, view, window in truth.pictures]
    psnr, silhouette = np.mean([like.psnr for like in seen]), np.mean([like.silhouette for like in seen])
    return [gaps.f_score(), gaps.chamfer(), float(psnr), float(silhouette), float(valid)]


def generated(row: Row, work: Iterable[tuple[Subject, int]], device: torch.device) -> Iterator[Made]:
    """Generate objects from the subjects' images, each with its seed."""
    assert row.model is not None
    pipeline = Pipeline.load(ModelFolder.read(row.model), device)
    for subject, seed in work:
        clock = Clock(device)
        solid = _solid(pipeline, subject, row.settings(seed), clock)
        seconds = tuple(clock.seconds.get(stage, 0.0) for stage in STAGES[:-1])
        yield Made(subject, solid, (*seconds, sum(clock.seconds.values())))


def _solid(pipeline: Pipeline, subject: Subject, settings: Settings, clock: Clock) -> Solid | None:
    """The object generated from a subject's image; None, judged as empty space, if it could not be generated."""
    try:
        raw = pipeline.reconstruct([subject.image()], settings, clock).lattice
    except GenerationError as error:
        print(f"judged as empty space: {error}", file=sys.stderr)
        return None
    return subject.judged_as(outer_surface(raw))


def collect(made: Iterable[Made], see: Callable[[Made], None], count: int, say: Callable[[str], None]) -> None:
    """Pass ``count`` objects to ``see``, and report progress now and then."""
    started = time.monotonic()
    for done, each in enumerate(made, start=1):
        see(each)
        if done % 24 == 0 or done == count:
            left = (time.monotonic() - started) / done * (count - done) / 60
            say(f"{done}/{count}  {left:.0f} min left")


def encoder_of(model: ModelFolder, device: torch.device) -> tuple[ImageEncoder, str]:
    """The image encoder that judges renders, and a short hash of its weights."""
    files = model.network(model.config.image_encoder)
    return load_network(files, ImageEncoder, device).eval(), sha256(safetensors_at(files.weights))[:12]
