"""The history: favorites, names, and what was removed put back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import pytest
from espalier import blender_addon
from espalier.blender_addon import pump
from espalier.blender_addon.scene import history, made
from espalier.blender_addon.scene.history import Entry

Until = Callable[..., None]


@pytest.fixture
def registered() -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield
    blender_addon.unregister()


def entry(name: str, size: int = 0, favorite: bool = False) -> Entry:
    """An entry at the end of the list, with files of so many bytes."""
    added = Entry(name, name, {"images": ("/a/mug.png",), "seed": 3}, bytes=size, favorite=favorite)
    history.entries.append(added)
    if size:
        added.folder = history.folder() / name
        added.folder.mkdir(parents=True)
    return added


def ids() -> list[str]:
    return [each.id for each in history.entries]


def test_what_was_removed_is_put_back_into_its_place_with_its_files(registered: None) -> None:
    for name in "abcd":
        entry(name, size=1)
    for name in ("c", "b", "d"):
        assert bpy.ops.espalier.forget(entry=name) == {"FINISHED"}
    assert ids() == ["a"]
    assert "b" not in [saved["id"] for saved in json.loads(history.dump())], "it is not saved with the file"
    for expected in (["a", "d"], ["a", "b", "d"], ["a", "b", "c", "d"]):
        assert bpy.ops.espalier.put_back() == {"FINISHED"}
        assert ids() == expected
    assert all(each.folder is not None and each.folder.is_dir() for each in history.entries)
    assert history.removed() is None
    assert bpy.ops.espalier.put_back() == {"CANCELLED"}


def test_what_was_removed_goes_for_good_with_another_file_and_beyond_the_limits(
    registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_REMOVED", 2)
    for name in "abc":
        history.remove(entry(name, size=1))
    assert [path.name for path in sorted(history.folder().iterdir())] == ["b", "c"]
    monkeypatch.setattr(history, "MAX_BYTES", 2)
    entry("new", size=2)
    history._shrink()
    assert [path.name for path in history.folder().iterdir()] == ["new"], "the files of removed entries go first"
    assert history.put_back() is not None
    history.remove(history.entries[0])
    history.load("[]")
    assert history.removed() is None
    assert list(history.folder().iterdir()) == []


def test_favorites_are_first_and_never_dropped(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ENTRIES", 3)
    for name in "abcde":
        entry(name)
    assert bpy.ops.espalier.favorite(entry="e") == {"FINISHED"}
    assert [each.id for each in history.listed()] == ["e", "a", "b", "c", "d"]
    history._shrink()
    assert ids() == ["a", "b", "e"]
    saved = history.dump()
    history.load(saved)
    assert [(each.id, each.favorite) for each in history.listed()] == [("e", True), ("a", False), ("b", False)]
    assert bpy.ops.espalier.favorite(entry="e") == {"FINISHED"}
    assert [each.id for each in history.listed()] == ["a", "b", "e"]


def test_files_of_favorites_are_the_last_to_go(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_BYTES", 20)
    for name in "abcd":
        entry(name, size=10, favorite=name == "d")
    history._shrink()
    assert [each.id for each in history.entries if each.bytes] == ["a", "d"]


def test_there_is_always_room_for_what_is_made(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_FAVORITES", 2)
    for name in "abc":
        entry(name)
    assert history.set_favorite(history.entries[0], True)
    assert history.set_favorite(history.entries[1], True)
    with pytest.raises(RuntimeError, match="There can be 2 favorites"):
        bpy.ops.espalier.favorite(entry="c")
    text = json.dumps([{**saved, "favorite": True} for saved in json.loads(history.dump())])
    history.load(text)
    assert [each.favorite for each in history.entries] == [True, True, False], "a file may state what it likes"
    history.load(text.replace("true", '"yes"'))
    assert not any(each.favorite for each in history.entries)


def test_a_name_is_kept_and_goes_to_the_objects(mug: bpy.types.Object, until: Until, tmp_path: Path) -> None:
    (only,) = history.entries
    assert bpy.ops.espalier.rename(entry=only.id, name="  Blue \n mug ") == {"FINISHED"}
    assert only.name == "Blue mug"
    with pytest.raises(RuntimeError, match="Type a name"):
        bpy.ops.espalier.rename(entry=only.id, name=" ")
    bpy.ops.espalier.insert_again(entry=only.id)
    assert bpy.context.view_layer.objects.active.name == "Blue mug"
    history.load(history.dump())  # the files are gone
    bpy.ops.espalier.insert_again(entry=only.id)
    until(lambda: not pump.jobs.jobs, pump.step)
    assert bpy.context.view_layer.objects.active.name == "Blue mug.001"


def test_settings_of_an_entry_are_restored(mug: bpy.types.Object) -> None:
    (only,) = history.entries
    settings = bpy.context.scene.espalier
    settings.seed, settings.faces, settings.size = 1, 777, 3.0
    settings.images.clear()
    assert bpy.ops.espalier.restore_entry(entry=only.id) == {"FINISHED"}
    assert (settings.seed, settings.faces, settings.size, settings.lock_seed) == (7, 10_000, 1.0, True)
    assert len(settings.images) == 1
    assert bpy.ops.espalier.restore_entry(entry="none") == {"CANCELLED"}


def test_an_object_knows_its_entry(mug: bpy.types.Object, until: Until) -> None:
    """In place again, and inserted again, too."""
    (first,) = history.entries
    assert mug[made.ENTRY] == first.id
    mug.select_set(True)
    bpy.ops.espalier.regenerate(how="SEED")
    until(lambda: not pump.jobs.jobs, pump.step)
    assert mug[made.ENTRY] == history.entries[0].id != first.id
    bpy.ops.espalier.insert_again(entry=first.id)
    assert bpy.context.view_layer.objects.active[made.ENTRY] == first.id
