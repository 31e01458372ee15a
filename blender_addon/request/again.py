"""Objects that remember how they were made are made again: in place, or as variants beside them.

In place, only the mesh with its material and images is replaced. Name, transform, parent, modifiers, collections and
whatever else belongs to the object stay.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...backend import protocol
from .. import pump
from ..jobs.journal import SavedObject
from ..jobs.queue import Job
from ..scene.mesh_import import PREFIX, REMEMBERED, create_object
from ..ui.texts import translate
from . import generate, images, properties
from .placement import Location

#: What a request takes from what an object remembers; the rest is the images and where it came to stand.
OF_THE_REQUEST = tuple(name for name in REMEMBERED if name not in ("images", "size", "seed"))


def is_made(target: bpy.types.Object) -> bool:
    """Whether an object remembers how it was made, and can be changed."""
    return target.type == "MESH" and PREFIX + "images" in target and target.library is None


def recall(target: bpy.types.Object) -> dict[str, Any]:
    """The settings that an object was made with; ``images`` are their sources."""
    settings = {name: target[PREFIX + name] for name in REMEMBERED if PREFIX + name in target}
    settings["images"] = tuple(json.loads(settings["images"]))
    return settings


def restore(settings: Mapping[str, Any], panel: properties.EspalierSettings) -> list[str]:
    """Bring the settings of an object back into the panel. Returns what could not be, in words."""
    lost = []
    panel.images.clear()
    for named in settings["images"]:
        if not images.add_source(panel, named):
            lost.append(translate("the image {name}").format(name=named.removeprefix(images.DATABLOCK)))
    at_hand = properties.models()
    panel.model = next((name for name, m in at_hand.items() if m.request == settings["model"]), settings["model"])
    for name in ("steps", "guidance"):
        setattr(panel, f"use_{name}", name in settings)
    panel.lock_seed = True  # or the next press would not make the same again
    for name in (name for name in REMEMBERED if name not in ("images", "model")):
        if name in settings:
            value = settings[name]
            try:
                setattr(panel, name, str(value) if name == "texture_size" else value)
            except TypeError:  # it was made by batch, with what the panel does not offer
                lost.append(f"{name} {value}")
    return lost


def new_job(
    context: bpy.types.Context, settings: Mapping[str, Any], *, seed: int, location: Location, size: float
) -> Job:
    """A job that makes an object with these settings and another seed. Raises ValueError if an image is gone."""
    pictures = [images.picture(named) for named in settings["images"]]
    out = pump.new_folder()
    paths, files = images.lay_out(pictures, Path(out))
    chosen = {name: settings[name] for name in OF_THE_REQUEST if name in settings}
    chosen["normal_map"] = bool(chosen.get("normal_map", True))
    chosen["ambient_occlusion"] = bool(chosen.get("ambient_occlusion", False))
    request = protocol.Generate(job=uuid.uuid4().hex, images=paths, out=out, seed=seed, **chosen)
    job = Job(request, pump.target(context, location, size), sources=tuple(settings["images"]))
    return generate.start_writing(job, files)


def in_place_of(job: Job, target: bpy.types.Object) -> Job:
    """The job, with its result to take an object's place."""
    assert job.target is not None
    job.target = replace(job.target, replaces=target.session_uid)
    job.replaces = SavedObject(bpy.data.filepath, target.name) if bpy.data.filepath else None
    job.request = replace(job.request, keep_raw=False)  # it would be an object beside
    return job


def put_in_place(target: bpy.types.Object, result: protocol.Result, settings: Mapping[str, Any]) -> None:
    """Give an object the mesh of a result, as large as its own was, with the bottom's centre where that had it.

    Raises what ``create_object`` does; nothing is changed then.
    """
    old = target.data
    bottom, size = extent(old)
    size = size or float(target.get(PREFIX + "size", 1.0))
    collection = target.users_collection[0] if target.users_collection else bpy.context.scene.collection
    made = create_object(result, name=target.name, collection=collection, settings=settings, size=size)
    new = made.data
    new.transform(Matrix.Translation(bottom.tolist()))
    target.data = new
    for name in [name for name in target.keys() if name.startswith(PREFIX)]:  # noqa: SIM118
        del target[name]
    for name in made.keys():  # noqa: SIM118
        target[name] = made[name]
    bpy.data.objects.remove(made)
    _drop(old, new)


def extent(mesh: bpy.types.Mesh) -> tuple[NDArray[np.float32], float]:
    """The centre of the bottom [3] and the longest side of a mesh's bounding box, in its own space."""
    if not len(mesh.vertices):
        return np.zeros(3, np.float32), 0.0
    positions = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions.ravel())
    low, high = positions.min(axis=0), positions.max(axis=0)
    middle = (low + high) / 2
    return np.array((middle[0], middle[1], low[2]), np.float32), float((high - low).max())


def _drop(old: bpy.types.Mesh, new: bpy.types.Mesh) -> None:
    """Remove a mesh that nothing uses any more, with the materials and packed images that nothing else uses, and hand
    their names on."""
    if old.users:
        return
    names = [(old, new)]
    for before, after in zip(old.materials, new.materials, strict=False):
        names.append((before, after))
        names += zip(_packed(before), _packed(after), strict=False)
    called = [(after, before.name) for before, after in names if before and after]
    materials = [material for material in old.materials if material]
    bpy.data.meshes.remove(old)
    for material in materials:
        if not material.users:
            packed = _packed(material)
            bpy.data.materials.remove(material)
            for image in packed:
                if not image.users:
                    bpy.data.images.remove(image)
    for datablock, name in called:
        datablock.name = name


def _packed(material: bpy.types.Material | None) -> list[bpy.types.Image]:
    if material is None or material.node_tree is None:
        return []
    nodes = (node for node in material.node_tree.nodes if node.type == "TEX_IMAGE" and node.image)
    return [node.image for node in nodes if node.image.packed_file]
