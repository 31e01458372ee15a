"""Every door knows every setting that it offers: nobody has to remember to add one in a second place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.backend import __main__ as command_line
from espalier.backend import protocol
from espalier.backend.serving import tools
from espalier.blender_addon import api, batch, pump, translations
from espalier.blender_addon.request import again, generate, properties
from espalier.blender_addon.scene import history, made
from espalier.blender_addon.ui import presets

from tests.blender_addon.ui.drawing import draw

Door = protocol.Door

#: A value of each setting that is not its default, nor what the fake backend or the panel would choose.
OTHERS: dict[str, Any] = {
    "model": "another",
    "steps": 7,
    "guidance": 2.5,
    "resolution": 1024,
    "seed": 4321,
    "shape_strength": 0.25,
    "faces": 777,
    "texture_size": 2048,
    "udim": True,
    "background": "never",
    "multi_image": "stochastic",
    "texture_source": "gaussians",
    "picture_strength": 0.5,
    "keep_shading": True,
    "max_error": 0.75,
    "roughness": "estimated",
    "quads": True,
    "lods": True,
    "collision": True,
    "normal_map": False,
    "ambient_occlusion": True,
    "keep_raw": True,
    "low_memory": True,
    "retry_seconds": 4.0,
    "formats": ("obj", "ply"),
    "draco": True,
    "collision_nodes": True,
    "print_size": 80.0,
}
#: What only commands offer: how files are written, which is no part of how an object is made.
OF_COMMANDS = {"formats", "draco", "collision_nodes", "print_size"}


@pytest.fixture
def panel() -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def offered(door: protocol.Door) -> tuple[str, ...]:
    return protocol.names(door)


def arguments(names: tuple[str, ...]) -> list[str]:
    """The command line that chooses ``OTHERS``."""
    found = []
    for name in names:
        value, flag = OTHERS[name], "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            found += ["--format", ",".join(value)]
        else:
            found += [flag, str(value)]
    return found


def test_there_is_another_value_of_every_setting() -> None:
    assert OTHERS.keys() == protocol.ABOUT.keys() == {field.name for field in dataclasses.fields(protocol.Settings)}
    assert all(OTHERS[name] != protocol.default(name) for name in OTHERS)
    protocol.Settings(**OTHERS)


def test_every_setting_has_a_title_words_and_a_door() -> None:
    for name, about in protocol.ABOUT.items():
        assert about.title, name
        assert about.words, name
        assert about.doors, name
        assert (about.low is None) == (about.kind in (bool, str, tuple)), name
        assert protocol.problem(name, protocol.default(name)) == "", name


def test_every_setting_is_translated() -> None:
    for table in (translations.german.TEXTS, translations.simplified_chinese.TEXTS):
        for name in offered(Door.PANEL):
            about = protocol.ABOUT[name]
            texts = {about.title, about.words, about.own, *(c.title for c in about.choices)}
            texts |= {f"Custom {about.title}"} if about.own else set()
            texts |= {choice.words for choice in about.choices}
            assert texts - {""} <= table.keys(), name


def test_the_command_line_knows_every_setting(tmp_path: Path) -> None:
    names = offered(Door.COMMAND)
    assert set(names) == protocol.ABOUT.keys()
    line = ["generate", "a.png", "--out", str(tmp_path), *arguments(names)]
    chosen = protocol.from_options(command_line._parser().parse_args(line), Door.COMMAND)
    assert chosen == {name: OTHERS[name] for name in names}


def test_formats_may_be_given_the_old_way(tmp_path: Path) -> None:
    parser = command_line._parser()
    for given in (["--formats", "obj", "ply"], ["--format", "obj, ply"], ["--formats", "obj,ply"]):
        options = parser.parse_args(["generate", "a.png", "--out", str(tmp_path), *given])
        assert protocol.from_options(options, Door.COMMAND)["formats"] == ("obj", "ply")


def list_known() -> dict[str, protocol.ModelInfo]:
    name = OTHERS["model"]
    return {name: protocol.ModelInfo(name, name, "own", 1, 1, "", "", ())}


def test_batch_knows_every_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").touch()
    names = offered(Door.BATCH)
    assert set(names) == protocol.ABOUT.keys() - {"formats", "shape_strength"}  # guides are meshes of a scene
    options = batch.parse(
        [str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *arguments(names)], list_known, "batch.py"
    )
    assert options.settings == {name: OTHERS[name] for name in names}
    with pytest.raises(SystemExit):
        batch.parse([str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--steps", "0"], list_known, "batch.py")
    assert "Steps must be a whole number from 1 to 1000, not 0." in capsys.readouterr().err


def test_the_panel_knows_every_setting(panel: Any) -> None:
    names = offered(Door.PANEL)
    assert set(names) == protocol.ABOUT.keys() - OF_COMMANDS
    for name in names:
        assert properties.show_setting(panel, name, OTHERS[name]), name
    assert properties.chosen_settings(panel) == {name: OTHERS[name] for name in names}
    assert "shape_strength" not in [text for _, text in draw()], "without a guide there is nothing to follow"
    panel.guide = bpy.data.objects.new("guide", bpy.data.meshes.new("guide"))
    drawn = [text for call, text in draw() if call.startswith("prop")]
    assert set(names) - {"model", "resolution"} <= set(drawn)
    assert "fineness" in drawn, "of a model of which nothing is known"
    assert [item[0] for item in properties.resolution_items(panel)] == ["512", "1024", "1536"]
    assert drawn.count("steps") == 1, "there is one place for them"
    for name in (name for name in names if protocol.ABOUT[name].own):
        assert properties.show_setting(panel, name, None)
        assert properties.chosen_settings(panel)[name] is None
    panel.model = "mini-mdt"
    drawn = [text for call, text in draw() if call.startswith("prop")]
    assert {"family", "Draft", "Standard", "Best", "Custom"} <= set(drawn), "the model is chosen by these"
    assert "steps" not in drawn, "and so is the number of steps"


def test_scripts_know_every_setting(mode: list[str]) -> None:
    names = offered(Door.OBJECT)
    given = {name: OTHERS[name] for name in names}
    assert made.recall(api.generate(bpy.data.images.new("a", 8, 8), **given)).items() >= given.items()
    for name in OF_COMMANDS:
        with pytest.raises(api.EspalierError, match=f"The setting {name} is not known"):
            api.generate("a.png", **{name: OTHERS[name]})


def test_tools_know_every_setting() -> None:
    asked = {"images": ["a.png"], "out": "out", **{name: OTHERS[name] for name in OTHERS if name != "model"}}
    read = tools.Asked.read(tools.TOOLS["generate"], json.loads(json.dumps(asked)))
    assert read.settings == {name: OTHERS[name] for name in OTHERS if name != "model"}
    assert tools.schema("generate")["properties"].keys() >= protocol.ABOUT.keys()


def test_presets_know_every_setting() -> None:
    names = offered(Door.PRESET)
    assert set(names) == protocol.ABOUT.keys() - OF_COMMANDS - {"seed"}
    ticks = {f"use_{name}" for name in names if protocol.ABOUT[name].own}
    assert set(presets.saved()) == {*names, *ticks, "size"}


def test_an_object_knows_every_setting(panel: Any) -> None:
    names = offered(Door.OBJECT)
    assert set(names) == protocol.ABOUT.keys() - OF_COMMANDS
    target = bpy.data.objects.new("a", bpy.data.meshes.new("a"))
    made.remember(target, {**OTHERS, "images": ("a.png",), "seed": 2**40}, 2.0)
    expected = {name: OTHERS[name] for name in names} | {"seed": 2**40}
    assert made.recall(target) == {**expected, "images": ("a.png",), "size": 2.0}
    assert again.request_settings(made.recall(target)) == expected


def test_an_object_made_with_every_setting_is_made_again_with_the_same(
    mode: list[str], tmp_path: Path, until: Callable[..., None]
) -> None:
    """Regenerated in place, restored into the panel, and inserted again from the history."""
    panel = bpy.context.scene.espalier
    for name in offered(Door.PANEL):
        assert properties.show_setting(panel, name, OTHERS[name]), name
    (first,) = generate.new_jobs(bpy.context)
    wanted = {name: getattr(first.request, name) for name in protocol.ABOUT}
    assert wanted == OTHERS | {name: protocol.default(name) for name in OF_COMMANDS}
    pump.submit(first)
    until(lambda: not pump.jobs.jobs, pump.step)
    mug = bpy.data.objects["mug"]
    besides = {"mug raw", "mug_LOD1", "mug_LOD2", "mug_LOD3", "UCX_mug_01", "UCX_mug_02"}
    assert {child.name for child in mug.children} == besides

    def sent(job: Any) -> dict[str, Any]:
        return {name: getattr(job.request, name) for name in protocol.ABOUT}

    # Regenerate: only the seed is another, and what is beside it is replaced too.
    job = again.in_place_of(
        again.new_job(bpy.context, made.recall(mug), seed=OTHERS["seed"], location=(0, 0, 0), size=1.0), mug
    )
    assert sent(job) == wanted
    pump.submit(job)
    until(lambda: not pump.jobs.jobs, pump.step)
    assert {child.name for child in mug.children} == besides
    assert again.request_settings(made.recall(mug)) == {name: OTHERS[name] for name in offered(Door.OBJECT)}

    # Restore: the panel then asks for the same.
    for name in offered(Door.PANEL):
        default = protocol.default(name)
        properties.show_setting(panel, name, default)
    assert again.restore(made.recall(mug), panel) == []
    (restored,) = generate.new_jobs(bpy.context)
    assert sent(restored) == wanted
    restored.remove_files()

    # Insert again, of an entry that was saved and whose files are gone.
    saved = history.dump()
    history.load(saved)
    assert len(history.entries) == 2
    entry = history.entries[0]
    assert json.loads(saved)[0]["settings"]["multi_image"] == "stochastic"
    inserted = again.new_job(
        bpy.context, entry.settings, seed=entry.settings["seed"], location=(0, 0, 0), size=entry.size
    )
    assert sent(inserted) == wanted
    inserted.remove_files()


def test_a_setting_that_a_door_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The doors derive: a new entry of the table is at once an option, and only a value to test it with is missing."""
    about = protocol.About(int, "Polish", "How often to polish", low=0, high=9)
    monkeypatch.setitem(protocol.ABOUT, "polish", about)
    monkeypatch.setattr(protocol.Settings, "polish", 3, raising=False)
    with pytest.raises(AssertionError):
        test_there_is_another_value_of_every_setting()
    assert "polish" in offered(Door.BATCH)
    assert "polish" in presets.saved()
    assert "polish" in properties.panel_properties()
    assert "polish" in tools.schema("generate")["properties"]
    line = ["generate", "a.png", "--out", str(tmp_path), "--polish", "4"]
    assert command_line._parser().parse_args(line).polish == 4
    with pytest.raises(AssertionError):
        test_every_setting_is_translated()
