"""What the panel shows of Explore and Live."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.request import live
from espalier.blender_addon.scene import candidates
from espalier.blender_addon.ui import explore_operators
from espalier.blender_addon.ui.explore_operators import EspalierTakeCandidate

from tests.blender_addon.ui.drawing import beside, draw, texts

Until = Callable[..., None]


@pytest.fixture
def panel(mode: list[str], tmp_path: Path) -> bpy.types.PropertyGroup:
    (tmp_path / "mug.png").write_bytes(b"a picture")
    settings = bpy.context.scene.espalier
    settings.seed, settings.candidates = 98, 4
    return settings


def buttons() -> list[Any]:
    return [text for call, text in draw() if call == "operator"]


def test_candidates_are_drawn_as_they_come(panel: bpy.types.PropertyGroup, until: Until) -> None:
    assert "espalier.explore" in buttons()
    assert not {"More", "All Again"} & set(buttons())
    bpy.ops.espalier.explore()
    assert "0 of 4 candidates" in texts(draw())
    assert "4 candidates" in texts(draw()), "the job in the list says what it makes"
    assert explore_operators.EspalierCancelExplore.bl_idname in buttons()
    until(lambda: not pump.jobs.active, pump.step)
    drawn = texts(draw())
    assert "3 of 4 candidates" in drawn
    assert explore_operators.EspalierCancelExplore.bl_idname not in buttons()
    assert {"1", "2", "3", "4", "More", "All Again"} <= set(buttons())
    assert "3: The model found no object." in drawn, "seed 100 gives none, and the panel says so"
    bpy.ops.espalier.put_away_candidates()
    assert "espalier.bring_back_candidates" in buttons()
    assert "More" not in buttons()


def test_a_bar_says_how_long_candidates_take(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    def bar() -> list[Any]:
        return [text for call, text in draw() if call == "progress" and "of 4 candidates" in text]

    mode[:] = ["slow", "2"]
    bpy.ops.espalier.explore()
    assert bar() == ["0 of 4 candidates"]
    job = pump.jobs.jobs[0]
    until(lambda: len(job.candidates) == 2, pump.step)
    assert job.fraction >= 0.5
    assert bar()[0].startswith("2 of 4 candidates · 0:0")
    until(lambda: not pump.jobs.active, pump.step)
    assert bar() == []


def test_the_panel_names_the_keys_that_take_candidates(panel: bpy.types.PropertyGroup, until: Until) -> None:
    bpy.ops.espalier.explore()
    assert "Keys 1 to 4 over the viewport take one" in texts(draw(900))
    for _ in range(2):
        bpy.ops.espalier.explore(how="MORE")
        until(lambda: not pump.jobs.active, pump.step)
    assert "Keys 1 to 9 and 0 over the viewport take one" in texts(draw(900))


def test_buttons_are_below_each_other_where_the_sidebar_is_narrow(panel: bpy.types.PropertyGroup, until: Until) -> None:
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)
    assert "espalier.live" in beside("espalier.explore", 240)
    assert "espalier.live" not in beside("espalier.explore", 180)
    assert "All Again" in beside("More", 240)
    with pytest.raises(StopIteration):
        beside("More", 180)


def test_the_images_of_each_can_be_chosen_if_there_are_several(panel: bpy.types.PropertyGroup, tmp_path: Path) -> None:
    assert "candidate_views" not in texts(draw())
    (tmp_path / "cup.png").write_bytes(b"another picture")
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "cup.png"}])
    assert "candidate_views" in texts(draw())


def test_the_tooltip_says_the_seed(panel: bpy.types.PropertyGroup, until: Until) -> None:
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)

    def tooltip(number: int) -> str:
        properties: Any = types.SimpleNamespace(number=number)
        return EspalierTakeCandidate.description(bpy.context, properties)

    assert "99" in tooltip(2)
    assert "rough colors. Finishing paints the image on" in tooltip(2)
    assert tooltip(99) == EspalierTakeCandidate.__doc__
    panel.texture_source = "colors"
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)
    assert "rough colors" not in tooltip(2), "no image is painted on"


def test_a_key_of_no_candidate_does_what_it_does_otherwise(panel: bpy.types.PropertyGroup, until: Until) -> None:
    """Blender's own keys go on working: the operator lets them pass."""

    def press(number: int, shift: bool = False) -> set[str]:
        key = types.SimpleNamespace(number=number, keep_choosing=False)
        key.execute = lambda context: {"FINISHED"}
        event: Any = types.SimpleNamespace(shift=shift)
        operator: Any = key
        return EspalierTakeCandidate.invoke(operator, bpy.context, event)

    assert not EspalierTakeCandidate.poll(bpy.context)
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)
    assert EspalierTakeCandidate.poll(bpy.context)
    assert press(1) == {"FINISHED"}
    assert press(3) == {"PASS_THROUGH"}, "it has no object"
    assert press(9) == {"PASS_THROUGH"}
    bpy.ops.espalier.put_away_candidates()
    assert not EspalierTakeCandidate.poll(bpy.context)
    assert candidates.listed()


def test_live_is_drawn(
    panel: bpy.types.PropertyGroup, mode: list[str], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode[:] = ["slow", "1"]
    assert "espalier.keep_live" not in buttons()
    bpy.ops.espalier.generate()
    bpy.ops.espalier.live()
    assert "espalier.keep_live" in buttons()
    assert "The preview waits for the queue" in texts(draw())
    until(lambda: not pump.jobs.jobs, pump.step)
    assert "The preview waits" not in texts(draw())
    panel.seed = 100
    monkeypatch.setattr(live, "LASTING", 0.0)

    def step() -> None:
        pump.step()
        live.step()

    until(lambda: live.problem() is not None, step)
    assert "The model found no object." in texts(draw())


def test_while_there_are_candidates_no_card_pushes_them_down(panel: bpy.types.PropertyGroup, until: Until) -> None:
    panel.seed = 1
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)
    assert bpy.ops.espalier.take_candidate(number=1, keep_choosing=True) == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    (made,) = bpy.context.scene.objects
    bpy.context.view_layer.objects.active = made
    made.select_set(True)
    assert "Regenerate" not in buttons()
    assert "2" in buttons()
    bpy.ops.espalier.put_away_candidates()
    assert "Regenerate" in buttons()
