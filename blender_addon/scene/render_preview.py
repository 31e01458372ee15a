"""Renders a picture of one object with Cycles on the CPU. It needs no display and no GPU."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from mathutils import Vector

SAMPLES = 16  # denoised
AZIMUTH, ELEVATION = math.radians(30), math.radians(25)  # of the camera; an object's front faces -Y
MARGIN = 1.15  # how much the picture shows, relative to the object's size


def render_preview(target: bpy.types.Object, path: Path, pixels: int) -> None:
    """Render ``target`` on a light ground, from the front, slightly from the side and above. The picture is square.

    This changes the scene: it gets lights, a camera and a ground.

    Raises RuntimeError if the picture cannot be written.
    """
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = pixels
    bpy.context.view_layer.update()
    points = [target.matrix_world @ vertex.co for vertex in target.data.vertices]
    low, high = (Vector(map(extreme, zip(*points, strict=True))) for extreme in (min, max))
    center, size = (low + high) / 2, max((high - low).length, 1e-3)
    add_ground(scene, Vector((center.x, center.y, low.z)), 40 * size)
    add_light(scene, center + size * Vector((-1.2, -1.6, 2.2)), center, size, power=55)
    add_light(scene, center + size * Vector((2.4, -0.8, 1.0)), center, size, power=12)
    add_camera(scene, [center + MARGIN * (point - center) for point in points], center, size)
    scene.world = bpy.data.worlds.new("Preview")
    scene.world.color = (0.55, 0.55, 0.55)
    render(scene, path)


def look_at(target: bpy.types.Object, center: Vector) -> None:
    """Point a light or a camera at ``center``."""
    target.rotation_euler = (center - target.location).to_track_quat("-Z", "Y").to_euler()


def add_ground(scene: bpy.types.Scene, center: Vector, size: float) -> None:
    """Add a square ground with sides of ``size``."""
    mesh = bpy.data.meshes.new("Ground")
    half = size / 2
    mesh.from_pydata([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [], [(0, 1, 2, 3)])
    material = bpy.data.materials.new("Ground")
    material.diffuse_color = (0.8, 0.8, 0.8, 1)
    mesh.materials.append(material)
    ground = bpy.data.objects.new("Ground", mesh)
    ground.location = center
    scene.collection.objects.link(ground)


def add_light(scene: bpy.types.Scene, location: Vector, center: Vector, size: float, power: float) -> None:
    """Add an area light. ``power`` is in watts, for an object of one metre."""
    lamp = bpy.data.lights.new("Light", "AREA")
    lamp.energy = power * size**2
    lamp.size = 1.5 * size
    light = bpy.data.objects.new("Light", lamp)
    light.location = location
    look_at(light, center)
    scene.collection.objects.link(light)


def add_camera(scene: bpy.types.Scene, points: list[Vector], center: Vector, size: float) -> None:
    """Add a camera that shows all the points as large as possible."""
    direction = Vector(
        (math.sin(AZIMUTH) * math.cos(ELEVATION), -math.cos(AZIMUTH) * math.cos(ELEVATION), math.sin(ELEVATION))
    )
    data = bpy.data.cameras.new("Camera")
    data.lens = 70
    data.clip_end = 1000 * size
    camera = bpy.data.objects.new("Camera", data)
    camera.location = center + 4 * size * direction
    look_at(camera, center)
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.context.view_layer.update()
    coordinates = [value for point in points for value in point]
    camera.location, _ = camera.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), coordinates)


def render(scene: bpy.types.Scene, path: Path) -> None:
    """Render the scene to a PNG file."""
    import _cycles  # exists once bpy is imported

    settings = scene.render
    settings.engine = "CYCLES"
    settings.resolution_percentage = 100
    settings.image_settings.file_format = "PNG"
    settings.image_settings.color_mode = "RGB"
    settings.filepath = str(path)
    settings.use_file_extension = False
    scene.cycles.device = "CPU"
    scene.cycles.samples = SAMPLES
    scene.cycles.use_denoising = _cycles.with_openimagedenoise  # some distributions build Blender without a denoiser
    scene.view_settings.view_transform = "Standard"  # shows the colours as they are in the texture
    bpy.ops.render.render(write_still=True)
