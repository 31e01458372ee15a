"""The work of one request: images and a model in, files in the job's folder out.

A job leaves these files in its folder: ``raw.npz`` (the preview), ``mesh.npz``, ``texture.png``, ``normal_map.png``,
``NAME.glb`` (named after the first image) and ``job.json``. On request it also leaves ``occlusion.png``,
``NAME.raw.ply``, ``NAME.obj`` with its ``.mtl``, ``NAME.ply`` and ``NAME.gaussians.ply``. Each file appears whole or
not at all.
"""

from __future__ import annotations

import io
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import protocol
from ..errors import SettingsError
from ..files import write_whole, written_whole
from ..images.files import load_image
from ..mesh import Mesh, RawMesh
from ..mesh.export import write_gaussians, write_glb, write_obj, write_ply
from ..mesh.paint.paint import View
from ..pipeline import Generated, Pipeline
from ..protocol import Settings
from ..retexture import load_mesh, retexture
from .cutouts import is_point
from .warm_models import WarmModels

OnProgress = Callable[[str, int, int], None]
OnPreview = Callable[[Path], None]
Check = Callable[[], None]

#: zlib level of the texture: the default (6) takes far longer for a few percent.
_PNG_LEVEL = 3


def run(
    request: protocol.Generate, models: WarmModels, *, on_progress: OnProgress, on_preview: OnPreview, check: Check
) -> protocol.Result:
    """Run a request. ``check()`` is called often, and ends the job by raising.

    Raises BackendError for problems that a person can fix, and whatever ``check`` raises.
    """
    started = time.perf_counter()
    settings, out = _settings(request), _folder(request.out)
    on_progress("load", 0, 1)
    # Images come first: a bad one is reported before seconds are spent on loading a model.
    images = []
    for path, point, painted in zip(request.images, _points(request), _painted(request), strict=True):
        check()
        images.append(load_image(Path(path), "never" if painted else settings.background, point))
    notes = [image.info["note"] for image in images]
    shape = load_mesh(Path(request.mesh)) if request.mesh else None
    opened = time.perf_counter()
    pipeline = models.get(request.model, low_memory=request.low_memory)
    loaded = time.perf_counter()
    check()

    def preview(raw: RawMesh) -> None:
        on_preview(_write_raw(out / "raw.npz", raw))
        timings["preview"] = time.perf_counter() - started

    timings: dict[str, float] = {}
    make = pipeline.generate if shape is None else partial(retexture, pipeline, shape)
    generated = make(images, settings, on_progress=on_progress, on_preview=preview, check=check)
    timings |= generated.timings | {"load": loaded - opened}
    timings["prepare"] += opened - started

    written = time.perf_counter()
    carried_out = _carried_out(request, pipeline, settings)
    files = _write(out, _asset_name(request.images[0]), generated, settings)
    cameras = tuple(_camera(view) for view in generated.mesh.views)
    about = {"settings": carried_out, "counts": generated.counts, **({"cameras": cameras} if cameras else {})}
    write_whole(out / "job.json", json.dumps(about, indent=2) + "\n")
    timings["write"] = time.perf_counter() - written
    timings["total"] = time.perf_counter() - started
    return protocol.Result(
        job=request.job,
        arrays=str(files["arrays"]),
        texture=str(files["texture"]),
        glb=str(files["glb"]),
        timings={name: round(seconds, 4) for name, seconds in timings.items()},
        counts=generated.counts,
        settings=carried_out,
        normal_map=str(files.get("normal_map", "")),
        occlusion=str(files.get("occlusion", "")),
        raw=str(out / "raw.npz") if settings.keep_raw else "",
        files={kind: str(path) for kind, path in files.items() if kind in (*protocol.ABOUT["formats"].values, "raw")},
        note=" ".join(filter(None, [*notes, generated.note])),
        cameras=cameras,
    )


def fraction(stage: str, step: int, steps: int) -> float:
    """The share of a job that is done after ``step`` of ``steps`` of a stage, from 0 to 1."""
    names = list(protocol.STAGES)
    before = sum(protocol.STAGES[name] for name in names[: names.index(stage)])
    # Rounded, or the sums of different stages would differ in their last bits and a bar could fall.
    return round(before + protocol.STAGES[stage] * step / max(steps, 1), 6)


def _settings(request: protocol.Generate) -> Settings:
    """The checked settings of a request from the wire, whose fields may hold anything.

    Raises SettingsError and InvalidSetting.
    """
    if not isinstance(request.images, tuple) or not all(isinstance(path, str) and path for path in request.images):
        raise SettingsError("settings_invalid", "The images must be a list of paths.")
    if not request.images:
        raise SettingsError("no_images", "There is no reference image.", "Add at least one image of the object.")
    if not isinstance(request.out, str) or not isinstance(request.mesh, str):
        raise SettingsError("settings_invalid", "The output folder and the mesh must be paths.")
    settings = request.settings()
    return replace(settings, **protocol.FOR_A_GIVEN_MESH) if request.mesh else settings


