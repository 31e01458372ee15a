"""What the panel says of a family: what it gives, what it takes here, and what it lacks. And its resolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy
import pytest
from espalier.backend.protocol import ModelInfo, Peak, Ready
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.timings import Timings
from espalier.blender_addon.request import again, families, properties, shipped_presets
from espalier.blender_addon.server.computer import Computer

from tests.blender_addon.request.test_quality import know, model, named
from tests.blender_addon.request.test_quality import settings as settings
from tests.blender_addon.ui.drawing import draw, texts

GB = 10**9
PEAKS = Peak(512, 3 * GB, 13 * GB), Peak(1024, 6 * GB, 16 * GB), Peak(1536, 12 * GB, 22 * GB)
SECOND = replace(
    model("second", (12, 12)),
    size=9 * GB,
    needs=("eyes",),
    materials=True,
    guides=False,
    resolution=512,
    resolutions=(512, 1024, 1536),
    own_resolution=1024,
    peaks=PEAKS,
)
EYES = ModelInfo("eyes", "Eyes", "installed", 1_200_000_000, 0, "", "https://page", ())
FINE = ModelInfo("fine", "F", "not installed", 5 * GB, 0, "", "https://page", ("second",), peaks=PEAKS[1:])
FINE = replace(FINE, part_of="second")


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump.jobs, "timings", Timings())
    monkeypatch.setattr(pump.jobs, "device", None)


def on(monkeypatch: pytest.MonkeyPatch, gib: float | None, name: str = "GPU") -> None:
    """Let the backend run on a card with so much memory."""
    memory = None if gib is None else int(gib * 2**30)
    monkeypatch.setattr(pump.jobs, "device", Ready(1, "0", "3", "2", name, (), memory=memory))


def drawn() -> str:
    return texts(draw()).replace("\n", " ")


def test_a_family_that_makes_materials() -> None:
    assert families.about(named(SECOND, EYES), "second") == (
        "Makes colors, metal, roughness and see-through parts. Resolutions: 512, 1024, 1536. "
        "Its networks take 10.2 GB. Not measured yet on this machine. There is no fast version of it yet: 12 Steps. "
        "It takes guides as they are, whatever the strength, and makes nothing anew in boxes."
    )


def test_a_family_with_a_student_and_colors_alone() -> None:
    pump.jobs.timings.note("first", None, {"structure": 20.0, "load": 3.0}, "GPU")
    first = replace(model("first"), resolution=256, size=30_000_000)
    assert families.about(named(first, model("quick", (2, 2), "first")), "first") == (
        "Makes colors alone: nothing is metal or see-through. The grid of its shapes has 256 cells a side. "
        "Its networks take 30 MB. About 20 s for an object, measured here."
    )
    assert families.about({}, "first") == ""


def test_what_can_be_downloaded_is_not_said_to_be_missing() -> None:
    coarse = replace(SECOND, resolutions=(512,), own_resolution=512)
    told = families.about(named(coarse, EYES, FINE), "second")
    assert "Finer shapes (1024, 1536) are another download of 5.0 GB, in the preferences." in told
    assert "no fast version" in told
    assert "Finer" not in families.about(named(SECOND, EYES, replace(FINE, state="installed")), "second")
    student = replace(model("quick"), usable=False, state="not installed", needs=("first",))
    assert "no fast version" not in families.about(named(model("first"), student), "first")


def test_the_choice_and_the_panel_say_it(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND, EYES, model("mini"))
    words = families.about(named(SECOND, EYES), "second")
    assert words in [item[2] for item in properties._models(settings, None)]
    settings.family = "mini"
    assert "no fast version" not in drawn()
    assert "fineness" not in drawn()
    settings.family = "second"
    assert families.summary(named(SECOND, EYES), SECOND, 1024) == (
        "Makes colors, metal, roughness and see-through parts. 1024 takes 16.0 GB of a graphics card's memory, "
        "with Low Memory 6.0 GB, as counted. There is no fast version of it yet: 12 Steps."
    )
    assert families.summary(named(SECOND, EYES), SECOND, 1024) in drawn()
    settings.fineness = "512"
    assert "512 takes 13.0 GB" in drawn()


def test_the_time_is_that_of_the_resolution(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND)
    settings.family = "second"
    for seconds, resolution in ((20.0, 512), (75.0, 1024)):
        pump.jobs.timings.note("second", None, {"total": seconds}, "GPU", resolution)
    assert "About 75 s for an object" in drawn()
    settings.fineness = "512"
    assert "About 20 s for an object" in drawn()
    settings.fineness = "1536"
    assert "About" not in drawn()
    tooltips = [words for _, _, words, _ in properties.resolution_items(settings)]
    assert tooltips[0].endswith("as counted. About 20 s for an object, measured here")
    assert tooltips[2].endswith("with Low Memory 12.0 GB, as counted. Not measured yet on this machine")


@pytest.mark.parametrize(
    ("gib", "resolution", "low_memory", "words", "helps"),
    [
        (24, 1536, False, None, False),
        (24, 512, False, None, False),
        (12, 512, False, "12 GB, too little for 512: turn on Low Memory.", True),
        (12, 512, True, None, False),
        (8, 1536, False, "8 GB, too little for 1536: choose 1024, with Low Memory.", True),
        (8, 1536, True, "8 GB, too little for 1536: choose 1024.", False),
        (4, 1024, True, "4 GB, too little for 1024: choose 512.", False),
        (2, 512, False, "2 GB, too little for this model: choose another one.", False),
        (None, 1536, False, None, False),
    ],
)
def test_a_card_that_is_too_small_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, gib: int | None, resolution: int, low_memory: bool, words: str | None, helps: bool
) -> None:
    on(monkeypatch, gib)
    warned = families.warning(SECOND, resolution, low_memory)
    expected = None if words is None else families.Warned(f"This graphics card has {words}", helps)
    assert warned == expected


@pytest.mark.parametrize(
    ("gib", "low_memory", "words"),
    [
        (8, False, None),
        (4, False, "turn on Low Memory."),
        (4, True, None),
        (2, True, "choose another one."),
    ],
)
def test_a_model_without_a_choice_is_warned_of_too(
    monkeypatch: pytest.MonkeyPatch, gib: int, low_memory: bool, words: str | None
) -> None:
    on(monkeypatch, gib)
    first = replace(model("first"), resolution=256, peaks=(Peak(256, 2_400_000_000, 5_500_000_000),))
    warned = families.warning(first, None, low_memory)
    assert words == (
        warned and warned.words.removeprefix(f"This graphics card has {gib} GB, too little for this model: ")
    )


def test_nothing_is_warned_of_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert families.warning(SECOND, 512, False) is None, "no device is known yet"
    on(monkeypatch, 1)
    assert families.warning(replace(SECOND, peaks=()), 512, False) is None
    assert families.warning(model("mini"), None, False) is None


def test_what_is_known_of_the_device_before_the_backend_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        computer = Computer(8, 2**34, "GeForce", 8 * 2**30)

    monkeypatch.setattr(families.installation, "installer", Installed)
    assert families.warning(SECOND, 512, False) is not None
    on(monkeypatch, 24)
    assert families.warning(SECOND, 512, False) is None, "the backend knows better"


def test_the_panel_shows_the_warning_and_the_remedy(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND)
    settings.family = "second"
    on(monkeypatch, 8)
    assert "8 GB, too little for 1024: turn on Low Memory." in drawn()
    assert [text for call, text in draw() if call == "prop"].count("low_memory") == 2, "beside the warning, too"
    settings.low_memory = True
    assert "too little" not in drawn()
    on(monkeypatch, None, "cpu")
    assert "There is no graphics card that can be used" in drawn()
    assert "takes 16.0 GB" not in drawn(), "of a card that there is not"
    assert "too little" not in drawn()


def test_a_resolution_is_chosen_where_there_is_a_choice(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND, replace(SECOND, name="coarse", resolutions=(512,), own_resolution=512), model("mini"))

    def asked() -> Any:
        return properties.chosen_settings(settings)["resolution"]

    settings.family = "second"
    assert (settings.fineness, settings.use_resolution, asked()) == ("1024", False, 1024), "its own"
    settings.fineness = "1536"
    assert (settings.use_resolution, settings.resolution, asked()) == (True, "1536", 1536)
    settings.family = "mini"
    assert asked() is None, "it has no choice, and would refuse one"
    settings.family = "coarse"
    assert asked() == 512
    settings.family = "second"
    assert asked() == 1536, "it was only out of sight"
    settings.fineness = "1024"
    assert (settings.use_resolution, asked()) == (False, 1024)
    assert "fineness" in drawn()
    assert [item[0] for item in properties.resolution_items(settings)] == ["512", "1024", "1536"]


def test_a_resolution_is_restored_or_it_is_said(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bpy.data.images.new("a", 8, 8)
    made = {"images": ("image:a",), "model": "second", "resolution": 1536, "size": 1.0, "texture_source": "colors"}
    know(monkeypatch, SECOND, model("mini"))
    assert again.restore(made, settings) == []
    assert (settings.fineness, settings.texture_source) == ("1536", "automatic"), "its own colors are what that means"
    know(monkeypatch, replace(SECOND, resolutions=(512,), own_resolution=512))
    assert again.restore(made, settings) == ["resolution 1536"]
    assert properties.chosen_settings(settings)["resolution"] == 512
    know(monkeypatch, model("mini"))
    again.restore({**made, "model": "mini", "resolution": None}, settings)
    assert settings.texture_source == "colors", "not what Automatic means for this one"


def test_what_a_model_cannot_do_is_not_asked_for(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND, model("mini"))
    settings.family = "mini"
    shipped_presets.apply(settings, "film")
    settings.shape_strength = 0.5
    chosen = properties.chosen_settings(settings)
    told = chosen["roughness"], chosen["shape_strength"], chosen["texture_source"]
    assert told == ("estimated", 0.5, "picture")
    settings.family = "second"
    chosen = properties.chosen_settings(settings)
    told = chosen["roughness"], chosen["shape_strength"], chosen["texture_source"]
    assert told == ("constant", 1.0, "colors")
    assert shipped_presets.chosen(settings) == "film", "it is still what the panel shows"
    settings.shape_strength = 0.0
    assert properties.chosen_settings(settings)["shape_strength"] == 0.0, "no guide"


def test_the_panel_says_why_it_has_no_effect(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, SECOND, model("mini"))
    settings.guide = bpy.data.objects.new("guide", bpy.data.meshes.new("guide"))
    settings.texture_source = "picture"
    said = (
        "This model takes the guide as it is",
        "The light of the images stays in the colors",
        "The model makes roughness and metal itself",
    )
    settings.family = "mini"
    assert not any(words in drawn() for words in said)
    settings.family = "second"
    assert all(words in drawn() for words in said)
    settings.texture_source = "automatic"
    assert said[1] not in drawn()
