"""A backend without a network: speaks the protocol with the standard library alone and makes a painted torus.

    python tests/fakes/fake_backend.py [MODE [SECONDS | FOLDER]] [... models ...]

ok           a job takes an instant                    slow        a job takes three seconds, or as many as said
held         waits before each stage for the file      deaf        as slow, but never answers a cancel
             FOLDER/STAGE                              stillborn   dies before it is ready, saying why on stderr
error        every job fails, with a hint              never_ready starts and says nothing
crash        dies at the first job, in the middle      old         speaks another version of the protocol
bad_json     answers the first job with no message     damaged     its result names a vertex that does not exist
lost         its graphics card fails at every job      materials   its model makes materials, half see-through
"""

from __future__ import annotations

import dataclasses
import math
import os
import queue
import struct
import sys
import threading
import time
import zipfile
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

sys.path.insert(0, str(Path(__file__).parents[2]))

from backend import protocol
from backend.disk_errors import explain
from backend.formats import FORMATS, LEVELS, METALNESS, TEXTURES, TILES, UDIM, Offer, files_of, of_tile, parts_of
from backend.portrait_facts import PORTRAIT, SIZE
from backend.threemf import write_3mf

RINGS, SIDES = 48, 24
#: A guide as its voxels, whatever its mesh is.
VOXELS = "16:eNpjYBgcoB4ImaGw/n/9f1LlmZHhf2a6y1Pq/oECABxIGHE="
#: A .glb that is whole by its own marks.
GLB = struct.pack("<4sIIII", b"glTF", 2, 48, 28, 0x4E4F534A) + b'{"asset":{"version":"2.0"}} '
Array: TypeAlias = "tuple[array[float] | array[int], tuple[int, ...]]"  # flat values, shape


_sending = threading.Lock()


def send(message: protocol.Message) -> None:
    with _sending:
        sys.stdout.write(protocol.encode(message))
        sys.stdout.flush()


def torus() -> tuple[array[float], array[int], array[float], array[float]]:
    """vertices [V, 3], faces [F, 3], uvs [F, 3, 2], colors [V, 3], all flat. Winding outward, inside the cube."""
    vertices, colors, faces, uvs = array("f"), array("f"), array("i"), array("f")
    for i in range(RINGS):
        for j in range(SIDES):
            a, b = 2 * math.pi * i / RINGS, 2 * math.pi * j / SIDES
            radius = 0.34 + 0.14 * math.cos(b)
            vertices.extend((radius * math.cos(a), radius * math.sin(a), 0.14 * math.sin(b)))
            colors.extend(c / 255 for c in paint(i / RINGS, j / SIDES))
    for i in range(RINGS):
        for j in range(SIDES):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            for triangle in ((0, 1, 2), (0, 2, 3)):
                for u, v in (corners[k] for k in triangle):
                    faces.append((u % RINGS) * SIDES + v % SIDES)
                    uvs.extend((u / RINGS, v / SIDES))
    return vertices, faces, uvs, colors


def paint(u: float, v: float) -> tuple[int, int, int]:
    icing = 0.04 < v + 0.03 * math.sin(14 * math.pi * u) < 0.46
    return (232, 120, 160) if icing else (214, 160, 94)


def seen_through(u: float, v: float) -> tuple[int, int, int, int]:
    """The same, of which half is see-through."""
    return (*paint(u, v), 255 if u < 0.5 else 60)


def portrait() -> array[int]:
    """The small picture of the torus, [SIZE, SIZE, 4], flat: a ring, icing above."""
    pixels = array("B")
    for y in range(SIZE):
        for x in range(SIZE):
            distance = math.hypot(2 * x / SIZE - 1, 2 * (2 * y / SIZE - 1))
            opaque = 0.3 < distance < 0.95
            pixels.extend((*paint(0, 0.2 if y < SIZE * 0.55 else 0.8), 255) if opaque else (0, 0, 0, 0))
    return pixels


def write_npz(path: Path, **arrays: Array) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, (values, shape) in arrays.items():
            kind = {"f": "<f4", "i": "<i4", "B": "|u1"}[values.typecode]
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
            archive.writestr(name + ".npy", start + values.tobytes())


