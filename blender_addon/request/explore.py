"""Candidates for the images in the panel, and the jobs that finish those that are taken."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.inputs import Content, ImageFile
from ..jobs.queue import Job, Target
from ..scene import candidates, viewport
from ..scene.candidates import Candidate
from . import generate, guide, images, placement, properties

#: Where the files of candidates lie, in Blender's temporary folder.
FOLDER = "espalier-candidates"


def start(context: bpy.types.Context) -> None:
    """Make candidates in place of those that are there. Raises ValueError if an image has no pixels, and OSError."""
    job = _new_job(context, [])
    forget()
    _submit(job)


def more(context: bpy.types.Context) -> None:
    """Make further candidates, with other seeds, beside those that are there. Raises ValueError and OSError."""
    _submit(_new_job(context, candidates.listed()))


def again(context: bpy.types.Context) -> None:
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


def _new_job(context: bpy.types.Context, there: list[Candidate], in_place: bool = False) -> Job:
    """A job for candidates with other seeds than those that are there; beside them, or ``in_place`` of them."""
    panel = context.scene.espalier
    first, size = guide.find_grid(context, panel.candidates)
    target = pump.target(context, first, size)
    count, begin = panel.candidates, len(there)
    if there and (old := there[0].job.target) is not None and _is_same_scene(target, old):
        target = replace(target, location=old.location, size=old.size)
    places = [
        placement.in_grid(target.location, target.size, number if in_place else begin + number)
        for number in range(count)
    ]
    settings = properties.chosen_settings(panel) | {"seeds": _seeds(panel, there), "views": _views(panel, begin)}
    sources = tuple(images.source(item) for item in panel.images)
    pictures = images.collect(panel)
    job = generate.job_with(
        settings, pictures, sources=sources, target=target, folder=new_folder(), shape=guide.fields(context)
    )
    job.places = tuple(places)
    return job


def _seeds(panel: properties.EspalierSettings, there: list[Candidate]) -> tuple[int, ...]:
    """The seeds of new candidates: counted on from the locked seed, else random ones."""
    used = [candidate.seed for candidate in there]
    if panel.lock_seed:
        first = used[-1] + 1 if used else panel.seed
        return tuple((first + number) % (generate.MAX_SEED + 1) for number in range(panel.candidates))
    rolled: list[int] = []
    while len(rolled) < panel.candidates:
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
