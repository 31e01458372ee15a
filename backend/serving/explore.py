"""Candidates: the objects of several seeds, made but not finished, so that a person can choose among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from .. import protocol
from ..errors import GenerationError, SettingsError
from ..kept import Kept
from ..progress import Clock
from .job import Check, OnProgress, carried_out_by, checked_settings, load_images, place_of, shape_of
from .outputs import write_raw
from .warm_models import WarmModels

OnCandidate = Callable[[protocol.Candidate], None]


@dataclass(frozen=True)
class Wanted:
    """A candidate: its seed, and the numbers of the images that it is made from."""

    seed: int
    views: tuple[int, ...]


def run(
    request: protocol.Generate,
    models: WarmModels,
    *,
    on_progress: OnProgress,
    on_candidate: OnCandidate,
    check: Check,
    kept: Kept | None = None,
) -> protocol.Explored:
    """Make the candidates of a request with ``seeds``, in their order; each is sent as soon as it is there.

    The arguments are those of ``job.run``. What was made is kept in ``models``, so that the job that takes a candidate
    finds it. Raises BackendError for problems that a person can fix and that all candidates share.
    """
    started = time.perf_counter()
    settings, wanted = checked_settings(request), wanted_of(request)
    place, shape = place_of(request), shape_of(request)
    on_progress("load", 0, 1)
    images = load_images(request, settings, check, kept)
    notes = " ".join(filter(None, (image.info["note"] for image in images)))
    opened = time.perf_counter()
    shape.require_possible(request.model, settings)
    pipeline = models.get(request.model, low_memory=request.low_memory)
    timings = {"load": time.perf_counter() - opened}
    guide = shape.guide(pipeline.grid(settings))

    for number, each in enumerate(wanted):
        chosen = [images[view] for view in each.views]
        clock = Clock(pipeline.device, _of_all(on_progress, number, len(wanted)), check)
        try:
            alone = replace(settings, seed=each.seed)
            made = pipeline.reconstruct(chosen, alone, clock, guide=guide, kept=models.kept)
        except GenerationError as error:  # this seed gives no object; others may
            message = protocol.Candidate(request.job, number, "", problem=str(error), hint=error.hint)
        else:
            path = write_raw(place.candidate(number), made.raw)
            message = protocol.Candidate(request.job, number, str(path), " ".join(filter(None, (notes, made.note))))
        timings.setdefault("preview", time.perf_counter() - started)
        on_candidate(message)
    timings["total"] = time.perf_counter() - started
    return protocol.Explored(
        request.job,
        timings={name: round(seconds, 4) for name, seconds in timings.items()},
        settings=carried_out_by(request, pipeline, settings, shape),
    )


def _of_all(on_progress: OnProgress, number: int, count: int) -> OnProgress:
    """Reports the stages of candidate ``number`` as the share that it is of all ``count``."""
    return on_progress if count == 1 else lambda stage, step, steps: on_progress("structure", number, count)


def wanted_of(request: protocol.Generate) -> list[Wanted]:
    """The candidates that a request from the wire asks for. Raises SettingsError."""
    seeds, views, every = request.seeds, request.views, tuple(range(len(request.images)))
    wrong = ""
    if not isinstance(seeds, tuple) or not 0 < len(seeds) <= protocol.MOST_SEEDS:
        wrong = f"There must be 1 to {protocol.MOST_SEEDS} seeds."
    elif problems := [problem for seed in seeds if (problem := protocol.problem("seed", seed))]:
        wrong = problems[0]
    elif not isinstance(views, tuple) or len(views) not in (0, len(seeds)):
        wrong = "The views must be lists of the numbers of images, one for each seed."
    elif not all(isinstance(some, tuple) and some and all(view in every for view in some) for some in views):
        wrong = f"The views must be the numbers of images, from 0 to {len(every) - 1}."
    elif request.mesh or request.edits:
        wrong = "There are no candidates for a given mesh or for boxes."
    if wrong:
        raise SettingsError("settings_invalid", wrong)
    return [Wanted(seed, some) for seed, some in zip(seeds, views or (every,) * len(seeds), strict=True)]
