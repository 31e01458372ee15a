"""The work of one request: images and a model in, files in the job's folder out.

A job leaves these files in its folder, named after the first image: ``NAME.raw.npz`` (the preview), ``NAME.npz``,
``NAME.texture.png``, ``NAME.normal_map.png``, ``NAME.glb`` and ``NAME.json``. On request it also leaves
``NAME.occlusion.png``, ``NAME.raw.ply``, the images' UDIM tiles and the formats of ``formats.FORMATS``. Each file
appears whole or not at all.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import protocol, retexture
from ..errors import SettingsError
from ..formats import TEXTURES
from ..generated import Generated
from ..guide import Guide, edits_of
from ..images.files import load_image
from ..kept import Kept
from ..mesh import AnyRawMesh
from ..mesh.given import GivenMesh
from ..mesh.paint.paint import View
from ..networks import require_possible
from ..pipeline import Pipeline
from ..protocol import Settings
from ..retexture import load_mesh
from ..settings import texture_source
from ..weights.folders import ModelFolder
from .cutouts import is_point
from .outputs import TILE_ENDINGS, Place, certificate_of, check_print, write_asset, write_notes, write_raw
from .warm_models import WarmModels

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

OnProgress = Callable[[str, int, int], None]
OnPreview = Callable[[Path], None]
Check = Callable[[], None]

#: The kinds of files of a result that it names elsewhere than among those that were asked for.
NOT_ASKED_FOR = ("arrays", "glb", *TEXTURES, *TILE_ENDINGS)


def run(request: protocol.Generate, models: WarmModels, **more: Any) -> protocol.Result:
    """Run a request. The arguments and the errors are those of ``begin``."""
    return begin(request, models, **more).finish()


def begin(
    request: protocol.Generate,
    models: WarmModels,
    *,
    on_progress: OnProgress,
    on_preview: OnPreview | None,
    check: Check,
    kept: Kept | None = None,
    images: list[Image.Image] | None = None,
    durable: bool = False,
) -> Begun:
    """Run a request as far as it needs the model. ``check()`` is called often, and ends the job by raising. ``kept``
    has cut-outs of images; ``images`` are those of the request, if they were cut out before. Without ``on_preview`` no
    preview is written.

    With ``durable`` the asset is on the disk before its files get their names.

    Raises BackendError for problems that a person can fix, and whatever ``check`` raises.
    """
    started = time.perf_counter()
    settings = checked_settings(request)
    place = place_of(request)
    on_progress("load", 0, 1)
    # Images come first: a bad one is reported before seconds are spent on loading a model.
    images = load_images(request, settings, check, kept) if images is None else images
    notes = [image.info["note"] for image in images]
    mesh = load_mesh(Path(request.mesh)) if request.mesh else None
    shape = shape_of(request)
    opened = time.perf_counter()
    shape.require_possible(request.model, settings)
    pipeline = models.get(request.model, low_memory=request.low_memory)
    timings = {"load": time.perf_counter() - opened}
    check()

    def preview(raw: AnyRawMesh) -> None:
        if on_preview is not None:
            on_preview(write_raw(place, raw))
        timings["preview"] = time.perf_counter() - started

    guide = shape.guide(pipeline.grid(settings))
    if mesh is None:
        make = partial(pipeline.begin, guide=guide, edits=shape.edits)
    else:
        make = partial(retexture.begin, pipeline, mesh)
    finished = make(images, settings, on_progress=on_progress, on_preview=preview, check=check, kept=models.kept)
    carried_out = carried_out_by(request, pipeline, settings, shape)
    timings["prepare"] = opened - started
    return Begun(request.job, place, settings, carried_out, notes, finished, check, durable, started, timings)


@dataclass(frozen=True)
class Begun:
    """A job that needs its model no more. Its object is made, but not finished."""

    job: str
    place: Place
    settings: Settings
    carried_out: dict[str, Any]
    notes: list[str]  # on its images
    finished: Callable[[], Generated]
    check: Check
    durable: bool
    started: float
    timings: dict[str, float]  # of what ``finished`` does not time

    def finish(self) -> protocol.Result:
        """Finish the object and write its files, in any thread. Raises as ``begin`` does."""
        place, settings, check = self.place, self.settings, self.check
        generated = self.finished()
        timings = generated.timings | self.timings
        timings["prepare"] += generated.timings.get("prepare", 0.0)

        written = time.perf_counter()
        printed = check_print(generated, settings, check)
        files = write_asset(place, generated, settings, durable=self.durable, check=check, printed=printed)
        cameras = tuple(_camera(view) for view in generated.mesh.views)
        certificate = certificate_of(generated.mesh)
        write_notes(place, self.carried_out, generated.counts, cameras, certificate)
        timings["write"] = time.perf_counter() - written
        timings["total"] = time.perf_counter() - self.started
        return protocol.Result(
            job=self.job,
            arrays=str(files["arrays"]),
            texture=str(files["texture"]),
            glb=str(files["glb"]),
            timings={name: round(seconds, 4) for name, seconds in timings.items()},
            counts=generated.counts,
            settings=self.carried_out,
            normal_map=str(files.get("normal_map", "")),
            occlusion=str(files.get("occlusion", "")),
            tiles={kind: str(place.tiles(kind)) for kind in TEXTURES if settings.udim and kind in files},
            raw=str(place.raw_arrays) if settings.keep_raw else "",
            files={kind: str(path) for kind, path in files.items() if kind not in NOT_ASKED_FOR},
            note=" ".join(filter(None, [*self.notes, generated.note, printed.note if printed is not None else ""])),
            cameras=cameras,
            certificate=certificate,
            materials=generated.mesh.metallic is not None,
            see_through=generated.mesh.see_through,
        )


def fraction(stage: str, step: int, steps: int) -> float:
    """The share of a job that is done after ``step`` of ``steps`` of a stage, from 0 to 1."""
    names = list(protocol.STAGES)
    before = sum(protocol.STAGES[name] for name in names[: names.index(stage)])
    # Rounded, or the sums of different stages would differ in their last bits and a bar could fall.
    return round(before + protocol.STAGES[stage] * step / max(steps, 1), 6)


def checked_settings(request: protocol.Generate) -> Settings:
    """The checked settings of a request from the wire, whose fields may hold anything.

    Raises SettingsError and InvalidSetting.
    """
    if not isinstance(request.images, tuple) or not all(isinstance(path, str) and path for path in request.images):
        raise SettingsError("settings_invalid", "The images must be a list of paths.")
    if not request.images:
        raise SettingsError("no_images", "There is no reference image.", "Add at least one image of the object.")
    if not all(isinstance(text, str) for text in (request.out, request.mesh, request.name)):
        raise SettingsError("settings_invalid", "The output folder and the mesh must be paths, the name must be text.")
    settings = request.settings()
    return replace(settings, **protocol.FOR_A_GIVEN_MESH) if request.mesh else settings


def load_images(
    request: protocol.Generate, settings: Settings, check: Check, kept: Kept | None = None
) -> list[Image.Image]:
    """The images of a request, cut out. Raises ImageError, SettingsError, and whatever ``check`` raises."""
    images = []
    for path, point, painted in zip(request.images, _points(request), _painted(request), strict=True):
        check()
        images.append(load_image(Path(path), "never" if painted else settings.background, point, kept))
    return images


def place_of(request: protocol.Generate) -> Place:
    """Where the files of a request go. Raises SettingsError, OSError."""
    return Place.find(_folder(request.out), request.name or Path(request.images[0]).stem, request.images)


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
    if not os.path.isdir(out):  # not Path's: that raises for a name that is too long
        raise SettingsError("out_missing", f"The output folder {out!r} does not exist.", "Choose an existing folder.")
    return Path(out).resolve()


@dataclass(frozen=True)
class Shape:
    """What a request says of the shape, besides its images: a guide, if there is one, and boxes."""

    given: GivenMesh | Guide | None
    edits: tuple[protocol.Edit, ...]

    def guide(self, resolution: int) -> np.ndarray | None:
        """The voxels [N, 3] of the guide on a grid of this resolution. Raises SettingsError."""
        if isinstance(self.given, GivenMesh):
            return Guide.of_mesh(self.given, resolution).voxels
        return None if self.given is None else self.given.at(resolution)

    def require_possible(self, model: str, settings: Settings) -> None:
        """Raise SettingsError for what a model cannot do, before it is loaded, and CheckpointError if there is none."""
        config = ModelFolder.find(model).config
        require_possible(config, settings, guided=self.given is not None, boxed=bool(self.edits))

    def noted(self, resolution: int) -> dict[str, Any]:
        """The fields of a request that ask for the same shape again, without the guide's mesh."""
        guide = Guide.of_mesh(self.given, resolution) if isinstance(self.given, GivenMesh) else self.given
        return {"voxels": "" if guide is None else guide.text(), "edits": [list(edit) for edit in self.edits]}


