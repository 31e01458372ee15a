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


#: What to know about images that are painted over a base colour.
LIT = (
    "The images were painted over the model's own colors, with the light that is left in them. With the texture source "
    "Automatic or Vertex Colors, the colors are free of it."
)


@dataclass(frozen=True)
class Generated:
    """A finished object, what it was made from, the seconds that each stage took, and counts of voxels, faces etc."""

    mesh: FinishedMesh
    raw: AnyRawMesh
    gaussians: Gaussians | None
    timings: dict[str, float]
    counts: dict[str, int]
    note: str = ""


def note_on_light(raw: AnyRawMesh, settings: Settings) -> str:
    """A note if the images are painted over colours that were free of light; empty if not."""
    painted = isinstance(raw, MaterialMesh) and settings.texture_source == "picture" and settings.picture_strength > 0
    return LIT if painted else ""


def finished(
    made: Reconstruction, images: Sequence[Image.Image], settings: Settings, clock: Clock, *, guided: bool
) -> Generated:
    """Finish what a model has made of the images. ``guided``: a guide gave its shape. Raises GenerationError."""
    settings = settings.settled(materials=isinstance(made.raw, MaterialMesh))
    with clock.stage("finish"):
        mesh = finish_mesh(made.raw, made.gaussians, images, settings, clock.check)
    counts = {"images": len(images), "voxels": made.voxels, "raw_faces": len(made.raw.faces)} | mesh.counts
    if isinstance(made.raw, MaterialMesh):
        counts["resolution"] = made.raw.resolution  # TRELLIS has but one
    wanted = settings.faces if settings.max_error is None else None
    notes = [made.note, note_on_views(mesh.views, guided=guided), note_on_surface(mesh, wanted, settings.quads)]
    notes.append(note_on_light(made.raw, settings))
    if settings.roughness == "estimated":
        notes.append(note_on_roughness(mesh.roughness))
    return Generated(mesh, made.raw, made.gaussians, clock.seconds, counts, " ".join(filter(None, notes)))
