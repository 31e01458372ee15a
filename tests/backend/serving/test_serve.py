"""The backend process as Blender sees it: a real subprocess, real pipes, a tiny model."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import protocol
from backend.names import seen_from
from tests.backend.images.test_background import SCENE
from tests.backend.serving.served import (
    ENDINGS,
    ROOT,
    TIMEOUT,
    Make,
    Server,
    in_progress,
    in_the_middle,
    long_job,
    start,
)
from tests.fakes.tiny_model import RESOLUTION
from tests.fakes.tiny_trellis2 import write_tiny_trellis2


def test_a_job_from_request_to_files(server: Server, make: Make) -> None:
    messages = server.run(make())
    progress = [m for m in messages if isinstance(m, protocol.Progress)]
    stages = list(protocol.STAGES)
    order = [stages.index(p.stage) for p in progress]
    assert order == sorted(order)
    assert set(order) == set(range(len(stages)))
    assert all(a.fraction <= b.fraction for a, b in pairwise(progress))
    assert [(p.step, p.steps) for p in progress if p.stage == "latents"] == [(0, 2), (1, 2), (2, 2)]

    kinds = [type(m) for m in messages if not isinstance(m, protocol.Progress)]
    assert kinds == [protocol.Preview, protocol.Result]
    preview = next(m for m in messages if isinstance(m, protocol.Preview))
    with np.load(preview.arrays) as raw:
        assert raw["vertices"].dtype == raw["colors"].dtype == np.float32
        assert raw["vertices"].shape == raw["colors"].shape
        assert raw["faces"].dtype == np.int32
        assert raw["faces"].max() < len(raw["vertices"])

    result = messages[-1]
    with np.load(result.arrays) as mesh:
        assert mesh["faces"].dtype == np.int32
        assert mesh["uvs"].shape == (len(mesh["faces"]), 3, 2)
        assert mesh["vertices"].dtype == mesh["uvs"].dtype == np.float32
        assert np.abs(mesh["vertices"]).max() <= 0.5
        assert (mesh["portrait"].shape, mesh["portrait"].dtype) == ((96, 96, 4), np.uint8)
        assert mesh["portrait"][..., 3].any()
    assert Image.open(result.texture).size == (64, 64)
    assert Path(result.glb).name == "disc.glb"
    assert Path(result.glb).read_bytes()[:4] == b"glTF"
    assert result.settings["steps"] == 2
    assert result.settings["guidance"] == 2.0  # the model's, filled in
    assert result.counts["voxels"] > 0
    assert set(protocol.STAGES) | {"total", "preview"} <= result.timings.keys()
    out = Path(result.arrays).parent
    told: dict[str, Any] = {"images": [seen_from(out, image) for image in result.settings["images"]]}
    told["model"] = seen_from(out, result.settings["model"])
    assert json.loads((out / "disc.json").read_text())["settings"] == result.settings | told
    names = {path.name for path in Path(result.arrays).parent.iterdir()}
    assert names == {
        f"disc{ending}" for ending in (".raw.npz", ".npz", ".texture.png", ".normal_map.png", ".glb", ".json")
    }


def test_cameras_of_the_images_come_with_a_texture_from_them(server: Server, make: Make) -> None:
    result = server.run(make(texture_source="picture"))[-1]
    (camera,) = result.cameras
    assert 0 < camera.angle < 180
    assert json.loads(Path(result.glb).with_suffix(".json").read_text())["cameras"] == [asdict(camera)]
    assert ("not painted" in result.note) == (not camera.painted)


def test_ambient_occlusion_lies_beside_the_texture(server: Server, make: Make) -> None:
    result = server.run(make(ambient_occlusion=True))[-1]
    assert Path(result.occlusion).name == "disc.occlusion.png"
    with Image.open(result.occlusion) as image:
        assert (image.mode, image.size) == ("RGB", (64, 64))
        assert image.getchannel("G").getextrema() == (178, 178)  # 255 times the roughness, 0.7
    assert result.settings["ambient_occlusion"] is True
    assert b'"occlusionTexture"' in Path(result.glb).read_bytes()


def test_the_same_seed_gives_the_same_bytes(server: Server, make: Make) -> None:
    def digests(job: str, seed: int) -> dict[str, str]:
        request = make(job, seed=seed)
        server.run(request)
        files = sorted(path for path in Path(request.out).iterdir() if path.name != "disc.json")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests("a", seed=5)
    assert len(first) == 5
    assert digests("b", seed=5) == first
    assert digests("c", seed=6) != first


def test_a_cut_out_is_made_in_the_middle_of_a_job(server: Server, make: Make, tmp_path: Path) -> None:
    SCENE.save(tmp_path / "scene.png")
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    server.send(
        protocol.Cutout("x", str(tmp_path / "scene.png"), str(tmp_path / "x.png")),
        protocol.Cutout("y", str(tmp_path / "nowhere.png"), str(tmp_path / "y.png")),
    )
    answers = [m for m in server.wait_for(lambda m: isinstance(m, protocol.Error)) if not in_progress(m)]
    assert answers[0] == protocol.CutoutDone("x", str(tmp_path / "x.png"), True, (protocol.BACKGROUND_REMOVED,))
    assert (answers[1].job, answers[1].code) == ("y", "image_missing")
    assert len(answers) == 2
    server.send(protocol.Cancel("long"))
    server.wait_for(lambda m: m == protocol.Cancelled("long"))


def test_a_photograph_becomes_an_object(server: Server, make: Make, tmp_path: Path) -> None:
    SCENE.save(tmp_path / "scene.png")
    result = server.run(make(images=(str(tmp_path / "scene.png"),), points=((0.5, 0.5),)))[-1]
    assert isinstance(result, protocol.Result)
    assert (result.settings["background"], result.settings["points"]) == ("automatic", [[0.5, 0.5]])


@pytest.mark.parametrize("background", ["automatic", "always"])
def test_what_a_person_painted_is_used_as_it_is(server: Server, make: Make, tmp_path: Path, background: str) -> None:
    """Nothing is removed from it: not even where hardly anything is transparent."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    opaque = np.concatenate([noise, np.full((64, 64, 1), 255, np.uint8)], axis=2)
    Image.fromarray(opaque).save(tmp_path / "painted.png")
    asked = {"images": (str(tmp_path / "painted.png"),), "background": background}
    refused = server.run(make(**asked))[-1]
    assert isinstance(refused, protocol.Error)
    assert refused.code == "background_unclear"
    result = server.run(make("b", **asked, painted=(True,)))[-1]
    assert isinstance(result, protocol.Result)
    assert result.settings["painted"] == [True]


