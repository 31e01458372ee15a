"""What a .blend from anybody can hold: histories, custom properties. Nothing costs much, nothing raises in a panel."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.backend.portrait_facts import SIZE
from espalier.blender_addon.request import again
from espalier.blender_addon.scene import cameras, history, made, paths

GOOD = {
    "id": "a",
    "name": "mug",
    "size": 1.0,
    "picture": "",
    "settings": {"images": ["/a/mug.png"], "seed": 3, "steps": 2, "points": [[0.5, 0.5]]},
}


def packed(pixels: bytes) -> str:
    return base64.b64encode(zlib.compress(pixels, 9)).decode()


@pytest.fixture
def empty() -> Any:
    history.clear()
    yield
    history.clear()


@pytest.mark.parametrize(
    "picture",
    [
        packed(bytes(256 << 20)),
        packed(zlib.compress(bytes(256 << 20), 9) * 64),
        packed(bytes(SIZE * SIZE * 4 + 1)),
        packed(b"few"),
        base64.b64encode(b"no zlib").decode(),
        "no base64!",
        3,
        ["a"],
        {"a": 1},
    ],
    ids=["bomb", "bomb in a bomb", "a byte more", "few", "no zlib", "no base64", "number", "list", "object"],
)
def test_a_picture_is_unpacked_to_its_size_and_no_further(
    empty: None, picture: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = json.dumps([GOOD | {"id": "bad", "picture": picture}, GOOD | {"picture": packed(bytes(SIZE * SIZE * 4))}])
    tracemalloc.start()
    history.load(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    (entry,) = history.entries
    assert entry.id == "a"
    assert entry.picture is not None
    assert entry.picture.shape == (SIZE, SIZE, 4)
    assert "1 entries of this file's history cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "{}", "3", "null", '"text"', " " * (9 << 20), "[1", "\ud800"],
    ids=["deep list", "deep object", "object", "number", "null", "text", "long", "cut off", "surrogate"],
)
def test_a_history_of_any_text_is_none(empty: None, text: str) -> None:
    history.load(text)
    assert history.entries == []


def test_a_history_has_as_many_entries_as_the_panel_shows(empty: None) -> None:
    saved = [GOOD | {"id": str(number)} for number in range(20_000)]
    history.load(json.dumps(saved))
    assert [entry.id for entry in history.entries] == [str(number) for number in range(history.MAX_ENTRIES)]
    history.load(json.dumps([GOOD] * 50))
    assert len(history.entries) == 1, "an id names one entry"


BAD_ENTRIES: list[Any] = [
    3,
    None,
    [],
    {},
    GOOD | {"id": 3},
    GOOD | {"name": []},
    GOOD | {"name": "x" * 5000},
    GOOD | {"size": "1"},
    GOOD | {"size": float("nan")},
    GOOD | {"size": -1},
    GOOD | {"size": 1e300},
    GOOD | {"settings": 3},
    GOOD | {"settings": {}},
    GOOD | {"settings": {"images": "mug.png"}},
    GOOD | {"settings": {"images": [3]}},
    GOOD | {"settings": {"images": []}},
    GOOD | {"settings": {"images": ["a"] * 1000}},
    GOOD | {"settings": {"images": ["x" * 100_000]}},
    GOOD | {"settings": {"images": ["a"], "seed": 10**40}},
    GOOD | {"settings": {"images": ["a"], "seed": [1]}},
    GOOD | {"settings": {"images": ["a"], "steps": "2"}},
    GOOD | {"settings": {"images": ["a"], "model": {"a": 1}}},
    GOOD | {"settings": {"images": ["a"], "background": ["never"]}},
    GOOD | {"settings": {"images": ["a"], "faces": float("inf")}},
]


@pytest.mark.parametrize("bad", BAD_ENTRIES, ids=range(len(BAD_ENTRIES)))
def test_one_entry_never_ends_the_list(empty: None, bad: Any) -> None:
    history.load(json.dumps([bad, GOOD, bad, GOOD | {"id": "b"}]))
    assert [entry.id for entry in history.entries] == ["a", "b"]
    (image,) = json.loads(history.dump())[0]["settings"]["images"]
    assert paths.absolute(image) == "/a/mug.png"


PROPERTIES: list[tuple[str, Any]] = [
    ("images", 3),
    ("images", ""),
    ("images", "[" * 100_000),
    ("images", "{}"),
    ("images", "[[]]"),
    ("images", json.dumps(["x" * 100_000])),
    ("images", [1, 2, 3]),
    ("images", {"a": 1}),
    ("seed", "9" * 10_000),
    ("seed", "one"),
    ("seed", [1, 2]),
    ("seed", {"a": {"b": 1}}),
    ("seed", -1),
    ("steps", 1e300),
    ("faces", float("nan")),
    ("model", 3),
    ("model", ""),
    ("normal_map", "yes"),
    ("normal_map", 7),
    ("background", "sometimes"),
    ("retry_seconds", float("inf")),
    ("size", float("nan")),
    ("size", "large"),
    ("size", [1.0, 2.0]),
]


@pytest.mark.parametrize(("name", "value"), PROPERTIES, ids=range(len(PROPERTIES)))
def test_what_an_object_remembers_may_be_anything(name: str, value: Any) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    target = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    settings = {"images": ["/a/mug.png"], "seed": 3, "steps": 2, "model": "mini", "normal_map": True}
    made.remember(target, settings, 2.0)
    assert made.recall(target)["steps"] == 2
    target[made.PREFIX + name] = value
    assert made.is_made(target)
    assert len(made.shown(target, "seed")) <= made.MOST_SHOWN
    with pytest.raises(ValueError, match=r"^cube: ") as caught:
        made.recall(target)
    assert len(str(caught.value)) < 300


def test_what_was_remembered_is_recalled_whole() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    target = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    settings: dict[str, Any] = {name: protocol.default(name) for name in protocol.names(protocol.Door.OBJECT)}
    settings |= {"images": ["/a/b.png", "image:c"], "points": [[0.5, 1], None], "seed": 2**62, "guidance": 3}
    made.remember(target, settings, 0.5)
    found = made.recall(target)
    assert found["seed"] == 2**62
    assert tuple(map(paths.absolute, found["images"])) == ("/a/b.png", "image:c")
    assert again.points(found) == ((0.5, 1.0), None)
    assert found["size"] == 0.5
    assert again.request_settings(found) == {name: settings[name] for name in protocol.names(protocol.Door.OBJECT)}


def test_a_file_with_a_bomb_is_opened_in_little_memory(empty: None, tmp_path: Path) -> None:
    """The whole way: the handler that runs when somebody else's .blend is opened."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    history.register()
    try:
        bomb = json.dumps([GOOD | {"id": str(n), "picture": packed(bytes(64 << 20))} for n in range(70)])
        bpy.context.scene.espalier_history = bomb
        tracemalloc.start()
        history._load()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50 << 20
        assert history.entries == []
    finally:
        history.unregister()


