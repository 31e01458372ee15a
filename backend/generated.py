"""A finished object, and how it is made of a reconstruction: the last stage, which needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .mesh import AnyRawMesh, MaterialMesh
from .mesh.finish import FinishedMesh, note_on_surface
from .mesh.paint.paint import note_on_views
from .mesh.paint.roughness import note_on_roughness
from .models.gaussians import Gaussians
from .progress import Clock
from .protocol import Settings
from .reconstruction import Reconstruction
from .stages import finish_mesh

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Generated:
    """A finished object, what it was made from, the seconds that each stage took, and counts of voxels, faces etc."""

    mesh: FinishedMesh
    raw: AnyRawMesh
    gaussians: Gaussians | None
    timings: dict[str, float]
    counts: dict[str, int]
    note: str = ""


def finished(
    made: Reconstruction, images: Sequence[Image.Image], settings: Settings, clock: Clock, *, guided: bool
) -> Generated:
    """Finish what a model has made of the images. ``guided``: a guide gave its shape. Raises GenerationError."""
    with clock.stage("finish"):
        mesh = finish_mesh(made.raw, made.gaussians, images, settings, clock.check)
    counts = {"images": len(images), "voxels": made.voxels, "raw_faces": len(made.raw.faces)} | mesh.counts
    if isinstance(made.raw, MaterialMesh):
        counts["resolution"] = made.raw.resolution  # TRELLIS has but one
    wanted = settings.faces if settings.max_error is None else None
    notes = [made.note, note_on_views(mesh.views, guided=guided), note_on_surface(mesh, wanted, settings.quads)]
    if settings.roughness == "estimated":
        notes.append(note_on_roughness(mesh.roughness))
    return Generated(mesh, made.raw, made.gaussians, clock.seconds, counts, " ".join(filter(None, notes)))
