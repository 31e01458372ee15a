"""What the panel says of a family: what it gives, what it takes here, and what it lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy
import pytest
from espalier.backend.protocol import ModelInfo
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.timings import Timings
from espalier.blender_addon.request import families, properties

from tests.blender_addon.request.test_quality import know, model, named
from tests.blender_addon.request.test_quality import settings as settings
from tests.blender_addon.ui.drawing import draw, texts

SECOND = replace(model("second", (12, 12)), size=9_000_000_000, needs=("eyes",), materials=True, resolution=512)
EYES = ModelInfo("eyes", "Eyes", "installed", 1_200_000_000, 0, "", "https://page", ())


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump.jobs, "timings", Timings())


def test_a_family_that_makes_materials() -> None:
    assert families.about(named(SECOND, EYES), "second") == (
        "Makes colors, metal, roughness and see-through parts. The grid of its shapes has 512 cells a side. "
        "Its networks take 10.2 GB. Not measured yet on this machine. There is no fast version of it yet: 12 Steps. "
        "It takes no guides and no boxes."
    )


def test_a_family_with_a_student_and_colors_alone() -> None:
    pump.jobs.timings.note("first", None, {"structure": 20.0, "load": 3.0}, "GPU")
    first = replace(model("first"), resolution=256, size=30_000_000)
    assert families.about(named(first, model("quick", (2, 2), "first")), "first") == (
        "Makes colors alone: nothing is metal or see-through. The grid of its shapes has 256 cells a side. "
        "Its networks take 30 MB. About 20 s for an object, measured here."
    )
    assert families.about({}, "first") == ""


def test_the_choice_and_the_panel_say_it(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND, EYES, model("mini"))
    words = families.about(named(SECOND, EYES), "second")
    assert words in [item[2] for item in properties._models(settings, None)]
    bpy.context.scene.espalier.family = "mini"
    assert "no fast version" not in texts(draw())
    bpy.context.scene.espalier.family = "second"
    assert words in texts(draw()).replace("\n", " ")
