"""Train a model's encoder and flows further, in a given time: first objects, then the structure, then the latents."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ...errors import BackendError
from ...files import write_whole
from ...models.image_encoder import ImageEncoder
from ...weights.folders import ModelFolder
from ..export import begin_with, export_overlay
from ..objects.stream import ObjectStream
from ..scratch.model_files import FolderEncoders
from ..scratch.presets import Preset
from .data import EncodedObjects, Encoding, held_out_objects, held_out_run
from .stages import EndlessJoint, EndlessLatentFlow, EndlessStage
from .timed import Course, Learner, train

Say = Callable[[str], None]
E = TypeVar("E", bound=EndlessStage)

#: Shares of the time: until training begins, though drawing goes on; until the latents' turn; until the last figures.
DRAWING, STRUCTURE, LATENTS = 0.22, 0.66, 0.95


@dataclass
class EndlessRun:
    """One training. What it has is in ``out`` at any time: an overlay of the model, and ``metrics.json``."""

    model: ModelFolder
    preset: Preset
    folder: Path  # of the held-out objects
    out: Path
    device: torch.device
    seconds: float
    half: bool
    say: Say
    started: float = field(default_factory=time.monotonic)
    figures: dict[str, Any] = field(default_factory=dict)
    failed: bool = False

    def run(self) -> bool:
        """Train. Weights are kept if the error of their flow on held-out objects is less than before. A stage that
        fails leaves what the others made. Returns whether none failed.

        Raises CheckpointError for a damaged model, RuntimeError if no objects could be drawn.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if any(self.out.iterdir()):
            raise BackendError("not_empty", f"{self.out} is not empty: choose another folder with --out")
        export_overlay({}, self.model, self.out)  # nothing is better yet
        encoding = Encoding.of(self.model, self.preset.data.resolution, self.device)
        self.held_run = held_out_run(self.preset, self.folder, self.device)
        plan = self.preset.endless
        stream = ObjectStream(
            self.preset.data,
            self.device,
            first=plan.first,
            at_once=plan.at_once,
            limit=plan.objects,
            finish=encoding.encoded,
            helpers=max(1, min(6, (os.cpu_count() or 1) - 2)),
        )
        with ThreadPoolExecutor(1) as pool:
            held_out = pool.submit(held_out_objects, self.held_run, encoding)
            stream.start()
            self._draw(stream)
            self._structure(stream, held_out)
            self._latents(stream, held_out)
            stream.stop()
        self._note("seconds", self._elapsed())
        return not self.failed and stream.error is None

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _begun(self, stage: E) -> E:
        begin_with(stage.networks, self.model)
        return stage

    def _encoder(self, model: ModelFolder) -> ImageEncoder:
        encoder = FolderEncoders(model, torch.device("cpu")).image()  # on a CPU it is in full precision
        return encoder.to(self.device).eval().requires_grad_(False)

    def _draw(self, stream: ObjectStream) -> None:
        """Wait for the first objects, and say how fast they come."""
        end = self.started + DRAWING * self.seconds
        while stream.running and (left := end - time.monotonic()) > 0:
            stream.wait(min(10.0, left))
            self.say(f"objects  {stream.drawn} of {stream.limit}  {stream.drawn / self._elapsed():.0f}/s")
        if stream.error is not None:
            self.say("objects  " + "".join(traceback.format_exception(stream.error)))
        self._note("objects", {"drawn": stream.drawn, "seconds": self._elapsed()})

    def _structure(self, stream: ObjectStream, held_out: Future[EncodedObjects]) -> None:
        """Train the encoder and the structure flow. The latents' turn sees the encoder that is kept."""

        def make() -> EndlessStage:
            schedule = self.preset.endless.structure_flow
            return self._begun(EndlessJoint(self.held_run, schedule, held_out.result()))

        self.new_encoder = self._attempt("structure_flow", make, stream, STRUCTURE)

    def _latents(self, stream: ObjectStream, held_out: Future[EncodedObjects]) -> None:
        """Train the latent flow on the tokens of the encoder that was kept."""

        def make() -> EndlessStage:
            before, schedule = self._encoder(self.model), self.preset.endless.latent_flow
            stage = self._begun(EndlessLatentFlow(self.held_run, before, schedule, held_out.result()))
            with torch.no_grad():
                found = stage.evaluate()
            self.say(f"latent_flow  with the encoder it had  {_words(found)}")
            self._note("latent_flow_with_the_encoder_it_had", found)
            stage.encoder = self._encoder(ModelFolder.read(self.out))
            return stage

        if not self._attempt("latent_flow", make, stream, LATENTS) and self.new_encoder:
            self.say("latent_flow  has not learnt what the new encoder says: do not use that encoder")

    def _attempt(self, name: str, make: Callable[[], EndlessStage], stream: ObjectStream, until: float) -> bool:
        """Train a stage up to this share of the time. Whether its weights are better than before, and kept."""
        try:
            return self._train(make(), stream, self.started + until * self.seconds)
        except Exception:  # the other stages may still go well
            self.failed = True
            self.say(f"{name} failed:\n{traceback.format_exc()}")
            self._note(f"{name}_error", traceback.format_exc())
            return False

    def _train(self, stage: EndlessStage, stream: ObjectStream, until: float) -> bool:
        with torch.no_grad():
            before = stage.evaluate()
        self.say(f"{stage.name}  before  {_words(before)}")
        course, learner = Course(), Learner(stage, self.half)
        figures: dict[str, Any] = {"before": before, "kept": before, "schedule": asdict(stage.schedule), "tried": []}

        def keep() -> None:
            found = stage.evaluate()
            self.say(f"{stage.name}  held out  {_words(found)}  at {self._elapsed():.0f} s")
            if found["velocity_error"] < figures["kept"]["velocity_error"]:
                export_overlay(stage.networks, self.model, self.out)
                figures["kept"] = found
            figures["tried"].append({"at": self._elapsed(), **found})
            self._note(stage.name, figures | {"course": asdict(course)})

        train(stage, learner, stream, course, self.device, until, self.half, self.say, keep)
        learner.settle()
        with torch.no_grad():
            keep()
        return figures["kept"] is not before

    def _note(self, name: str, value: Any) -> None:
        self.figures[name] = value
        write_whole(self.out / "metrics.json", json.dumps(self.figures, indent=1) + "\n")


def _words(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