def write_png(path: Path, size: int, color: Callable[[float, float], tuple[int, ...]]) -> None:
    """A square PNG. ``color`` gives RGB or RGBA at u, v, with v up."""
    kind = 2 if len(color(0, 0)) == 3 else 6
    rows = []
    for y in range(size):
        pixels = (color(x / size, 1 - (y + 0.5) / size) for x in range(size))
        rows.append(b"\0" + b"".join(bytes(pixel) for pixel in pixels))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", size, size, 8, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows), 1)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_tiles(path: Path, size: int, color: Callable[[float, float], tuple[int, ...]]) -> str:
    """The four quarters of a picture, as ``write_png`` has it. Returns the path of all tiles."""
    for tile in TILES:
        row, column = divmod(tile - TILES[0], 10)
        write_png(
            path.with_name(of_tile(path.name, tile)),
            size // 2,
            lambda u, v, row=row, column=column: color((u + column) / 2, (v + row) / 2),  # type: ignore[misc]
        )
    return str(path.with_name(of_tile(path.name, UDIM)))


def lay_out(path: Path) -> tuple[array[float], int]:
    """UVs for a mesh that has none, each triangle in a cell of its own of 4 x 4, and how many charts these are."""
    with zipfile.ZipFile(path) as arrays:
        if "uvs.npy" in arrays.namelist():
            return array("f"), 0
        name = "cage_faces.npy" if "cage_faces.npy" in arrays.namelist() else "faces.npy"
        head = arrays.read(name)[10:].split(b"\n")[0].decode()
    count = int(head.split("'shape': (")[1].split(",")[0])
    uvs = array("f")
    for i in range(count):
        u, v = i % 4 / 4, i // 4 % 4 / 4
        uvs.extend((u, v, u + 0.25, v, u, v + 0.25))
    return uvs, count


def cut_out(request: protocol.Cutout) -> protocol.CutoutDone | protocol.Error:
    """A disc around the point, whatever the image shows. Its name says what becomes of it: broken, nothing, edge."""
    name = Path(request.image).stem
    if "broken" in name or not Path(request.image).is_file():
        hint = "Choose a PNG or JPEG file."
        return protocol.Error(request.id, "image_unreadable", f"{name} is not an image.", hint)
    removed = "nothing" not in name and request.background != "never"
    x, y = request.point or (0.5, 0.5)

    def disc(u: float, v: float) -> tuple[int, ...]:
        return (*paint(u, v), 255 if not removed or math.hypot(u - x, 1 - v - y) < 0.3 else 0)

    def shown(u: float, v: float) -> tuple[int, ...]:
        return disc(u, v)[:3] if disc(u, v)[3] else ((100, 150)[(int(16 * u) + int(16 * v)) % 2],) * 3

    write_png(Path(request.out), 128, disc)
    if request.thumbnail:
        write_png(Path(request.thumbnail), 128, shown)
    notes = [protocol.BACKGROUND_REMOVED] if removed else []
    notes += [protocol.EDGE_TOUCHED] if "edge" in name else []
    notes += [protocol.NOTHING_STANDS_OUT] if "nothing" in name else []
    return protocol.CutoutDone(request.id, request.out, removed, tuple(notes))


def besides(
    request: protocol.Generate, vertices: array[float], faces: array[int], uvs: array[float]
) -> dict[str, Array]:
    """Levels of detail, which are parts of the torus, and as many convex hulls as the seed says, if there are to be."""
    found: dict[str, Array] = {}
    for number in LEVELS if request.lods else ():
        count, used = len(faces) // 3 >> number, ((RINGS >> number) + 1) * SIDES
        found[f"lod{number}_vertices"] = (vertices[: 3 * used], (used, 3))
        found[f"lod{number}_faces"] = (faces[: 3 * count], (count, 3))
        found[f"lod{number}_uvs"] = (uvs[: 6 * count], (count, 3, 2))
    for number in range(1, 2 + request.seed % 5) if request.collision else ():
        x = 0.1 * number - 0.5
        corners = array("f", (x, 0, 0, x + 0.1, 0, 0, x, 0.1, 0, x, 0, 0.1))
        found[f"hull{number}_vertices"] = (corners, (4, 3))
        found[f"hull{number}_faces"] = (array("i", (0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3)), (4, 3))
    return found


def write_formats(request: protocol.Generate, out: Path) -> dict[str, str]:
    """A file of each format that was asked for, complete by its own marks. Returns their paths by kind."""
    files = {
        kind: str(out / (request.name + ending))
        for name in request.formats
        for kind, ending in files_of(name, ()).items()
    }
    if request.collision:
        files["glb_hulls"] = str(out / f"{request.name}.hulls.glb")
    for name in request.formats:
        parts = parts_of(name, Offer.COMMAND, LEVELS if request.lods else (), request.collision)
        files |= {kind: str(out / (request.name + ending)) for kind, ending in parts.items()}
    empty = {"glb": GLB, "obj": b"mtllib x.mtl\n", "mtl": b"newmtl x\n", "stl": bytes(84), "ply": b"ply\nend_header\n"}
    for kind, path in files.items():
        if kind == "3mf":
            write_3mf(Path(path), [[0, 0, 0]], [], name="x", closed=False)
        else:
            Path(path).write_bytes(empty[kind.partition("_")[0]])
    return files


