"""A training loop that ends on time: the rate follows the clock, so that it is down when the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ..loop import TrainingState, half_products
from ..objects.stream import ObjectStream
from .data import EncodedObjects
from .stages import EndlessStage

#: Updates between two looks at the clock, at the loss, and for new objects.
ROUND = 20
#: Seconds between two lines of words, two looks for new objects, and two judgements.
SPEAK, REFRESH, SAVE = 5.0, 10.0, 20.0


@dataclass
class Course:
    """How a training went."""

    steps: int = 0
    samples: int = 0
    objects: int = 0
    seconds: float = 0.0


class Learner:
    """A stage's networks with their optimizers and averages."""

    def __init__(self, stage: EndlessStage, half: bool) -> None:
        self.model, self.schedule = stage.model, stage.schedule
        self.state = TrainingState.of(stage.model, stage.schedule, half)

    def update(self, share: float) -> None:
        """One step with this share of the full rates."""
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        decay = min(self.schedule.ema, (1 + self.state.step) / (10 + self.state.step))
        self.state.update(share * self.state.rate, decay)
        self.model.zero_grad(set_to_none=True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights, without gradients, until the block ends."""
        with self.state.averaged(), torch.no_grad():
            self.model.eval()
            yield
        self.model.train()

    def settle(self) -> None:
        """Keep the averaged weights for good."""
        self.state.load(self.state.ema)
        self.model.eval().requires_grad_(False)


def rate_share(step: int, warmup: int, progress: float) -> float:
    """Linear warm-up over the first steps, and half a cosine down to zero over the time, ``progress`` from 0 to 1."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    stage: EndlessStage,
    learner: Learner,
    stream: ObjectStream,
    course: Course,
    device: torch.device,
    until: float,
    half: bool,
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> None:
    """Train ``stage`` until the clock (``time.monotonic``) says ``until``, and note in ``course`` how it goes. ``keep``
    judges and saves the averaged weights.

    Raises FloatingPointError if the loss is not a number any more: the last that was kept is good.
    """
    generator = torch.Generator(device).manual_seed(1)
    objects = EncodedObjects(stream.take())
    started = now = time.monotonic()
    refreshed = saved = spoken = started
    while course.steps == 0 or now < until:
        course.objects = len(objects.objects)
        progress = (now - started) / max(1e-9, until - started)
        for _ in range(ROUND):
            with half_products(device) if half else nullcontext():
                loss, metrics = stage.loss(objects, generator, progress)
            loss.backward()
            learner.update(rate_share(course.steps, stage.schedule.warmup, progress))
            course.steps += 1
            if device.type == "cpu" and time.monotonic() > until:
                break
        shown = torch.stack([loss.detach(), *(value.detach().float() for value in metrics.values())]).tolist()
        if not math.isfinite(shown[0]):
            raise FloatingPointError(f"{stage.name}: the loss is {shown[0]} at step {course.steps}")
        now = time.monotonic()
        course.samples, course.seconds = course.steps * stage.schedule.batch, now - started
        if now - spoken > SPEAK:
            spoken = now
            words = "  ".join(f"{n} {v:.4f}" for n, v in zip(("loss", *metrics), shown, strict=True))
            say(f"{stage.name}  {course.steps}  {words}  {course.samples / course.seconds:.0f}/s")
        if now - saved > SAVE:
            with learner.averaged():
                keep()
            saved = time.monotonic()
        if now - refreshed > REFRESH and stream.drawn > course.objects:
            objects = EncodedObjects(stream.take())
            refreshed = time.monotonic()
