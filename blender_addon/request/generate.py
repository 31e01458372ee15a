"""Makes jobs from the scene's settings."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bpy
from numpy.typing import NDArray

from ...backend import protocol
from .. import installation, pump
from ..jobs.inputs import Content, InputWriter
from ..jobs.queue import Job, Target
from ..translations import translate
from . import guide, images, placement, properties

#: The largest seed that the panel can show.
MAX_SEED = int(protocol.ABOUT["seed"].shown.high or 0)
ROLLED = 1_000_000  # random seeds are below this number; larger ones can be typed


def random_seed() -> int:
    """A new seed: short enough to tell somebody, and to fit below a picture of the history."""
    return random.randrange(ROLLED)


def obstacle(context: bpy.types.Context) -> str:
    """Why Generate 3D cannot be pressed, in the user's language; empty if it can."""
    settings = context.scene.espalier
    if not installation.is_installed(context):
        return translate("Install the backend first")
    if not settings.images:
        return translate("Add an image first")
    if properties.lacks_model(settings):
        return translate("The model {name} is missing. Download it or choose another one").format(
            name=Path(settings.model).name
        )
    if settings.place == "ACTIVE" and context.active_object is None:
        return translate("There is no active object to take the location from")
    return ""


def new_jobs(context: bpy.types.Context) -> list[Job]:
    """A job for each variant: the same images, consecutive seeds, side by side.

    Raises ValueError, in words, if an image has no pixels or if the jobs' folder cannot be written to.
    """
    settings = context.scene.espalier
    pictures = images.collect(settings)
    row, size = guide.find_row(context, settings.variants)
    return [
        new_job(
            context,
            pictures,
            seed=(settings.seed + number) % (MAX_SEED + 1),
            location=location,
            size=size,
        )
        for number, location in enumerate(row)
    ]


def new_job(
    context: bpy.types.Context,
    pictures: list[images.Picture],
    *,
    seed: int,
    location: placement.Location,
    size: float,
) -> Job:
    """A job with the scene's settings and guide, in its own folder. Raises ValueError if the guide has no faces."""
    panel = context.scene.espalier
    settings = properties.chosen_settings(panel) | {"seed": seed}
    sources = tuple(images.source(item) for item in panel.images)
    target = pump.target(context, location, size, guide=guide.chosen(context))
    return job_with(settings, pictures, sources=sources, target=target, shape=guide.fields(context))


def job_with(
    settings: Mapping[str, Any],
    pictures: list[images.Picture],
    *,
    sources: tuple[str, ...],
    target: Target,
    mesh: Mapping[str, NDArray[Any]] | None = None,
    folder: Path | None = None,
    shape: Mapping[str, Any] = MappingProxyType({}),
) -> Job:
    """A job with these settings, in its own folder. If a ``mesh`` is given, the job paints it.

    ``folder`` is an empty folder, for a job that need not survive Blender. The settings may include other fields of the
    request. ``shape`` has the fields ``voxels`` and ``edits`` of the request, or as its ``guide`` the arrays of a mesh.
    """
    out = folder or Path(pump.new_folder())
    paths, files = images.as_files(pictures, out)
    if mesh is not None:
        files[out / "shape.npz"] = mesh
        settings = {**settings, **protocol.FOR_A_GIVEN_MESH}
    painted_mesh = "" if mesh is None else str(out / "shape.npz")
    points = tuple(picture.point for picture in pictures)
    painted = tuple(picture.painted for picture in pictures)
    request = protocol.Generate(
        uuid.uuid4().hex,
        paths,
        str(out),
        mesh=painted_mesh,
        points=points if any(points) else (),
        painted=painted if any(painted) else (),
        **settings,
        **written_shape(shape, out, files),
    )
    return start_writing(Job(request, target, sources=sources), files)


def written_shape(shape: Mapping[str, Any], out: Path, files: dict[Path, Content]) -> Mapping[str, Any]:
    """The fields of a request for ``guide.fields``. The mesh of a guide is added to the files to write into ``out``."""
    if "guide" not in shape:
        return shape
    files[out / "guide.npz"] = shape["guide"]
    return {"guide": str(out / "guide.npz")}


def start_writing(job: Job, files: dict[Path, Content]) -> Job:
    """Start writing these files. Returns the job, which waits for them."""
    if files:
        job.writer = InputWriter(files)
        job.writer.start()
    return job
