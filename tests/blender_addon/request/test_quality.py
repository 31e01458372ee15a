"""Which models and how many steps the panel offers, of those that the backend lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.backend.protocol import ModelInfo
from espalier.blender_addon import installation, translations
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
    assert Quality(model("mini", (2, 2)), named=True).label(chinese) == "2 步, Mini（演示）"


def test_a_teacher_alone_offers_its_own_steps() -> None:
    assert labels(LARGE) == ["25 Steps"]
    assert labels(model("twelve", (12, 25)), family="twelve") == ["12 + 25 Steps"]
    assert labels(LARGE, family="nothing") == []


def test_a_student_offers_few_steps_of_its_teacher() -> None:
    offered = qualities(named(LARGE, model("quick", (2, 2), "large")), "large")
    assert [(choice.label(), choice.model.name, choice.steps) for choice in offered] == [
        ("1 Step", "quick", 1),
        ("2 Steps", "quick", None),
        ("25 Steps", "large", None),
    ]


def test_of_a_student_with_one_stage_only_its_own_steps_are_offered() -> None:
    assert labels(LARGE, model("half", (2, 25), "large")) == ["2 + 25 Steps", "25 Steps"]


def test_a_second_student_is_told_from_the_first_by_its_name() -> None:
    students = [model(name, (2, 2), "large") for name in ("a", "b")]
    assert labels(LARGE, *students) == ["1 Step", "1 Step, b", "2 Steps", "2 Steps, b", "25 Steps"]


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
    assert (settings.model, settings.use_steps, settings.quality) == ("large", False, "25 Steps")
    settings.quality = "2 Steps"
    assert (settings.model, settings.use_steps, settings.family) == ("quick", False, "large")
    settings.quality = "1 Step"
    assert (settings.model, settings.use_steps, settings.steps) == ("quick", True, 1)
    settings.steps = 7
    assert settings.quality == "OWN"
    assert properties.quality_items(settings)[-1][1] == "7 Steps"
    settings.steps = 2  # as many as it was made for
    assert settings.quality == "2 Steps"
    settings.model = "elsewhere"
    assert (settings.family, settings.quality) == ("elsewhere", "OWN")
    settings.family = "mini"
    assert settings.quality == "25 Steps"


def test_a_model_is_not_missing_before_the_backend_has_answered(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    assert not properties.lacks_model(settings)
    assert properties.quality_items(settings)[0][0] == "OWN"
    know(monkeypatch, LARGE)
    assert properties.lacks_model(settings)


def test_the_backend_is_asked_once(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real one, of this checkout."""
    assert {"mini", "mini-mdt"} <= properties.models().keys()
    assert properties.models()["mini-mdt"].teacher == "mini"
    monkeypatch.setattr(installation.models, "ask", lambda backend: pytest.fail("it was asked again"))
    assert {"mini", "mini-mdt"} <= properties.models().keys()
