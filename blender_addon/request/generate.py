"""From the scene's settings to jobs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
from numpy.typing import NDArray

from ...backend import protocol
from .. import installation, pump
from ..jobs.inputs import Content, InputWriter
from ..jobs.queue import Job
from ..translations import translate
from . import images, placement, properties


def obstacle(context: bpy.types.Context) -> str:
    """Why Generate 3D cannot be pressed, in the user's language; empty if it can."""
    settings = context.scene.espalier
    if not installation.is_installed(context):
        return translate("Install the backend first")
    if not settings.images:
        return translate("Add an image first")
    if lacks_model(settings):
        return translate("The model {name} is not installed").format(name=Path(settings.model).name)
    if settings.place == "ACTIVE" and context.active_object is None:
        return translate("There is no active object whose place could be taken")
    return ""


def lacks_model(settings: properties.EspalierSettings) -> bool:
    """Whether the model that was chosen is not there (any more)."""
    return properties.chosen_model(settings) is None and not _own_folder(settings.model)


def new_jobs(context: bpy.types.Context) -> list[Job]:
    """A job for each variant: from the same images, with consecutive seeds, side by side.

    Raises ValueError if an image has no pixels.
    """
    settings = context.scene.espalier
    pictures = images.collect(settings)
    location, size = placement.find_place(context)
    return [
        new_job(
            context,
            pictures,
            seed=(settings.seed + number) % (properties.MAX_SEED + 1),
            location=placement.beside(location, size, number),
            size=size,
        )
        for number in range(settings.variants)
    ]


def new_job(
    context: bpy.types.Context,
    pictures: list[images.Picture],
    *,
    seed: int,
    location: placement.Location,
    size: float,
    mesh: Mapping[str, NDArray[Any]] | None = None,
) -> Job:
    """A job with the scene's settings, in a folder of its own; with a ``mesh``, one that paints it."""
    settings = context.scene.espalier
    model = properties.chosen_model(settings)
    out = pump.new_folder()
    paths, files = images.as_files(pictures, Path(out))
    if mesh is not None:
        files[Path(out, "shape.npz")] = mesh
    request = protocol.Generate(
        job=uuid.uuid4().hex,
        images=paths,
        out=out,
        model=model.request if model else bpy.path.abspath(settings.model),
        steps=settings.steps if settings.use_steps else None,
        seed=seed,
        texture_size=int(settings.texture_size),
        faces=settings.faces,
        guidance=settings.guidance if settings.use_guidance else None,
        low_memory=settings.low_memory,
        multi_image=settings.multi_image,
        texture_source=settings.texture_source,
        normal_map=settings.normal_map and mesh is None,
        ambient_occlusion=settings.ambient_occlusion and mesh is None,
        keep_raw=settings.keep_raw and mesh is None,
        mesh="" if mesh is None else str(Path(out, "shape.npz")),
    )
    sources = tuple(images.source(item) for item in settings.images)
    return start_writing(Job(request, pump.target(context, location, size), sources=sources), files)


def start_writing(job: Job, files: dict[Path, Content]) -> Job:
    """The job, which waits until these files are written."""
    if files:
        job.writer = InputWriter(files)
        job.writer.start()
    return job


def _own_folder(model: str) -> bool:
    """Whether a model is given by the path of its folder."""
    return Path(bpy.path.abspath(model), "pipeline.json").is_file()
