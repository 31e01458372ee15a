"""Images that are dropped onto the viewport."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.request import images
from espalier.blender_addon.ui import image_operators


@pytest.fixture
def drop(mode: list[str], tmp_path: Path) -> Callable[[str], str]:
    """Drop an image onto the viewport. Returns what Blender reports: in background, no operator is invoked."""

    def drop(name: str) -> str:
        reports: list[str] = []
        dropped = types.SimpleNamespace(
            directory=str(tmp_path), files=[types.SimpleNamespace(name=name)], replace=False, reports=reports
        )
        dropped.report = lambda kinds, words: reports.append(words)
        kind: Any = image_operators.EspalierAddImages
        dropped.execute = partial(kind.execute, dropped)
        dropped._drop = partial(kind._drop, dropped)
        assert kind.invoke(dropped, bpy.context, None) == {"FINISHED"}
        return " ".join(reports)

    return drop


def test_what_is_dropped_after_an_object_was_made_is_the_next_one(
    drop: Callable[[str], str], mode: list[str], until: Callable[..., None]
) -> None:
    """Before, it is a further view of the same object. While an object is being made, it is the next one, too."""
    settings = bpy.context.scene.espalier
    assert drop("back.png") == ""
    assert [images.title(item) for item in settings.images] == ["mug.png", "back.png"]
    mode[:] = ["slow", "0.3"]
    bpy.ops.espalier.generate()
    assert "turn off Replace" in drop("chair.png")
    assert [images.title(item) for item in settings.images] == ["chair.png"]
    bpy.ops.espalier.generate()
    until(lambda: not pump.jobs.jobs, pump.step)
    assert drop("lamp.png")
    assert [images.title(item) for item in settings.images] == ["lamp.png"]
    assert drop("lamp back.png") == ""
    assert len(settings.images) == 2