def test_cancel_in_mid_job_leaves_the_model_warm(server: Server, make: Make) -> None:
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    asked = time.perf_counter()
    server.send(protocol.Cancel("long"))
    ending = server.wait_for(lambda m: isinstance(m, ENDINGS))[-1]
    assert ending == protocol.Cancelled("long")
    assert time.perf_counter() - asked < 5
    result = server.run(make("next"))[-1]
    assert isinstance(result, protocol.Result)
    assert result.timings["load"] < 0.01


def test_a_finer_shape_is_made_cancelled_and_refused(server: Server, make: Make, tmp_path: Path) -> None:
    """By TRELLIS.2 at 1024; TRELLIS has one resolution."""
    second = {"model": str(write_tiny_trellis2(tmp_path / "second")), "resolution": 1024, "steps": None}
    *told, result = server.run(make("fine", **second))
    assert isinstance(result, protocol.Result)
    assert (result.settings["resolution"], result.counts["resolution"]) == (1024, 8 * RESOLUTION)
    latents = [m for m in told if isinstance(m, protocol.Progress) and m.stage == "latents"]
    assert {m.steps for m in latents} == {9}
    server.send(make("long", **second | {"steps": 300, "seed": 1}))
    server.wait_for(lambda m: isinstance(m, protocol.Progress) and m.stage == "latents" and m.step > 300)
    server.send(protocol.Cancel("long"))
    assert server.wait_for(lambda m: isinstance(m, ENDINGS))[-1] == protocol.Cancelled("long")
    refused = server.run(make("first", resolution=1024))[-1]
    assert isinstance(refused, protocol.Error)
    assert refused.code == "settings_invalid"
    assert "no choice of resolutions" in refused.message


def test_a_waiting_job_is_cancelled_at_once(server: Server, make: Make) -> None:
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    server.send(make("waiting"), protocol.Cancel("waiting"), protocol.Cancel("unknown"))
    assert server.wait_for(lambda m: isinstance(m, ENDINGS))[-1] == protocol.Cancelled("waiting")
    server.send(protocol.Cancel("long"))
    assert server.wait_for(lambda m: isinstance(m, ENDINGS))[-1] == protocol.Cancelled("long")


def test_stdin_closing_ends_a_busy_process(folder: Path, make: Make) -> None:
    server = start(folder)
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    closed = time.perf_counter()
    server.close_stdin()
    assert server.process.wait(TIMEOUT) == 0
    assert time.perf_counter() - closed < 10  # the job itself would take far longer


def test_nothing_that_a_library_prints_reaches_the_stream() -> None:
    script = """
import os, sys
from backend.serving.loop import claim_standard_streams
stdin, stdout = claim_standard_streams()
print("print"); os.write(1, b"descriptor"); os.system("echo child")
sys.__stdout__.write("original"); sys.__stdout__.flush()
assert os.read(0, 1) == b"" and stdin.read(7) == b"request"
stdout.write(b"message"); stdout.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, input=b"request", capture_output=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"message"
    for word in (b"print", b"descriptor", b"child", b"original"):
        assert word in done.stderr


def test_what_comes_before_ready_imports_little() -> None:
    script = """
import sys
import backend.__main__
assert "torch" not in sys.modules and "numpy" not in sys.modules
import torch
before = set(sys.modules)
import backend.serving.loop, backend.serving.device
heavy = {"scipy", "PIL", "trimesh", "safetensors", "fast_simplification"}
assert not heavy & set(sys.modules) - before, heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=TIMEOUT)
