"""A copy of an object that an exporter may do with as it likes, while the object itself stays as it is.

Blender's exporters work on the selected objects of the scene and write what these are called. Some change what they
write: the glTF exporter removes faces that it finds invalid. So they get a copy, which has the original's name for as
long as it exists.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import bpy
from mathutils import Vector


@contextmanager
def stand_in(context: bpy.types.Context, original: bpy.types.Object, at_origin: bool) -> Iterator[bpy.types.Object]:
    """Give a copy of a mesh object, the only one that is selected, and take it away again.

    Its modifiers, rotation and scale are applied to its mesh. With ``at_origin`` the original's origin is that of the
    scene, else it stands where the original does. It has the same materials and no custom properties: those say from
    which files the object was made.
    """
    view_layer = context.view_layer
    view_layer.update()  # what was removed is listed as None until then
    selected = [each for each in view_layer.objects if each.select_get()]
    active = view_layer.objects.active
    depsgraph = context.evaluated_depsgraph_get()
    mesh = bpy.data.meshes.new_from_object(original.evaluated_get(depsgraph), depsgraph=depsgraph)
    for key in list(mesh.keys()):
        del mesh[key]
    matrix = original.matrix_world.copy()
    if at_origin:
        matrix.translation = Vector()
    mesh.transform(matrix)
    if matrix.determinant() < 0:
        mesh.flip_normals()
    with ExitStack() as stack:
        stack.enter_context(lent_name(original.data, mesh, bpy.data.meshes))
        copy = bpy.data.objects.new("x", mesh)
        stack.enter_context(lent_name(original, copy, bpy.data.objects))
        context.scene.collection.objects.link(copy)
        for each in selected:
            each.select_set(False)
        copy.select_set(True)
        view_layer.objects.active = copy
        try:
            yield copy
        finally:
            copy.select_set(False)
            for each in selected:
                each.select_set(True)
            view_layer.objects.active = active
            context.scene.collection.objects.unlink(copy)
            view_layer.update()


@contextmanager
def part_stand_in(
    context: bpy.types.Context, original: bpy.types.Object, part: bpy.types.Object, name: str, at_origin: bool
) -> Iterator[bpy.types.Object]:
    """Give a copy of what is kept beside a mesh object, placed as ``stand_in`` places that object, and take it away.

    It is not selected. Where it stands is reckoned here: Blender does not evaluate hidden objects.
    """
    mesh = part.data.copy()
    for key in list(mesh.keys()):
        del mesh[key]
    matrix = original.matrix_world @ part.matrix_parent_inverse @ part.matrix_basis
    if at_origin:
        matrix.translation -= original.matrix_world.translation
    mesh.transform(matrix)
    if matrix.determinant() < 0:
        mesh.flip_normals()
    with removed(mesh, bpy.data.meshes), named(name, mesh, bpy.data.meshes):
        copy = bpy.data.objects.new("x", mesh)
        with removed(copy, bpy.data.objects), named(name, copy, bpy.data.objects):
            context.scene.collection.objects.link(copy)
            yield copy


@contextmanager
def group(context: bpy.types.Context, name: str, members: Sequence[bpy.types.Object]) -> Iterator[bpy.types.Object]:
    """Give an empty object that is the parent of others, which have no parent, and take it away again."""
    empty = bpy.data.objects.new("x", None)
    with removed(empty, bpy.data.objects), named(name, empty, bpy.data.objects):
        context.scene.collection.objects.link(empty)
        for member in members:
            member.parent = empty
        try:
            yield empty
        finally:
            for member in members:
                member.parent = None


@contextmanager
def selected(context: bpy.types.Context, what: Sequence[bpy.types.Object]) -> Iterator[None]:
    """Select these objects instead of those that are selected, for a while."""
    before = [each for each in context.view_layer.objects if each.select_get()]
    for each in before:
        each.select_set(False)
    for each in what:
        each.select_set(True)
    try:
        yield
    finally:
        for each in what:
            each.select_set(False)
        for each in before:
            each.select_set(True)


@contextmanager
def lent_name(original: Any, copy: Any, collection: Any) -> Iterator[None]:
    """Call a copy of a datablock what the original is called, for a while. Then the copy is removed.

    ``collection`` is where both are, such as ``bpy.data.meshes``.
    """
    with removed(copy, collection), named(original.name, copy, collection):
        yield


@contextmanager
def named(name: str, datablock: Any, collection: Any) -> Iterator[None]:
    """Give a datablock a name, for a while, also if another one of the file has it."""
    holder, before = collection.get((name, None)), datablock.name
    if holder is not None and holder != datablock:
        holder.name = uuid.uuid4().hex
    datablock.name = name
    try:
        yield
    finally:
        datablock.name = before
        if holder is not None and holder != datablock:
            holder.name = name


@contextmanager
def removed(datablock: Any, collection: Any) -> Iterator[None]:
    """Remove a datablock in the end."""
    try:
        yield
    finally:
        collection.remove(datablock)
