"""The wire contract between Blender and the backend: newline-delimited JSON, one message per line.

Standard library only. Both sides import it. Everything that a side may rely on is written here, in ``settings``,
``certificate``, ``places`` and ``image_facts``, whose names this module re-exports. Arrays and images never travel on
the wire: messages carry paths into the job's folder.

Blender -> backend (requests): ``generate``, ``cutout``, ``cancel``, ``unload``, ``shutdown``.
Backend -> Blender (messages): ``ready`` (always first), then for each job ``progress``, ``preview`` and exactly one of
``result``, ``error`` or ``cancelled``. A job with ``seeds`` sends a ``candidate`` for each in place of the preview, and
ends with ``explored`` in place of the result. A ``cutout`` gets exactly one of ``cutout_done``, ``error`` or
``cancelled``, also while a job runs. ``unloaded`` answers ``unload``.
Jobs that wait are taken in their order. From a job's ``progress`` with the stage ``finish`` on it needs the model no
more, and the next one begins beside it: then messages of both come mixed, and either may end first.
Commands that Blender starts (``models``, ``download``, ``verify``, ``delete``, ``fetch``, ``device``) print reports:
see ``command_reports``.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .certificate import Certificate
from .command_reports import (
    Device,
    DeviceCheck,
    Done,
    Installed,
    Interrupted,
    ModelInfo,
    ModelList,
    Peak,
    Transfer,
    Unlocked,
    Wheel,
    Wheels,
)
from .image_facts import (
    BACKGROUND_REMOVED,
    CHECKER_GREYS,
    CHECKER_SQUARE,
    CUTOUT_NOTES,
    CUTOUT_SIDE,
    EDGE_TOUCHED,
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    NOTHING_STANDS_OUT,
    THUMBNAIL_SIDE,
    ImageCamera,
)
from .places import MODELS_VARIABLE, models_folder
from .settings import (
    ABOUT,
    DEFAULT_MODEL,
    FOR_A_GIVEN_MESH,
    About,
    Choice,
    Door,
    InvalidSetting,
    Settings,
    add_options,
    default,
    from_names,
    from_options,
    names,
    problem,
    texture_source,
)
from .typed_json import ProtocolError, built, recognised, tuples

__all__ = [
    "ABOUT",
    "BACKGROUND_REMOVED",
    "CHECKER_GREYS",
    "CHECKER_SQUARE",
    "CUTOUT_NOTES",
    "CUTOUT_SIDE",
    "DEFAULT_MODEL",
    "EDGE_TOUCHED",
    "FOR_A_GIVEN_MESH",
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "MODELS_VARIABLE",
    "NOTHING_STANDS_OUT",
    "THUMBNAIL_SIDE",
    "About",
    "Certificate",
    "Choice",
    "Device",
    "DeviceCheck",
    "Done",
    "Door",
    "ImageCamera",
    "Installed",
    "Interrupted",
    "InvalidSetting",
    "ModelInfo",
    "ModelList",
    "Peak",
    "ProtocolError",
    "Settings",
    "Transfer",
    "Unlocked",
    "Wheel",
    "Wheels",
    "add_options",
    "default",
    "from_names",
    "from_options",
    "models_folder",
    "names",
    "problem",
    "texture_source",
]

PROTOCOL_VERSION = 1

#: The code of an error after which the backend can compute nothing more on its device, and ends.
DEVICE_LOST = "device_lost"

#: The stages of a job in the order they run, with their share of the progress bar (the shares add up to 1).
STAGES: dict[str, float] = {
    "load": 0.05,
    "prepare": 0.02,
    "encode": 0.03,
    "structure": 0.30,
    "latents": 0.30,
    "decode": 0.15,
    "finish": 0.15,
}

#: How many seeds a job may have.
MOST_SEEDS = 64

#: How many boxes an object can be made anew in, one after the other; and letters of the voxels of a guide, as text.
MOST_EDITS, MOST_VOXELS_TEXT = 16, 1 << 16

#: A box in the space of an object's mesh, the cube [-0.5, 0.5]^3, by its lowest and its highest corner (x, y, z), and
#: the seed that what is inside it is made anew with.
Edit = tuple[tuple[float, float, float], tuple[float, float, float], int]

#: A place in an image, as fractions of its width and height from the top left: the object there is meant. Without one,
#: the largest is.
Point = tuple[float, float]


@dataclass(frozen=True)
class Generate(Settings):
    """Ask for one object from one or several images of it. ``out`` must be an existing folder owned by this job.

    ``mesh`` is an ``.npz`` with ``vertices`` [V, 3] float32 (z up, front to -Y, any size and place), ``faces`` [F, 3]
    int32 and, if the mesh has them, ``uvs`` [F, 3, 2] float32. Its shape is kept, and a texture is made for it. The UVs
    are used as they are if they do not overlap. Otherwise new ones are made: for ``cage_vertices`` and ``cage_faces``
    if the file has them (the mesh that a modifier makes the shape from), else for the mesh itself. With ``mesh``, the
    settings in ``FOR_A_GIVEN_MESH`` and ``faces`` are ignored.

    ``guide`` is an ``.npz`` with ``vertices`` and ``faces`` as in ``mesh``, whose shape guides the object's as far as
    ``shape_strength`` says. ``voxels`` is such a guide as a text: ``Result.settings`` has it, so that the object can be
    made again. One of ``mesh``, ``guide`` and ``voxels`` can be given.

    ``edits`` are boxes in which the object is made anew, one after the other, each with a seed of its own. Outside of
    a box, its voxels and their latents stay as they were. ``mesh`` must then be empty.

    ``points`` has a point for each image, or is empty: see ``Point``. ``painted`` says for each image whether a person
    has painted its transparency, or is empty. That transparency is used as it is, whatever ``background`` says.
    ``name`` is what the asset is called in its files; without one it has the name of the first image.

    With ``seeds``, the objects of these seeds are made instead of that of ``seed``, but not finished. ``views`` says
    for each of them which images it is made from, by their numbers, or is empty: then it is all of them. What was made
    is kept for some time, so that a later ``generate`` with one of the seeds, the same images and settings only has to
    finish its object. It gives the same bytes as without. ``mesh`` and ``edits`` must be empty.
    """

    type: ClassVar[str] = "generate"
    job: str
    images: tuple[str, ...]
    out: str
    mesh: str = field(default="", kw_only=True)
    guide: str = field(default="", kw_only=True)
    voxels: str = field(default="", kw_only=True)
    edits: tuple[Edit, ...] = field(default=(), kw_only=True)
    name: str = field(default="", kw_only=True)
    points: tuple[Point | None, ...] = field(default=(), kw_only=True)
    painted: tuple[bool, ...] = field(default=(), kw_only=True)
    seeds: tuple[int, ...] = field(default=(), kw_only=True)
    views: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        """Check nothing yet: fields from the wire may hold anything. ``settings`` checks them, when a job can fail."""

    def settings(self) -> Settings:
        """The settings alone, checked. Raises InvalidSetting."""
        return Settings(**{name: getattr(self, name) for name in ABOUT})


@dataclass(frozen=True)
class Cutout:
    """Ask for the object in an image, cut out. It is answered while a job runs, too; several are answered in order.

    ``id`` must differ from those of all jobs: ``cancel`` and ``error`` carry it as their ``job``. ``image`` is the path
    of an image file, and ``out`` that of the PNG to write, whole or not at all. ``background`` is the setting of that
    name. ``thumbnail`` is the path of another PNG, for panels: the cut-out over a checkerboard, at most
    ``THUMBNAIL_SIDE`` pixels a side; "" if none is wanted.
    """

    type: ClassVar[str] = "cutout"
    id: str
    image: str
    out: str
    background: str = Settings.background
    point: Point | None = None
    thumbnail: str = ""


@dataclass(frozen=True)
class Cancel:
    """End a job, queued or running, or a cut-out that waits.

    The answer is ``cancelled``, or the usual one if it was already done. A cut-out that is being made is completed.
    """

    type: ClassVar[str] = "cancel"
    job: str


@dataclass(frozen=True)
class Unload:
    """Free the memory of all loaded models."""

    type: ClassVar[str] = "unload"


@dataclass(frozen=True)
class Shutdown:
    """End the process. Closing its stdin does the same."""

    type: ClassVar[str] = "shutdown"


@dataclass(frozen=True)
class Ready:
    """The first message of a backend: it can take requests now."""

    type: ClassVar[str] = "ready"
    protocol: int
    version: str  # Espalier's
    python: str
    torch: str
    device: str
    models: tuple[str, ...]  # names that ``generate`` accepts
    at_once: int = 1  # how many jobs it takes, if all but the last one are only to be finished
    memory: int | None = None  # bytes, of a GPU


@dataclass(frozen=True)
class Progress:
    """How far a job is. ``fraction`` runs from 0 to 1 over the whole job and never falls."""

    type: ClassVar[str] = "progress"
    job: str
    stage: str
    fraction: float
    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Preview:
    """The raw coloured mesh, as soon as it is decoded.

    ``arrays`` is an ``.npz`` with ``vertices`` [V, 3] float32, ``faces`` [F, 3] int32 and ``colors`` [V, 3] float32
    (sRGB, 0..1).
    """

    type: ClassVar[str] = "preview"
    job: str
    arrays: str


@dataclass(frozen=True)
class Candidate:
    """One of the objects of a job with ``seeds``: the raw coloured mesh, as in ``Preview``, or why there is none.

    ``number`` is that of its seed in ``seeds``. ``note`` is as in ``Result``. If this object could not be made,
    ``arrays`` is empty, and ``problem`` and ``hint`` say why; the others are made all the same.
    """

    type: ClassVar[str] = "candidate"
    job: str
    number: int
    arrays: str
    note: str = ""
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Explored:
    """All candidates of a job have been sent. ``timings`` and ``settings`` are as in ``Result``."""

    type: ClassVar[str] = "explored"
    job: str
    timings: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The finished object.

    ``arrays`` is an ``.npz`` with ``vertices`` [V, 3] float32 (Blender's axes: z up, front to -Y, inside the cube
    [-0.5, 0.5]^3), ``faces`` [F, 3] int32 and ``uvs`` [F, 3, 2] float32 (one per face corner, v up), and the same of
    each level of detail: ``lod1_vertices`` and so on; convex hulls are ``hull1_vertices``, ``hull1_faces`` and so
    on. Of the faces the first ``counts["quads"]`` pairs are quads. ``portrait`` [96, 96, 4] uint8 is a small picture
    of the object with its texture, drawn as ``portrait_facts`` says: sRGB and alpha, the top row first. Older backends
    make none.
    ``texture`` is a PNG (sRGB), with alpha if much of the object is ``see_through``; ``glb`` holds the same asset, y
    up, as ``asset_facts.standing`` puts it.
    ``normal_map`` is a PNG (linear) of tangent-space normals in MikkTSpace, green up; "" if it was not requested.
    ``occlusion`` is a PNG (linear) packed as ORM: red is 255 where the surface is open or no occlusion was requested,
    green is the roughness, blue the metalness, which is 0 unless the model made ``materials``; "" if it did not, and
    neither occlusion nor roughness was requested.
    ``tiles`` is empty unless UDIM tiles were requested. Then it has a path for each image, such as
    ``NAME.texture.<UDIM>.png``: with 1001, 1002, 1011 and 1012 for ``<UDIM>`` these are PNGs of its quarters, from the
    lower left. The UVs are those of the whole image; no face lies in two quarters. ``raw`` has the arrays of
    ``Preview``; "" if the raw mesh was not to be kept. If the request had a mesh, the arrays are that mesh's (or its
    cage's), face by face, moved into the cube, and ``counts["charts"]`` is 0 if its own UVs were used.
    ``files`` has the other formats that were requested, and "raw", a .ply of the raw mesh. ``cameras`` has one for each
    image if the texture was to be painted from them: None where the object is too small. ``certificate`` says what was
    checked of the mesh; its lengths are those of the .glb.
    """

    type: ClassVar[str] = "result"
    job: str
    arrays: str
    texture: str
    glb: str
    timings: dict[str, float] = field(default_factory=dict)  # seconds by stage, "total", and until "preview"
    counts: dict[str, int] = field(default_factory=dict)  # voxels, raw_faces, faces, vertices, charts, ...
    settings: dict[str, Any] = field(default_factory=dict)  # the request as it was run, defaults filled in
    normal_map: str = ""
    occlusion: str = ""
    tiles: dict[str, str] = field(default_factory=dict)
    raw: str = ""
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""  # what a person should know about how it was made; usually "", but for a given mesh
    cameras: tuple[ImageCamera | None, ...] = ()
    certificate: Certificate | None = None
    materials: bool = False
    see_through: bool = False


