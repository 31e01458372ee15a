"""Carries over to a new mesh what an artist gave to the one that it replaces: vertex groups, and material slots.

The weights come from the nearest place of the old surface, interpolated there. Blender's own *Transfer Mesh Data* does
that, in a fifth of the time that Python takes. What cannot be carried over is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np

from ..translations import translate
from .made import OWN, TEXTURE, is_made
from .mesh_arrays import read_integers

#: A vertex is far from the old surface beyond this, in lengths of the mesh's longest side.
FAR = 0.05
#: From this share of far vertices on, people are told.
MANY_FAR = 0.05
#: How many vertices are looked at.
SAMPLES = 400


def carry_over(target: bpy.types.Object, made: bpy.types.Object) -> list[str]:
    """Give the mesh of ``made`` the vertex groups and the material slots of a ``target`` that is about to get it.

    Both meshes are in the space of ``target``. Returns what people should know, in sentences.
    """
    notes = []
    if len(target.vertex_groups):
        notes.append(_vertex_groups(target, made))
    _material_slots(target, made.data)
    if lost := ", ".join(_lost(target.data)):
        notes.append(translate("Not kept: {what}. Undo brings them back.").format(what=lost))
    return [note for note in notes if note]


def own_slots(target: bpy.types.Object) -> list[int]:
    """The numbers of the material slots whose material came with a texture of Espalier's."""
    slots = list(target.material_slots)
    marked = [number for number, slot in enumerate(slots) if slot.material is not None and OWN in slot.material]
    if marked or not slots or not (is_made(target) or TEXTURE in target):
        return marked
    return [0]  # of an earlier version, which left no other slots


def put_on(target: bpy.types.Object, material: bpy.types.Material, own: set[bpy.types.Material]) -> str:
    """Give an object a material in the place of its ``own`` ones. Others, and the faces that have them, stay.

    If it has none of them, the material gets a slot and all faces. Returns what people should know; empty if all faces
    have it and there is no other.
    """
    mesh, slots = target.data, list(target.material_slots)
    number = [each for each, slot in enumerate(slots) if slot.material in own]
    for each in number:
        slots[each].link = "DATA"  # else what is linked to the object would hide it
        mesh.materials[each] = material
    if not number:
        empty = (each for each, slot in enumerate(slots) if slot.material is None and slot.link == "DATA")
        place, others = next(empty, len(slots)), any(slot.material is not None for slot in slots)
        if place < len(slots):
            mesh.materials[place] = material
        else:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", np.full(len(mesh.polygons), place, np.int32))
        mesh.update()
        return translate("All faces have the new material. The others are still in their slots.") if others else ""
    mesh.update()
    indices = read_integers(mesh.polygons, "material_index", (len(mesh.polygons),))
    kept = int((~np.isin(indices, number)).sum()) if len(slots) > len(number) else 0
    return translate("{n} faces keep other materials.").format(n=kept) if kept else ""


def _material_slots(target: bpy.types.Object, mesh: bpy.types.Mesh) -> None:
    """Give a mesh, which has one material, the slots of a target, with that material in the place of the own one."""
    own, before = own_slots(target), list(target.data.materials)
    if len(before) <= 1 and len(own) == len(before):
        return
    (material,) = mesh.materials
    after = [material if number in own else each for number, each in enumerate(before)]
    after += [] if own else [material]
    mesh.materials.clear()
    for each in after:
        mesh.materials.append(each)
    place = own[0] if own else len(before)
    mesh.polygons.foreach_set("material_index", np.full(len(mesh.polygons), place, np.int32))


def _vertex_groups(target: bpy.types.Object, made: bpy.types.Object) -> str:
    """Carry over vertex groups with their weights and locks. Returns what people should know; empty if all is well."""
    groups = target.vertex_groups
    for group in groups:
        made.vertex_groups.new(name=group.name).lock_weight = group.lock_weight
    made.vertex_groups.active_index = groups.active_index
    if not len(target.data.polygons):
        return translate("The weights of its vertex groups could not be kept: the old mesh had no faces.")
    with _visible_alone(target.data, made) as source:
        chosen = [source, made]
        with bpy.context.temp_override(
            object=source, active_object=source, selected_objects=chosen, selected_editable_objects=chosen
        ):
            try:
                bpy.ops.object.data_transfer(
                    data_type="VGROUP_WEIGHTS",
                    vert_mapping="POLYINTERP_NEAREST",
                    layers_select_src="ALL",
                    layers_select_dst="NAME",
                    mix_mode="REPLACE",
                )
            except RuntimeError as error:  # what Blender reports: the object is worth more than its weights
                words = translate("The weights of its vertex groups could not be kept: {reason}")
                return words.format(reason=str(error).strip())
        far = _share_far_from(source, made.data)
    if far <= MANY_FAR:
        return ""
    words = translate("The vertex groups were kept, but {n} % of the surface is far from the old one. Check them.")
    return words.format(n=round(100 * far))


@contextmanager
def _visible_alone(mesh: bpy.types.Mesh, made: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """Give an object of the old mesh, without modifiers, in the open scene beside the new one, and take it away."""
    source = bpy.data.objects.new("x", mesh)
    within = bpy.context.scene.collection.objects
    added = [each for each in (source, made) if each.name not in within]
    for each in added:
        within.link(each)
    bpy.context.view_layer.update()
    try:
        yield source
    finally:
        for each in added:
            within.unlink(each)
        bpy.data.objects.remove(source)


def _share_far_from(source: bpy.types.Object, mesh: bpy.types.Mesh) -> float:
    """How large a part of a mesh's vertices is far from an object's surface."""
    positions = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions.ravel())
    limit = FAR * float((positions.max(axis=0) - positions.min(axis=0)).max())
    some = positions[:: max(1, len(positions) // SAMPLES)].tolist()
    graph = bpy.context.evaluated_depsgraph_get()
    near = [source.closest_point_on_mesh(place, distance=limit, depsgraph=graph)[0] for place in some]
    return 1 - sum(near) / len(some)


def _lost(mesh: bpy.types.Mesh) -> Iterator[str]:
    """What a mesh has that its successor cannot have, in words."""
    if mesh.shape_keys:
        yield translate("shape keys")
    if len(mesh.uv_layers) > 1:
        yield translate("more UV maps")
    if len(mesh.color_attributes):
        yield translate("color attributes")
