"""Which models and how many steps are offered: what lies there, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.blender_addon import choices, translations
from espalier.blender_addon.request import properties, quality
from espalier.blender_addon.request.quality import Model, Quality, qualities, read_models

NETWORKS = dict(zip(quality.NEEDED, ("structure", "structure_decoder", "latents", "mesh_decoder"), strict=True))


def write_model(folder: Path, steps: tuple[int, int] = (25, 25), base: str = "", **changes: Any) -> Path:
    """A folder as models are laid out, with empty weights."""
    (folder / "ckpts").mkdir(parents=True)
    networks = changes.get("networks", NETWORKS)
    samplers = zip(quality.SAMPLERS, steps, strict=True)
    args = {
        "models": {key: f"ckpts/{name}" for key, name in networks.items()},
        "image_cond_model": "ckpts/encoder",
        **{key: {"params": {"steps": count}} for key, count in samplers},
    }
    for name in (*networks.values(), *([] if base else ["encoder"])):
        (folder / "ckpts" / f"{name}.safetensors").touch()
        if not base:
            (folder / "ckpts" / f"{name}.json").touch()
    if base:
        (folder / "overlay.json").write_text(json.dumps({"base": base}))
    (folder / "pipeline.json").write_text(json.dumps({"args": args}))
    return folder


STUDENT = {key: NETWORKS[key] for key in ("sparse_structure_flow_model", "slat_flow_model")}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_model(tmp_path / "models" / "large")
    return tmp_path / "models"


def labels(models: Path, family: str = "large") -> list[str]:
    return [choice.label() for choice in qualities(read_models(models / "nowhere", str(models)), family)]


def test_labels_in_another_language() -> None:
    translate = translations.german.TEXTS.__getitem__
    assert [quality.steps_label(*pair, translate) for pair in ((1, 1), (7, 7), (2, 25))] == [
        "1 Schritt",
        "7 Schritte",
        "2 + 25 Schritte",
    ]
    model = Model("mini", "mini", (2, 2))
    chinese = translations.simplified_chinese.TEXTS.__getitem__
    assert Quality(model, named=True).label(chinese) == "2 步, Mini（演示）"


def test_a_teacher_alone_offers_its_own_steps(models: Path) -> None:
    assert labels(models) == ["25 Steps"]
    write_model(models / "twelve", (12, 25))
    assert labels(models, "twelve") == ["12 + 25 Steps"]
    assert labels(models, "nothing") == []


def test_a_student_offers_few_steps_of_its_teacher(models: Path) -> None:
    write_model(models / "quick", (2, 2), base="large", networks=STUDENT)
    found = read_models(models / "nowhere", str(models))
    assert found["quick"] == Model("quick", str(models / "quick"), (2, 2), teacher="large")
    offered = qualities(found, "large")
    assert [(choice.label(), choice.model.name, choice.steps) for choice in offered] == [
        ("1 Step", "quick", 1),
        ("2 Steps", "quick", None),
        ("25 Steps", "large", None),
    ]


def test_of_a_student_with_one_stage_only_its_own_steps_are_offered(models: Path) -> None:
    structure = {"sparse_structure_flow_model": NETWORKS["sparse_structure_flow_model"]}
    write_model(models / "half", (2, 25), base="large", networks=structure)
    assert labels(models) == ["2 + 25 Steps", "25 Steps"]


def test_a_second_student_is_told_from_the_first_by_its_name(models: Path) -> None:
    for name in ("a", "b"):
        write_model(models / name, (2, 2), base="large", networks=STUDENT)
    assert labels(models) == ["1 Step", "1 Step, b", "2 Steps", "2 Steps, b", "25 Steps"]


def test_what_is_not_whole_is_not_offered(models: Path) -> None:
    (models / "large" / "ckpts" / "latents.safetensors").unlink()
    write_model(models / "orphan", (2, 2), base="gone", networks=STUDENT)
    (models / "broken").mkdir()
    (models / "broken" / "pipeline.json").write_text("{}")
    (models / "nonsense").mkdir()
    (models / "nonsense" / "pipeline.json").write_text("[")
    assert read_models(models / "nowhere", str(models)) == {}


def test_the_published_students_and_their_encoder(tmp_path: Path) -> None:
    large = write_model(tmp_path / "trellis-image-large")
    args = json.loads((large / "pipeline.json").read_text())
    args["args"]["image_cond_model"] = "dinov2_vitl14_reg"
    (large / "pipeline.json").write_text(json.dumps(args))
    student = write_model(tmp_path / "mdt-dist", (2, 2), base="any", networks=STUDENT)
    (student / "overlay.json").unlink()  # as it is published: no description of a network, and no word of a base
    pipeline = json.loads((student / "pipeline.json").read_text())
    pipeline["args"]["image_cond_model"] = "dinov2_vitl14_reg"
    (student / "pipeline.json").write_text(json.dumps(pipeline))
    assert read_models(tmp_path / "nowhere", str(tmp_path)) == {}  # its encoder is still to come
    (tmp_path / "dinov2-vitl14-reg").mkdir()
    (tmp_path / "dinov2-vitl14-reg" / "model.safetensors").touch()
    assert labels(tmp_path, "trellis-image-large") == ["1 Step", "2 Steps", "25 Steps"]


@pytest.fixture
def settings(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setattr(choices, "folders", lambda context: ("", str(models)))
    monkeypatch.setattr(quality, "_seen", None)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()
    quality._seen = None


def test_the_panels_choices(models: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(models / "quick", (2, 2), base="large", networks=STUDENT)
    assert [item[0] for item in properties._models(settings, None)] == ["large", "mini"]
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


def test_folders_are_not_read_at_every_draw(models: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(properties.models()) == {"large", "mini", "mini-mdt"}
    monkeypatch.setattr(quality, "read_models", lambda *folders: {})
    assert set(properties.models()) == {"large", "mini", "mini-mdt"}
    monkeypatch.setattr(quality, "FRESH", -1.0)
    assert properties.models() == {}