def shape_of(request: protocol.Generate) -> Shape:
    """What a request from the wire says of the shape. Raises SettingsError."""
    ways = [text for text in (request.mesh, request.guide, request.voxels) if text]
    if not all(isinstance(text, str) for text in ways) or len(ways) > 1:
        raise SettingsError("settings_invalid", "Only one of a mesh, a guide and its voxels can be given.")
    edits = edits_of(request.edits)
    if request.mesh and edits:
        raise SettingsError("settings_invalid", "A given mesh cannot be made anew in a box: its shape is kept.")
    if request.shape_strength == 0:
        return Shape(None, edits)
    if request.guide:
        return Shape(load_mesh(Path(request.guide)), edits)
    return Shape(Guide.read(request.voxels) if request.voxels else None, edits)


def carried_out_by(request: protocol.Generate, pipeline: Pipeline, settings: Settings, shape: Shape) -> dict[str, Any]:
    """The request with the defaults filled in: asking for exactly this again gives the same bytes."""
    structure, latents = pipeline.samplers(settings)
    filled = {
        # None if the model's two stages differ: only leaving the choice to the model reproduces that.
        "steps": structure.steps if structure.steps == latents.steps else None,
        "guidance": structure.guidance if structure.guidance == latents.guidance else None,
        "resolution": mode.resolution if (mode := pipeline.mode(settings)) else None,
        "formats": list(settings.formats),
        "texture_source": texture_source(settings.texture_source, materials=pipeline.materials is not None),
    }
    asked = {"images": list(request.images), "points": list(request.points), "painted": list(request.painted)}
    shaped = shape.noted(pipeline.grid(settings))
    return {**asked, **asdict(settings), **filled, **shaped, "mesh": request.mesh}


def _camera(view: View) -> protocol.ImageCamera | None:
    """An image's camera; None if the object is too small in it."""
    camera = view.camera
    if camera is None:
        return None
    spread = math.tan(math.radians(camera.fov) / 2)
    return protocol.ImageCamera(
        painted=view.trusted,
        azimuth=camera.azimuth % 360,
        elevation=camera.elevation,
        distance=camera.distance,
        angle=math.degrees(2 * math.atan(spread * camera.half)),
        shift_x=camera.u / (2 * camera.half),
        shift_y=camera.v / (2 * camera.half),
    )
