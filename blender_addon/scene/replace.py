"""Gives an object the mesh of a new result, in place.

Only the mesh, its material and its images are replaced. The object keeps its name, transform, parent, modifiers,
collections and everything else, vertex groups and materials of others included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...backend import protocol
from ..translations import translate
from .carry_over import carry_over
from .made import BESIDE, EDITS, HULL, LEVEL, NOTE, PREFIX, cube, cube_of, read_json
from .mesh_import import create_object


def put_in_place(target: bpy.types.Object, result: protocol.Result, settings: Mapping[str, Any]) -> None:
    """Give an object the mesh of a result. The new mesh has the size of the old one, and the same centre of its bottom.

    If only a part of it was made anew, in a box, the rest stays exactly where it was, however far that part reaches.

    Raises the same errors as ``create_object``. Then nothing is changed.
    """
    old = target.data
    bottom, size = extent(old)
    size = size or float(target.get(PREFIX + "size", 1.0))
    at = _in_the_same_place(target, result, settings)
    if at is not None:
        bottom, size = at
    collection = target.users_collection[0] if target.users_collection else bpy.context.scene.collection
    made = create_object(result, name=target.name, collection=collection, settings=settings, size=size)
    new = made.data
    new.transform(Matrix.Translation(bottom.tolist()))
    if note := " ".join(filter(None, (made.get(NOTE, ""), *carry_over(target, made)))):
        made[NOTE] = note
    active_group = target.vertex_groups.active_index
    target.data = new
    target.vertex_groups.active_index = active_group
    for name in [name for name in target.keys() if name.startswith(PREFIX)]:  # noqa: SIM118
        del target[name]
    for name in made.keys():  # noqa: SIM118
        target[name] = made[name]
    _replace_besides(target, made, bottom)
    bpy.data.objects.remove(made)
    _drop(old, new)


def in_cube(target: bpy.types.Object, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [N, 3] of an object's own space, in the space that the networks made it in. Raises ValueError, in words,
    if the object does not know that."""
    (bottom, size), there = extent(target.data), cube(target)
    if there is None or not size > 0:
        words = translate("{name} was made by an earlier version. Regenerate it first")
        raise ValueError(words.format(name=target.name))
    return (points - bottom) * (there[1] / size) + there[0]


def _in_the_same_place(
    target: bpy.types.Object, result: protocol.Result, settings: Mapping[str, Any]
) -> tuple[NDArray[np.float32], float] | None:
    """The centre of the bottom [3] and the longest side that a result must have for its points to be where those of
    the object are; None if it is no such object with one more box."""
    edits, there = protocol.edits(list(settings.get("edits", ()))), cube(target)
    (bottom, size), old = extent(target.data), protocol.edits(read_json(target.get(EDITS, "[]")))
    if not edits or there is None or edits[:-1] != old or not size > 0:
        return None
    with np.load(result.arrays, allow_pickle=False) as arrays:
        new = cube_of(arrays["vertices"].astype(np.float64))
    factor = size / there[1]
    moved = bottom + (np.array(new["bottom"]) - there[0]) * factor
    return moved.astype(np.float32), float(new["side"] * factor)


def _replace_besides(target: bpy.types.Object, made: bpy.types.Object, bottom: NDArray[np.float32]) -> None:
    """Replace what is beside an object with what is beside another one. Names are kept, and no collection is left."""
    names: dict[tuple[object, ...], tuple[str, str]] = {}
    emptied: dict[str, bpy.types.Collection] = {}
    for child in [child for child in target.children if BESIDE in child]:
        mesh = child.data
        names[_kind(child)] = child.name, mesh.name
        emptied |= {each[BESIDE]: each for each in child.users_collection if BESIDE in each}
        bpy.data.objects.remove(child)
        if not mesh.users:
            bpy.data.meshes.remove(mesh)
    called = {}
    for kind, each in emptied.items():
        if not each.objects and not each.children:  # else somebody keeps other things in it
            called[kind] = each.name
            bpy.data.collections.remove(each)
    for child in [child for child in made.children if BESIDE in child]:
        child.data.transform(Matrix.Translation(bottom.tolist()))
        child.parent = target
        if _kind(child) in names:
            child.name, child.data.name = names[_kind(child)]
        for each in child.users_collection:
            if each.get(BESIDE) in called:
                each.name = called[each[BESIDE]]


def _kind(beside: bpy.types.Object) -> tuple[object, ...]:
    """What an object beside another one is: the raw mesh, or a level of detail or convex hull of a number."""
    return beside.get(LEVEL), beside.get(HULL)


def extent(mesh: bpy.types.Mesh) -> tuple[NDArray[np.float32], float]:
    """The centre of the bottom [3] and the longest side of a mesh's bounding box, in local space."""
    if not len(mesh.vertices):
        return np.zeros(3, np.float32), 0.0
    positions = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions.ravel())
    low, high = positions.min(axis=0), positions.max(axis=0)
    middle = (low + high) / 2
    return np.array((middle[0], middle[1], low[2]), np.float32), float((high - low).max())


def _drop(old: bpy.types.Mesh, new: bpy.types.Mesh) -> None:
    """Remove an unused mesh, and its materials and packed images if nothing else uses them.

    The datablocks of the new mesh get their names.
    """
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