class Fake:
    def __init__(self, mode: str = "ok", argument: str = "3") -> None:
        self.mode = mode
        self.gate = Path(argument) if mode == "held" else None
        self.seconds = float(argument) if mode in ("slow", "deaf", "crash") else 0.0
        self.queue: queue.Queue[protocol.Generate] = queue.Queue()
        self.cancelled: set[str] = set()
        self.kept: set[int] = set()  # seeds of candidates

    def serve(self) -> None:
        if self.mode == "stillborn":
            sys.exit("ModuleNotFoundError: No module named 'torch'")
        if self.mode == "never_ready":
            sys.stdin.read()
            return
        version = protocol.PROTOCOL_VERSION + (1 if self.mode == "old" else 0)
        threading.Thread(target=self.work, daemon=True).start()
        send(protocol.Ready(version, "0.0", sys.version.split()[0], "none", "cpu", ("mini",)))
        for line in sys.stdin:
            request = protocol.decode_request(line)
            match request:
                case protocol.Generate():
                    self.queue.put(request)
                case protocol.Cutout() if self.mode != "deaf":
                    send(cut_out(request))
                case protocol.Cancel() if self.mode != "deaf":
                    self.cancelled.add(request.job)
                case protocol.Unload():
                    send(protocol.Unloaded())
                case protocol.Shutdown():
                    return

    def work(self) -> None:
        while True:
            request = self.queue.get()
            try:
                if not self.run(request):
                    send(protocol.Cancelled(request.job))
            except OSError as error:
                said = explain(error, request.out)
                send(protocol.Error(request.job, said.code, said.message, said.hint))

    def run(self, request: protocol.Generate) -> bool:
        """One job. False if it was cancelled."""
        if request.seeds:
            return self.explore(request)
        out, done, charts = Path(request.out), 0.0, 1
        vertices, faces, uvs, colors = torus()
        shape: dict[str, Array] = {
            "vertices": (vertices, (len(vertices) // 3, 3)),
            "faces": (faces, (len(faces) // 3, 3)),
        }
        for stage, share in protocol.STAGES.items():
            while self.gate and not (self.gate / stage).exists() and request.job not in self.cancelled:
                time.sleep(0.01)
            for step in range(5):
                if request.job in self.cancelled:
                    return False
                send(protocol.Progress(request.job, stage, done + share * step / 5, step, 5))
                time.sleep(self.seconds * share / 5)
            done += share
            if stage == "structure" and not self.spoil(request):
                return True
            if stage == "decode":
                write_npz(out / "preview.npz", **shape, colors=(colors, (len(colors) // 3, 3)))
                send(protocol.Preview(request.job, str(out / "preview.npz")))
        if self.mode == "damaged":
            faces[0] = len(vertices)
        if request.mesh:
            uvs, charts = lay_out(Path(request.mesh))
        parts = besides(request, vertices, faces, uvs)
        parts[PORTRAIT] = portrait(), (SIZE, SIZE, 4)
        write_npz(out / "mesh.npz", **shape, uvs=(uvs, (len(uvs) // 6, 3, 2)), **parts)
        pictures: dict[str, tuple[int, Callable[[float, float], tuple[int, ...]]]] = {
            "texture": (min(request.texture_size, 256), seen_through if self.mode == "materials" else paint)
        }
        if request.normal_map:
            pictures["normal_map"] = 16, lambda u, v: (128, 128, 255)
        has_orm = request.ambient_occlusion or request.roughness == "estimated" or self.mode == "materials"
        if has_orm:
            pictures["occlusion"] = 16, lambda u, v: (int(255 * u),) * 3
        for kind, (size, color) in pictures.items():
            write_png(out / f"{kind}.png", size, color)
        udim = request.udim and not request.mesh
        tiles = {
            kind: write_tiles(out / f"{kind}.png", *pictures[kind]) for kind in TEXTURES if udim and kind in pictures
        }
        (out / "asset.glb").write_bytes(GLB)
        filled = {"steps": request.steps or 25, "guidance": 5.0 if request.guidance is None else request.guidance}
        said = {"voxels": VOXELS if request.guide else request.voxels, "edits": request.edits}
        settled = request.settings().settled(materials=self.mode == "materials")  # as the real one does
        settings = {"images": request.images, **dataclasses.asdict(settled), **filled, **said}
        counts = {"faces": len(faces) // 3, "vertices": len(vertices) // 3, "charts": charts}
        mesh, texture, glb = (str(out / name) for name in ("mesh.npz", "texture.png", "asset.glb"))
        normal_map = str(out / "normal_map.png") if request.normal_map else ""
        occlusion = str(out / "occlusion.png") if has_orm else ""
        raw, files = "", write_formats(request, out)
        if self.mode == "materials" and any(FORMATS[name].metalness for name in request.formats):
            files["metallic"] = str(out / (request.name + METALNESS["metallic"]))
            write_png(Path(files["metallic"]), 16, lambda u, v: (int(255 * u),) * 3)
        if request.keep_raw:
            raw, files = str(out / "preview.npz"), files | {"raw": str(out / "asset.raw.ply")}
            (out / "asset.raw.ply").write_text("ply\nformat ascii 1.0\nend_header\n")
        timings = {"total": self.seconds}
        if not request.mesh and request.seed not in self.kept:
            timings["structure"] = self.seconds * protocol.STAGES["structure"]
        send(
            protocol.Result(
                request.job,
                *(mesh, texture, glb, timings, counts, settings, normal_map, occlusion, tiles, raw, files),
                materials=self.mode == "materials",
                see_through=self.mode == "materials",
            )
        )
        return True

    def explore(self, request: protocol.Generate) -> bool:
        """The candidates of a job: rings, each as flat as its seed says. False if it was cancelled.

        Each takes a share of the seconds, and waits for the file ``candidate`` if the mode is ``held``. A seed that can
        be divided by 100 gives no object.
        """
        vertices, faces, _, colors = torus()
        flat = vertices[:]
        for number, seed in enumerate(request.seeds):
            while self.gate and not (self.gate / "candidate").exists() and request.job not in self.cancelled:
                time.sleep(0.01)
            end = time.monotonic() + self.seconds / len(request.seeds)
            while time.monotonic() < end and request.job not in self.cancelled:
                time.sleep(0.005)
            if request.job in self.cancelled:
                return False
            if number and not self.spoil(request):
                return True
            count = len(request.seeds)
            send(protocol.Progress(request.job, "structure", number / count, number, count))
            if seed and seed % 100 == 0:
                hint = "Try another seed."
                send(protocol.Candidate(request.job, number, "", problem="The model found no object.", hint=hint))
                continue
            flat[2::3] = array("f", (z * (1 + seed % 7) / 4 for z in vertices[2::3]))
            path = Path(request.out, f"candidate-{number}.npz")
            shape: dict[str, Array] = {"vertices": (flat, (len(flat) // 3, 3)), "faces": (faces, (len(faces) // 3, 3))}
            write_npz(path, **shape, colors=(colors, (len(colors) // 3, 3)))
            self.kept.add(seed)
            send(protocol.Candidate(request.job, number, str(path)))
        send(protocol.Explored(request.job, {"total": self.seconds}, dataclasses.asdict(request.settings())))
        return True

    def spoil(self, request: protocol.Generate) -> bool:
        """What goes wrong in the middle of a job. False ends the job."""
        if self.mode == "error":
            send(
                protocol.Error(
                    request.job, "image_unreadable", "mug.png is not an image.", "Choose a PNG or JPEG file."
                )
            )
            return False
        if self.mode == "lost":
            send(protocol.Error(request.job, protocol.DEVICE_LOST, "The graphics card failed.", "Update its driver."))
            return False
        if self.mode == "crash":
            print("Segmentation fault", file=sys.stderr, flush=True)
            os._exit(139)
        if self.mode == "bad_json":
            print("Downloading: 100%", flush=True)
        return True


#: What the fake backend says of its models: those that come with Espalier.
MODELS = protocol.ModelList(
    "/nowhere/models",
    50_000_000_000,
    tuple(
        protocol.ModelInfo(
            name, name, "bundled", 1, 1, "", "", (), usable=True, steps=steps, teacher=teacher, stamp="1"
        )
        for name, steps, teacher in (("mini", (25, 25), ""), ("mini-mdt", (2, 2), "mini"))
    ),
)


def main(arguments: list[str]) -> None:
    """Serve in a mode, or with ``models`` among the arguments say which models there are."""
    if "models" in arguments:
        sys.stdout.write(protocol.encode(MODELS))
        return
    mode = [argument for argument in arguments[:2] if not argument.startswith("-")]
    Fake(*mode).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
