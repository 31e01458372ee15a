"""Which models and how many steps the panel offers, of those that the backend lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.backend.protocol import ModelInfo
from espalier.blender_addon import installation, pump, translations
from espalier.blender_addon.jobs.timings import Timings
from espalier.blender_addon.request import properties, quality
from espalier.blender_addon.request.quality import Quality, qualities


def model(name: str, steps: tuple[int, int] = (25, 25), teacher: str = "", usable: bool = True) -> ModelInfo:
    return ModelInfo(name, name, "own", 1, 1, "", "", (), usable=usable, steps=steps, teacher=teacher)


def named(*models: ModelInfo) -> dict[str, ModelInfo]:
    return {each.name: each for each in models}


def labels(*models: ModelInfo, family: str = "large") -> list[str]:
    return [choice.label() for choice in qualities(named(*models), family)]


LARGE = model("large")


def test_labels_in_another_language() -> None:
    translate = translations.german.TEXTS.__getitem__
    assert [quality.steps_label(*pair, translate) for pair in ((1, 1), (7, 7), (2, 25))] == [
        "1 Schritt",
        "7 Schritte",
        "2 + 25 Schritte",
    ]
    chinese = translations.simplified_chinese.TEXTS.__getitem__
    few = Quality(model("mini", (4, 4), "large"), 2, named=True)
    assert few.label(chinese) == "2 步, Mini（演示）"
    assert Quality(LARGE).label(translate) == "Beste"


def test_a_teacher_alone_is_the_best_there_is() -> None:
    assert labels(LARGE) == ["Best"]
    assert labels(model("twelve", (12, 25)), family="twelve") == ["Best"]
    assert labels(LARGE, family="nothing") == []


def test_a_student_makes_drafts_and_the_standard() -> None:
    offered = qualities(named(LARGE, model("quick", (2, 2), "large")), "large")
    assert [(choice.label(), choice.model.name, choice.steps) for choice in offered] == [
        ("Draft", "quick", 1),
        ("Standard", "quick", None),
        ("Best", "large", None),
    ]
    assert labels(LARGE, model("four", (4, 4), "large")) == ["Draft", "2 Steps", "3 Steps", "Standard", "Best"]
    assert labels(LARGE, model("one", (1, 1), "large")) == ["Draft", "Best"]


def test_of_a_student_with_one_stage_only_its_own_steps_are_offered() -> None:
    assert labels(LARGE, model("half", (2, 25), "large")) == ["Standard", "Best"]


def test_a_second_student_is_told_from_the_first_by_its_name() -> None:
    students = [model(name, (2, 2), "large") for name in ("a", "b")]
    assert labels(LARGE, *students) == ["Draft", "Draft, b", "Standard", "Standard, b", "Best"]
    other = model("half", (2, 25), "large")
    assert sorted(labels(LARGE, students[0], other)) == ["Best", "Draft", "Standard", "Standard, half"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def know(monkeypatch: pytest.MonkeyPatch, *models: ModelInfo) -> None:
    """Let these be what the backend said, which is not asked again."""
    monkeypatch.setattr(installation.models, "knows", lambda backend: True)
    monkeypatch.setattr(installation.models, "known", named(*models))


def test_the_panels_choices(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, model("mini"), LARGE, model("quick", (2, 2), "large"), model("half there", usable=False))
    assert [item[0] for item in properties._models(settings, None)][:2] == ["large", "mini"]
    settings.family = "large"
    assert (settings.model, settings.use_steps, settings.quality) == ("large", False, "Best")
    settings.quality = "Standard"
    assert (settings.model, settings.use_steps, settings.family) == ("quick", False, "large")
    settings.quality = "Draft"
    assert (settings.model, settings.use_steps, settings.steps) == ("quick", True, 1)
    settings.steps = 7
    assert settings.quality == "Custom"
    settings.steps = 2  # as many as it was made for
    assert settings.quality == "Standard"
    settings.model = "elsewhere"
    assert (settings.family, settings.quality) == ("elsewhere", "Custom")
    settings.family = "mini"
    assert settings.quality == "Best"


def test_custom_steps_are_the_teachers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, LARGE, model("quick", (2, 2), "large"))
    settings.model = "quick"
    assert not properties.is_custom(settings)
    settings.quality = "Custom"
    assert (settings.model, settings.use_steps, settings.steps) == ("large", True, 25)
    assert properties.is_custom(settings), "although Best has as many"
    settings.steps = 12
    assert properties.chosen_settings(settings)["steps"] == 12
    assert properties.show_setting(settings, "steps", 25)  # as when the settings of an object are restored
    assert settings.quality == "Best"
    settings.quality = "Draft"
    assert (settings.model, settings.steps, properties.is_custom(settings)) == ("quick", 1, False)


def test_tooltips_say_steps_and_the_time_measured_here(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, LARGE, model("quick", (2, 2), "large"))
    settings.model = "quick"
    timings = Timings()
    monkeypatch.setattr(pump.jobs, "timings", timings)

    def tooltips() -> dict[str, str]:
        return {identifier: words for identifier, _, words, _ in properties.quality_items(settings)}

    unmeasured = "Not measured yet on this machine"
    assert tooltips()["Draft"] == f"1 Step. Distilled to a few steps: fast. {unmeasured}"
    assert tooltips()["Best"] == f"25 Steps. The model's full number of steps. {unmeasured}"
    timings.note("quick", 2, {"total": 3.2}, "cpu")  # its own number, said in so many words
    timings.note("large", None, {"total": 80.0}, "cpu")
    assert tooltips()["Standard"].endswith("fast. About 3.2 s for an object, measured here")
    assert tooltips()["Best"].endswith("About 80 s for an object, measured here")
    assert tooltips()["Draft"].endswith(unmeasured)


def test_a_model_is_not_missing_before_the_backend_has_answered(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    assert not properties.lacks_model(settings)
    assert properties.quality_items(settings)[0][0] == "Custom"
    know(monkeypatch, LARGE)
    assert properties.lacks_model(settings)


def test_the_backend_is_asked_once(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real one, of this checkout."""
    assert {"mini", "mini-mdt"} <= properties.models().keys()
    assert properties.models()["mini-mdt"].teacher == "mini"
    monkeypatch.setattr(installation.models, "ask", lambda backend: pytest.fail("it was asked again"))
    assert {"mini", "mini-mdt"} <= properties.models().keys()