CUBE = {"bottom": [0.0, 0.0, -0.5], "side": 1.0}
PLACE = dict.fromkeys(cameras.NUMBERS, 1.0)


@pytest.mark.parametrize(
    "stored",
    [
        7,
        "",
        "[" * 100_000,
        "{}",
        json.dumps({"cube": CUBE, "cameras": [PLACE | {"distance": "far"}]}),
        json.dumps({"cube": CUBE, "cameras": [PLACE | {"distance": 1e30}]}),
        json.dumps({"cube": CUBE, "cameras": [{"angle": 1.0}]}),
        json.dumps({"cube": CUBE, "cameras": [PLACE] * 1000}),
        json.dumps({"cube": CUBE | {"side": 0}, "cameras": [PLACE]}),
        json.dumps({"cube": CUBE | {"bottom": [0]}, "cameras": [PLACE]}),
        json.dumps({"cube": CUBE, "cameras": 3}),
    ],
)
def test_what_an_object_says_of_its_cameras_may_be_anything(stored: Any) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    mesh = bpy.data.meshes.new("mug")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 1)], [], [(0, 1, 2)])
    target = bpy.data.objects.new("mug", mesh)
    target[made.CAMERAS] = stored
    with pytest.raises(made.Unreadable):
        cameras.add(target, bpy.context.scene.collection, ["/a/mug.png"])
    assert not bpy.data.cameras


def test_of_a_list_that_is_too_long_the_first_entries_are_shown(empty: None) -> None:
    history.load(json.dumps([GOOD | {"id": str(number)} for number in range(100_000)]))
    assert [entry.id for entry in history.entries] == [str(number) for number in range(history.MAX_ENTRIES)]
    history.load(json.dumps([GOOD | {"id": "a"}, GOOD | {"id": "b", "name": "x" * history.MAX_TEXT}]))
    assert [entry.id for entry in history.entries] == ["a"]