@dataclass(frozen=True)
class CutoutDone:
    """The cut-out is written.

    ``out`` is a PNG with alpha, of the image's proportions, upright, and at most ``CUTOUT_SIDE`` pixels per side. If
    ``removed`` is false, the image is as it was: its own transparency is used, nothing was to be removed, or no object
    stands out. Then ``notes`` says so, and ``generate`` would refuse the image.
    """

    type: ClassVar[str] = "cutout_done"
    id: str
    out: str
    removed: bool
    notes: tuple[str, ...] = ()  # some of ``CUTOUT_NOTES``


@dataclass(frozen=True)
class Error:
    """A job failed (``job`` is set), or a request is unreadable or the process cannot continue (``job`` is None).

    ``hint`` says what to do about it.
    """

    type: ClassVar[str] = "error"
    job: str | None
    code: str  # short and stable: "image_unreadable", "model_unknown", "checkpoint_invalid", "out_of_memory", ...
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled. The models stay loaded."""

    type: ClassVar[str] = "cancelled"
    job: str


@dataclass(frozen=True)
class Unloaded:
    """All models are released."""

    type: ClassVar[str] = "unloaded"


def edits(values: object) -> tuple[Edit, ...] | None:
    """Boxes from the wire or from a .blend, whose values may be anything; None if these are no boxes, or too many."""
    if not isinstance(values, list | tuple) or len(values) > MOST_EDITS:
        return None
    read = tuple(_edit(value) for value in values)
    return None if None in read else typing.cast("tuple[Edit, ...]", read)


def _edit(value: object) -> Edit | None:
    match value:
        case ([_, _, _] as low, [_, _, _] as high, seed) if not problem("seed", seed):
            corners = [
                float(each) for each in (*low, *high) if isinstance(each, int | float) and type(each) is not bool
            ]
            ordered = all(-1 <= start < end <= 1 for start, end in zip(corners[:3], corners[3:], strict=False))
            if len(corners) == 6 and ordered:
                return typing.cast(Edit, (tuple(corners[:3]), tuple(corners[3:]), seed))
    return None


Request = Generate | Cutout | Cancel | Unload | Shutdown
Message = Ready | Progress | Preview | Candidate | Explored | Result | CutoutDone | Error | Cancelled | Unloaded

_REQUESTS: dict[str, type] = {c.type: c for c in (Generate, Cutout, Cancel, Unload, Shutdown)}
_MESSAGES: dict[str, type] = {
    c.type: c for c in (Ready, Progress, Preview, Candidate, Explored, Result, CutoutDone, Error, Cancelled, Unloaded)
}


def encode(message: Request | Message | Report) -> str:
    """One line of JSON, newline included."""
    return json.dumps({"type": message.type, **dataclasses.asdict(message)}, ensure_ascii=True) + "\n"


def decode_request(line: str) -> Request:
    """Read a line that Blender sent, whose fields may hold anything. Raises ProtocolError."""
    kind, values = recognised(line, _REQUESTS)
    # Unknown fields are dropped, so that a newer peer of the same protocol can add some.
    known = {f.name for f in dataclasses.fields(kind)}
    try:
        request: Request = kind(**{name: tuples(value) for name, value in values.items() if name in known})
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{kind.type}: {error}") from error
    return request


def decode_message(line: str) -> Message:
    """Read a line that the backend sent. Raises ProtocolError, also if a field has the wrong type."""
    kind, values = recognised(line, _MESSAGES)
    message: Message = built(kind, values, kind.type)
    return message


# --- reports: see ``command_reports``. Libraries print on the same stream: what is not a report is for the log -------

Report = ModelList | Transfer | Installed | Done | Error | Interrupted | Device | DeviceCheck | Wheels

_REPORTS: dict[str, type] = {c.type: c for c in typing.get_args(Report)}


def decode_report(line: str) -> Report:
    """Read a line that a command printed. Raises ProtocolError, also if a field has the wrong type."""
    kind, values = recognised(line, _REPORTS)
    report: Report = built(kind, values, kind.type)
    return report
