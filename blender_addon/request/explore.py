"""Candidates for the images in the panel, and the jobs that finish those that are taken."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.inputs import Content, ImageFile
from ..jobs.queue import Job, Target
from ..scene import candidates, viewport
from ..scene.candidates import Candidate
from ..scene.made import recall
from . import again, generate, guide, images, placement, properties

#: Where the files of candidates lie, in Blender's temporary folder.
FOLDER = "espalier-candidates"


class Origin(NamedTuple):
    """The object whose candidates are made: what it remembers, its place and its size."""

    settings: Mapping[str, Any]
    location: placement.Location
    size: float


_origin: Origin | None = None  # of the candidates that are there; None: they are made from the panel's settings


def start(context: bpy.types.Context) -> None:
    """Make candidates in place of those that are there. Raises ValueError if an image has no pixels, and OSError."""
    _start(context, None)


def start_from(context: bpy.types.Context, target: bpy.types.Object) -> None:
    """The same with the images and settings that an object remembers, beside it. Raises ValueError and OSError."""
    _start(context, Origin(recall(target), *placement.bounds(target)))


def _start(context: bpy.types.Context, origin: Origin | None) -> None:
    global _origin
    before, _origin = _origin, origin
    try:
        job = _new_job(context, [])
    except (ValueError, OSError):
        _origin = before
        raise
    forget()
    _submit(job)


def more(context: bpy.types.Context) -> None:
    """Make further candidates, with other seeds, beside those that are there. Raises ValueError and OSError."""
    _submit(_new_job(context, candidates.listed()))


def all_again(context: bpy.types.Context) -> None:
    """Make as many candidates with other seeds, in place of those that are there. Raises ValueError and OSError."""
    job = _new_job(context, candidates.listed(), in_place=True)
    forget()
    _submit(job)


def missing(job: Job) -> Job:
    """A job for the candidates that a failed job did not make. Raises OSError."""
    left, out = range(len(job.candidates), len(job.request.seeds)), new_folder()
    files = {} if job.writer is None else job.writer.files
    request: protocol.Generate = replace(
        job.request,
        job=uuid.uuid4().hex,
        out=str(out),
        guide=_guide_in(out, job.request, files),
        seeds=tuple(job.request.seeds[index] for index in left),
        views=tuple(job.request.views[index] for index in left) if job.request.views else (),
    )
    places = tuple(job.places[index] for index in left)
    again = Job(request, job.target, sources=job.sources, places=places)
    return generate.start_writing(again, files)


def take(context: bpy.types.Context, candidate: Candidate) -> None:
    """Have the object of a candidate finished, where its mesh is drawn. Raises OSError."""
    candidate.taken = True
    finish(context, candidate.job, candidate.index, candidate.views, candidate.key)


def finish(context: bpy.types.Context, made_by: Job, index: int, views: tuple[int, ...], key: str) -> Job:
    """Have the object of one of a job's seeds finished, in its place. Raises OSError. Returns the job that does it.

    It has the settings and images of the job that made the candidate; ``views`` are the numbers of the images.
    ``key`` is the name of its mesh in ``viewport``, which is drawn until the object is there. If the file or scene is
    no longer open, the object stands where new objects go.
    """
    assert made_by.target is not None
    of, out = made_by.request, Path(pump.new_folder())
    paths, files = images.as_files([images.picture(of.images[view]) for view in views], out)
    request = replace(
        of,
        job=uuid.uuid4().hex,
        images=paths,
        out=str(out),
        points=tuple(of.points[view] for view in views) if of.points else (),
        painted=tuple(of.painted[view] for view in views) if of.painted else (),
        seed=of.seeds[index],
        seeds=(),
        views=(),
        guide=_guide_in(out, of, files),
    )
    target = replace(made_by.target, location=made_by.places[index])
    job = Job(request, target, sources=tuple(made_by.sources[view] for view in views))
    if pump.home(job) is None:
        job.target = pump.target(context, *placement.find_place(context))
    viewport.rename(key, job.id)
    pump.submit(generate.start_writing(job, files))
    return job


def _guide_in(out: Path, of: protocol.Generate, files: dict[Path, Content]) -> str:
    """The path of a request's guide in another job's folder, and the file among those to write; "" if it has none.

    Raises OSError if the guide's file is gone.
    """
    if not of.guide or Path(of.guide) in files:
        return of.guide  # one that is still to be written is written where it was to be
    files[out / "guide.npz"] = ImageFile(Path(of.guide))
    return str(out / "guide.npz")


def put_away(but: Candidate | None = None) -> None:
    """Offer the candidates no longer, and make no more of them. They can be brought back.

    The mesh of one may stay: that of a candidate which is being taken.
    """
    for job in candidates.jobs():
        if job.active:
            pump.cancel(job)
    candidates.put_away()
    for candidate in candidates.listed():
        if candidate is not but:
            viewport.hide(candidate.key)
    pump.redraw("UI", "WINDOW")


def bring_back() -> None:
    """Offer the candidates again that were put away."""
    candidates.put_away(False)
    for candidate in candidates.shown():
        if not candidate.taken:
            pump.show_candidate(candidate)
    pump.redraw("UI", "WINDOW")


def forget() -> None:
    """Forget all candidates, and make no more of them."""
    put_away()
    candidates.clear()


def _submit(job: Job) -> None:
    candidates.expect(job)
    pump.submit(job)
    if job.target is not None:
        pump.look_inside(job.target)


def _new_job(context: bpy.types.Context, there: list[Candidate], in_place: bool = False) -> Job:
    """A job for candidates with other seeds than those that are there; beside them, or ``in_place`` of them."""
    panel = context.scene.espalier
    count, begin = panel.candidates, len(there)
    if _origin is None:
        first, size = guide.find_grid(context, count)
    else:
        size = _origin.size or panel.size
        first = placement.grid_beside(context, _origin.location, size, count)
    shape = guide.chosen(context) if _origin is None else None
    target = pump.target(context, first, size, guide=shape)
    if there and (old := there[0].job.target) is not None and _is_same_scene(target, old):
        target = replace(target, location=old.location, size=old.size)
    job = _from_panel(context, there, target) if _origin is None else _from_object(panel, there, target, _origin)
    job.places = tuple(
        placement.in_grid(target.location, target.size, number if in_place else begin + number)
        for number in range(count)
    )
    return job


def _from_panel(context: bpy.types.Context, there: list[Candidate], target: Target) -> Job:
    panel = context.scene.espalier
    return generate.job_with(
        properties.chosen_settings(panel) | {"seeds": _seeds(panel, there), "views": _views(panel, len(there))},
        images.collect(panel),
        sources=tuple(images.source(item) for item in panel.images),
        target=target,
        folder=new_folder(),
        shape=guide.fields(context),
    )


def _from_object(panel: properties.EspalierSettings, there: list[Candidate], target: Target, origin: Origin) -> Job:
    settings = origin.settings
    return again.job_with(
        settings,
        {"seeds": _rolled(panel.candidates, [*(candidate.seed for candidate in there), settings.get("seed")])},
        target=target,
        shape={"voxels": settings["voxels"]} if settings.get("voxels") else {},
        folder=new_folder(),
    )


def _seeds(panel: properties.EspalierSettings, there: list[Candidate]) -> tuple[int, ...]:
    """The seeds of new candidates: counted on from the locked seed, else random ones."""
    used = [candidate.seed for candidate in there]
    if panel.lock_seed:
        first = used[-1] + 1 if used else panel.seed
        return tuple((first + number) % (generate.MAX_SEED + 1) for number in range(panel.candidates))
    return _rolled(panel.candidates, used)


def _rolled(count: int, used: Sequence[int | None]) -> tuple[int, ...]:
    """Random seeds that are not used yet."""
    rolled: list[int] = []
    while len(rolled) < count:
        seed = generate.random_seed()
        if seed not in used and seed not in rolled:
            rolled.append(seed)
    return tuple(rolled)


def _views(panel: properties.EspalierSettings, begin: int) -> tuple[tuple[int, ...], ...]:
    """The images of each new candidate, of which the first is the one after ``begin``; empty: all of them."""
    if panel.candidate_views == "ALL":
        return ()
    return tuple(((begin + number) % len(panel.images),) for number in range(panel.candidates))


def _is_same_scene(one: Target, other: Target) -> bool:
    return (one.document, one.scene) == (other.document, other.scene)


def new_folder() -> Path:
    """Create a folder for what need not survive Blender. Raises OSError."""
    folder = Path(bpy.app.tempdir, FOLDER, uuid.uuid4().hex)
    folder.mkdir(parents=True)
    return folder
