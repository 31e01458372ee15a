"""The tools: their schemas derive from the settings, their files go where they may, and nothing else changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import protocol
from backend.errors import JobCancelled
from backend.serving import tools, workshop
from backend.serving.allowed import Folders
from backend.serving.workshop import Workshop

Make = Callable[..., Any]


class Bench:
    """A workshop whose jobs write a few bytes for each file. ``meanwhile`` is called in the middle of a job."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed, self.work = tmp_path / "allowed", tmp_path / "work"
        self.allowed.mkdir()
        self.work.mkdir()
        (self.allowed / "mug.png").write_bytes(b"a mug")
        self.requests: list[protocol.Generate] = []
        self.meanwhile: Callable[[], object] = lambda: None
        monkeypatch.setattr(workshop, "carry_out", self.carry_out)
        self.workshop = Workshop(Folders([self.allowed]), None, self.work)  # type: ignore[arg-type]

    def carry_out(self, request: protocol.Generate, models: object, **_: object) -> protocol.Message:
        self.requests.append(request)
        out, name = Path(request.out), request.name
        assert out.is_dir()
        assert Path(request.images[0]).read_bytes()
        for ending in (".npz", ".raw.npz"):
            np.savez(out / (name + ending), vertices=np.zeros((3, 3)))
        (out / f"{name}.json").write_text("{}")
        (out / f"{name}.texture.mtl").write_text("newmtl b\n")
        self.meanwhile()
        glb = out / f"{name}.mtl"
        glb.write_text("newmtl a\n")
        settings = {"images": list(request.images), "seed": request.seed, "model": request.model}
        return protocol.Result(request.job, "", "", str(glb), timings={"total": 1.0}, settings=settings)

    def make(self, tool: str = "generate", **arguments: Any) -> Any:
        given = {"images": ["mug.png"], "out": "made"} | arguments
        return self.workshop.make(tool, given, check=lambda: None, send=lambda message: None)

    def files(self) -> set[str]:
        assert list(self.work.iterdir()) == [], "nothing stays in the private folder"
        return {path.relative_to(self.allowed).as_posix() for path in self.allowed.rglob("*") if path.is_file()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_an_asset_is_made_of_copies_and_put_in_place(bench: Bench) -> None:
    made = bench.make(out="new/deep", seed=5, points=[[0.5, 0.25]])
    folder = bench.allowed / "new" / "deep"
    assert made["name"] == "mug"
    assert made["glb"] == str(folder / "mug.mtl")
    assert made["seed"] == 5
    expected = {"mug.mtl", "mug.texture.mtl", "mug.npz", "mug.json"}
    assert {Path(file).name for file in made["files"]} == expected
    assert bench.files() == {"mug.png"} | {f"new/deep/{name}" for name in expected}
    (request,) = bench.requests
    assert bench.work in Path(request.out).parents
    assert bench.work in Path(request.images[0]).parents
    assert Path(request.images[0]).name == "mug.png"
    assert request.points == ((0.5, 0.25),)
    told = json.loads((folder / "mug.json").read_text())
    assert told["settings"]["images"] == ["../../mug.png"], "where the image is, not its copy"


def test_again_replaces_and_another_picture_gets_another_name(bench: Bench) -> None:
    assert bench.make()["name"] == bench.make(seed=2)["name"] == "mug"
    (bench.allowed / "mug.png").write_bytes(b"another mug")
    assert bench.make()["name"] == "mug-2"
    assert bench.make(name="../cup")["name"] == "_cup"
    assert {Path(file).parent.name for file in bench.files() if file != "mug.png"} == {"made"}


def test_a_mesh_is_painted(bench: Bench) -> None:
    np.savez(bench.allowed / "chair.npz", vertices=np.zeros((3, 3)))
    made = bench.make("retexture", mesh="chair.npz", seed=1)
    assert made["name"] == "mug"
    (request,) = bench.requests
    assert Path(request.mesh).name == "chair.npz"
    assert bench.work in Path(request.mesh).parents


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "words"),
    [
        ("generate", {"images": []}, "settings_invalid", "a list of 1 to 64 paths"),
        ("generate", {"images": "mug.png"}, "settings_invalid", "a list of 1 to 64 paths"),
        ("generate", {"images": [3]}, "settings_invalid", "must be text"),
        ("generate", {"images": ["cup.png"]}, "file_missing", "There is no file cup.png"),
        ("generate", {"images": ["../work"]}, "path_not_allowed", "not in a folder"),
        ("generate", {"out": ".."}, "path_not_allowed", "not in a folder"),
        ("generate", {"out": "mug.png"}, "path_not_allowed", "no folder"),
        ("generate", {"out": None}, "settings_invalid", "must be text"),
        ("generate", {"points": {}}, "settings_invalid", "must be a list"),
        ("generate", {"sede": 3}, "settings_invalid", "The setting sede is not known"),
        ("generate", {"seed": "3"}, "settings_invalid", "Seed must be a whole number"),
        ("generate", {"mesh": "mug.png"}, "settings_invalid", "The setting mesh is not known"),
        ("generate", {"formats": ["blend"]}, "settings_invalid", "Formats must be among"),
        ("generate", {"model": "../work"}, "model_unknown", "no model named"),
        ("generate", {"model": "/"}, "model_unknown", "no model named"),
        ("retexture", {}, "settings_invalid", "The argument mesh is missing"),
        ("retexture", {"mesh": "mug.png", "faces": 9}, "settings_invalid", "faces has no effect on a given mesh"),
        ("retexture", {"mesh": "../work/mesh.npz"}, "path_not_allowed", "not in a folder"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    bench: Bench, tool: str, arguments: dict[str, Any], code: str, words: str
) -> None:
    told = bench.make(tool, **arguments)
    assert isinstance(told, protocol.Error)
    assert (told.code, words in told.message) == (code, True), told
    assert bench.files() == {"mug.png"}
    assert bench.requests == []


def test_a_job_that_fails_or_is_cancelled_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = protocol.Error("job", "out_of_memory", "There is not enough memory.", "Close other programs.")
    monkeypatch.setattr(workshop, "carry_out", lambda request, *_, **__: failure)
    assert bench.make() == failure
    monkeypatch.setattr(workshop, "carry_out", lambda request, *_, **__: protocol.Cancelled(request.job))
    with pytest.raises(JobCancelled):
        bench.make()
    assert bench.files() == {"mug.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only administrators make links")
def test_a_folder_that_becomes_a_link_in_the_middle_of_a_job(bench: Bench, tmp_path: Path) -> None:
    def exchange() -> None:
        (bench.allowed / "made").rename(bench.allowed / "moved")
        (bench.allowed / "made").symlink_to(tmp_path / "outside", target_is_directory=True)

    (tmp_path / "outside").mkdir()
    bench.meanwhile = exchange
    told = bench.make()
    assert isinstance(told, protocol.Error)
    assert told.code == "path_not_allowed"
    assert list((tmp_path / "outside").iterdir()) == []


def test_links_in_the_place_of_files_are_replaced_not_followed(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    bench.make()
    for name in ("mug.mtl", "mug.json"):
        link = bench.allowed / "made" / name
        link.unlink()
        if name == "mug.mtl":
            link.hardlink_to(secret)
        elif sys.platform != "win32":
            link.symlink_to(secret)
    made = bench.make()
    assert secret.read_text() == "a secret"
    assert not Path(made["glb"]).is_symlink()
    assert Path(made["glb"]).read_text() == "newmtl a\n"


def test_a_pipe_in_the_place_of_notes_holds_nobody_up(bench: Bench) -> None:
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    (bench.allowed / "made").mkdir()
    os.mkfifo(bench.allowed / "made" / "mug.json")
    assert bench.make()["name"] == "mug-2"


def test_a_name_that_is_taken_in_the_middle_of_a_job(bench: Bench) -> None:
    bench.meanwhile = lambda: (bench.allowed / "made" / "mug.glb").write_text("of somebody else")
    told = bench.make()
    assert isinstance(told, protocol.Error)
    assert told.code == "name_taken"
    assert (bench.allowed / "made" / "mug.glb").read_text() == "of somebody else"


def test_the_schemas_are_those_of_the_settings() -> None:
    for name, tool in tools.TOOLS.items():
        schema = tools.schema(name)
        assert set(schema["required"]) == set(tool.needs)
        assert set(schema["properties"]) == {*tool.needs, *tool.takes, *tool.settings}
        json.dumps(schema)
    assert set(tools.TOOLS["generate"].settings) == protocol.ABOUT.keys()
    without = {*protocol.FOR_A_GIVEN_MESH, "faces"}
    assert set(tools.TOOLS["retexture"].settings) == protocol.ABOUT.keys() - without
    settings = tools.schema("generate")["properties"]
    assert settings["steps"]["type"] == ["integer", "null"]
    assert (settings["faces"]["minimum"], settings["faces"]["default"]) == (4, 10_000)
    assert settings["background"]["enum"] == ["automatic", "always", "never"]


def test_every_default_of_a_schema_is_valid() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the extra mcp is not installed")
    for name in tools.TOOLS:
        schema = tools.schema(name)
        jsonschema.Draft202012Validator.check_schema(schema)
        defaults = {key: one["default"] for key, one in schema["properties"].items() if "default" in one}
        needed = {"images": ["a.png"], "out": "out", "mesh": "a.npz"}
        call = defaults | {key: value for key, value in needed.items() if key in schema["required"]}
        jsonschema.validate(call, schema)
        protocol.from_names(defaults, tools.DOOR, for_a_mesh=tools.TOOLS[name].paints)


def test_the_models_without_their_folders() -> None:
    listed = tools.models()
    names = {model["name"]: model for model in listed["models"]}
    assert names[listed["default"]]["usable"]
    assert str(Path(__file__).parents[3]) not in json.dumps(listed)
