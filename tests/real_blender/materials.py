"""A session in a real, windowed Blender with the real backend and a tiny model of TRELLIS.2's family.

    blender --python tests/real_blender/materials.py -- OUT_DIR MODELS

The folder MODELS has the model ``tiny``, of random weights: what it makes are scraps, but with all materials. An object
is made, shown with its materials and rendered; a finer one is cancelled and made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import OUT, Steps, add_images, call, check, open_sidebar, picture, press, pump, view

EXAMPLES = Path(__file__).parents[2] / "examples"
SOCKETS = ("Base Color", "Roughness", "Metallic", "Alpha")
LINES = 6  # that the sidebar is scrolled down to the button, where steps and resolution are shown
LIST = 60.0  # seconds for the list of models
JOB = 400.0  # seconds that jobs may take on a machine that has other things to do


def chosen() -> Steps:
    driver.empty_scene()
    bpy.context.preferences.addons[driver.ROOT].preferences.models_folder = driver.ARGUMENTS[1]
    yield from open_sidebar()
    add_images(EXAMPLES / "mushroom.png")
    settings = bpy.context.scene.espalier
    properties = sys.modules[f"{driver.ROOT}.blender_addon.request.properties"]
    yield from driver.until(lambda: "tiny" in properties.models(), "the model is found", LIST)
    settings.model = "tiny"
    check(properties.resolutions(settings) == (512, 1024, 1536), "it has a choice of resolutions")
    yield 0.5
    picture("1_chosen")


def made(name: str, below: int = 0) -> Steps:
    yield from press("espalier.generate", below)
    yield from driver.until(lambda: name in bpy.data.objects and not pump.jobs.jobs, f"{name} is made", JOB)
    yield 0.5


def channel(socket: bpy.types.NodeSocket) -> str:
    """What a socket is linked to: the image's kind and the channel."""
    link = socket.links[0]
    node = link.from_node
    if node.type == "SEPARATE_COLOR":
        node = node.inputs["Color"].links[0].from_node
    return f"{node.image.name.rpartition(' ')[2]} {link.from_socket.name}"


def shown() -> Steps:
    yield from made("mushroom")
    made_of = bpy.data.objects["mushroom"].data.materials[0].node_tree.nodes["Principled BSDF"].inputs
    links = {
        name: channel(made_of[name]) for name in ("Base Color", "Roughness", "Metallic", "Alpha") if made_of[name].links
    }
    check({"Base Color", "Roughness", "Metallic"} <= set(links), f"its materials are linked: {links}")
    check(links["Roughness"].endswith("Green") and links["Metallic"].endswith("Blue"), "from one image")
    image = made_of["Roughness"].links[0].from_node.inputs["Color"].links[0].from_node.image
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    spread = values.reshape(-1, 4)[:, 1:3].std(0)
    check((spread > 0.02).all(), f"roughness and metalness differ over it: {spread.round(3)}")
    call(bpy.ops.view3d.view_all)
    view()[1].spaces.active.shading.type = "MATERIAL"
    yield 6.0
    picture("2_materials")
    view()[1].spaces.active.shading.type = "SOLID"
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 24, "CPU"
    scene.cycles.use_denoising = False  # some distributions build Blender without a denoiser
    scene.render.resolution_x = scene.render.resolution_y = 360
    call(bpy.ops.view3d.camera_to_view_selected)
    scene.render.filepath = str(OUT / "3_rendered.png")
    bpy.ops.render.render(write_still=True)
    check((OUT / "3_rendered.png").stat().st_size > 10_000, "it is rendered")


def finer() -> Steps:
    settings, before = bpy.context.scene.espalier, driver.objects()
    settings.use_resolution, settings.resolution = True, "1024"
    settings.use_steps, settings.steps = True, 400
    yield from press("espalier.generate", LINES)
    yield from driver.until(driver.running(0.05), "a finer one is being made", JOB)
    picture("4_finer")
    call(bpy.ops.espalier.cancel_all)
    yield from driver.until(lambda: not pump.jobs.jobs, "it is cancelled", JOB)
    check(driver.objects() == before, "with no trace")
    settings.steps = 2
    yield from made("mushroom.001", LINES)
    picture("5_finer")
    check(bpy.data.objects["mushroom.001"]["espalier_resolution"] == 1024, "the object says how fine it is")


def whole() -> Steps:
    yield from chosen()
    yield from shown()
    yield from finer()


driver.drive(whole())
