"""What shows that a file was cut off."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.files import CutOff, left_behind, written_together
from backend.mesh import Mesh, printing
from backend.threemf import write_3mf
from backend.whole import flaw, is_whole


def glb(path: Path) -> None:
    body = (
        struct.pack("<I4s", 28, b"JSON") + b'{"asset":{"version":"2.0"}} ' + struct.pack("<I4s", 4, b"BIN\0") + b"abcd"
    )
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def blend(path: Path) -> None:
    import bpy

    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=False)


def compressed(path: Path) -> None:
    import bpy

    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)


def png(mode: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 4), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)

    return write


def stl(path: Path) -> None:
    printing.write_stl(path, Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]] * 4), None))


def threemf(path: Path) -> None:
    write_3mf(path, np.eye(3).tolist(), [[0, 1, 2]], name="a", closed=False)


def of_blender(operator: str, **options: Any) -> Callable[[Path], None]:
    """A cube, as Blender's own exporter writes it."""

    def write(path: Path) -> None:
        import bpy

        bpy.ops.wm.read_factory_settings()
        module, name = operator.split(".")
        getattr(getattr(bpy.ops, module), name)(filepath=str(path), **options)

    return write


KINDS = {
    "glb": (glb, "a.glb"),
    "stl": (stl, "a.stl"),
    "3mf": (threemf, "a.3mf"),
    "fbx": (of_blender("export_scene.fbx"), "a.fbx"),
    "usdc": (of_blender("wm.usd_export"), "a.usdc"),
    "usdz": (of_blender("wm.usd_export"), "a.usdz"),
    "blender stl": (of_blender("wm.stl_export"), "a.stl"),
    "blend": (blend, "a.blend"),
    "compressed": (compressed, "a.blend"),
    **{f"png {mode}": (png(mode), "a.png") for mode in ("RGB", "RGBA", "L", "LA", "P", "1")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off_anywhere_is_not_whole(kind: str, tmp_path: Path) -> None:
    write, name = KINDS[kind]
    path = tmp_path / name
    write(path)
    content = path.read_bytes()
    assert flaw(path) == ""
    assert is_whole(path)
    for share in (0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0):
        path.write_bytes(content[: min(int(len(content) * share), len(content) - 5)])
        assert flaw(path) != "", share
        assert not is_whole(path)
    hole = len(content) // 3  # the disk was full for a while in the middle
    path.write_bytes(content[:hole] + content[2 * hole :])
    assert not is_whole(path)


def test_what_is_not_there_is_not_whole_and_other_formats_pass(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "a.glb")
    (tmp_path / "a.glb").mkdir()
    assert not is_whole(tmp_path / "a.glb")
    (tmp_path / "a.json").write_text("{}")
    assert is_whole(tmp_path / "a.json")
    (tmp_path / "b.json").touch()
    assert not is_whole(tmp_path / "b.json")


def test_a_text_whose_last_line_does_not_end_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nf 1 1 ")
    assert flaw(tmp_path / "a.obj") == "its last line is cut off"
    (tmp_path / "a.obj").write_text("v 0 0 0\nf 1 1 1\n")
    assert is_whole(tmp_path / "a.obj")


def test_a_writer_that_does_not_notice_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "a.glb"
    first.write_text("old")
    second.write_text("older")

    def write() -> None:
        with written_together(first, second) as (one, two):
            png("RGB")(one)
            glb(two)
            two.write_bytes(two.read_bytes()[:-1])

    with pytest.raises(CutOff, match=r"a\.glb was cut off"):
        write()
    assert [path.read_text() for path in (first, second)] == ["old", "older"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.glb", "a.png"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    link = tmp_path / "a.glb"
    link.symlink_to(tmp_path / "precious")
    with written_together(link) as (part,):
        glb(part)
    assert not link.is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"


def test_what_a_killed_process_left_is_found_and_no_asset_is(tmp_path: Path) -> None:
    written = written_together(tmp_path / "a.glb")
    (part,) = written.__enter__()
    glb(part)
    (tmp_path / "a.1234.part.glb").write_text("an asset with an odd name")
    (tmp_path / ".espalier-x.part").mkdir()
    assert left_behind(tmp_path) == [part]