def _points(request: protocol.Generate) -> tuple[protocol.Point | None, ...]:
    """The point in each image of a request from the wire. Raises SettingsError."""
    points = request.points or (None,) * len(request.images)
    if not isinstance(points, tuple) or len(points) != len(request.images) or not all(map(is_point, points)):
        raise SettingsError("settings_invalid", "The points must be a list of pairs from 0 to 1, one for each image.")
    return points


def _painted(request: protocol.Generate) -> tuple[bool, ...]:
    """Which images of a request from the wire were painted. Raises SettingsError."""
    painted = request.painted or (False,) * len(request.images)
    if not isinstance(painted, tuple) or len(painted) != len(request.images) or not {*map(type, painted)} <= {bool}:
        raise SettingsError("settings_invalid", "Whether images are painted must be true or false for each image.")
    return painted


def _folder(out: str) -> Path:
    folder = Path(out)
    if not out or not folder.is_dir():
        raise SettingsError("out_missing", f"The output folder {out!r} does not exist.", "Choose an existing folder.")
    return folder.resolve()


def _carried_out(request: protocol.Generate, pipeline: Pipeline, settings: Settings) -> dict[str, Any]:
    """The request with the defaults filled in: asking for exactly this again gives the same bytes."""
    structure, latents = pipeline.samplers(settings)
    filled = {
        # None if the model's two stages differ: only leaving the choice to the model reproduces that.
        "steps": structure.steps if structure.steps == latents.steps else None,
        "guidance": structure.guidance if structure.guidance == latents.guidance else None,
        "formats": list(settings.formats),
    }
    asked = {"images": list(request.images), "points": list(request.points), "painted": list(request.painted)}
    return {**asked, **asdict(settings), **filled, "mesh": request.mesh}


def _camera(view: View) -> dict[str, float]:
    """An image's camera, as ``protocol.Result`` describes it."""
    camera = view.camera
    if camera is None:
        return {}
    spread = math.tan(math.radians(camera.fov) / 2)
    return {
        "painted": view.trusted,
        "azimuth": camera.azimuth % 360,
        "elevation": camera.elevation,
        "distance": camera.distance,
        "angle": math.degrees(2 * math.atan(spread * camera.half)),
        "shift_x": camera.u / (2 * camera.half),
        "shift_y": camera.v / (2 * camera.half),
    }


def _asset_name(image: str) -> str:
    """A file name that every system accepts, from the name of the asset's image."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", Path(image).stem)[:80].strip(" .") or "object"


def _write(out: Path, name: str, generated: Generated, settings: Settings) -> dict[str, Path]:
    """Write the asset's files. Returns the path of each kind."""
    mesh = generated.mesh
    files = {"arrays": out / "mesh.npz", "glb": out / f"{name}.glb"}
    painted = {"texture": mesh.texture, "normal_map": mesh.normal_map, "occlusion": mesh.occlusion}
    images = {kind: _png(image) for kind, image in painted.items() if image is not None}
    for kind, png in images.items():
        files[kind] = out / f"{kind}.png"
        write_whole(files[kind], png)
    with written_whole(files["arrays"]) as part:
        np.savez(
            part,
            vertices=mesh.vertices.astype(np.float32),
            faces=mesh.faces.astype(np.int32),
            uvs=mesh.uvs.astype(np.float32),
        )
    write_glb(files["glb"], mesh, images["texture"], images.get("normal_map"), name, images.get("occlusion"))
    return files | _write_others(out, name, generated, settings)


def _write_others(out: Path, name: str, generated: Generated, settings: Settings) -> dict[str, Path]:
    """Write the other files that a person chose. Returns the path of each kind."""
    mesh, files = generated.mesh, {}
    if settings.keep_raw:
        files["raw"] = out / f"{name}.raw.ply"
        write_ply(files["raw"], generated.raw.numpy())
    if "obj" in settings.formats:
        files["obj"] = out / f"{name}.obj"
        write_obj(files["obj"], mesh, "texture.png", None if mesh.normal_map is None else "normal_map.png", name)
    if "ply" in settings.formats:
        files["ply"] = out / f"{name}.ply"
        write_ply(files["ply"], Mesh(mesh.vertices, mesh.faces, mesh.vertex_colors()))
    if "gaussians" in settings.formats and generated.gaussians is not None:
        files["gaussians"] = out / f"{name}.gaussians.ply"
        write_gaussians(files["gaussians"], generated.gaussians)
    return files


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _write_raw(path: Path, raw: RawMesh) -> Path:
    surface = raw.numpy()
    colors = np.full_like(surface.vertices, 0.8) if surface.colors is None else surface.colors
    with written_whole(path) as part:
        np.savez(
            part,
            vertices=surface.vertices.astype(np.float32),
            faces=surface.faces.astype(np.int32),
            colors=colors.astype(np.float32),
        )
    return path
