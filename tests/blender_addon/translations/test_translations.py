"""Every text of the panel is there in German and in Chinese."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.backend import disk_errors, print_facts, protocol
from espalier.backend.formats import FORMATS
from espalier.blender_addon import installation, pump, request, scene, translations, ui
from espalier.blender_addon.request.shipped_presets import SHIPPED
from espalier.blender_addon.server import computer, install, models, steps
from espalier.blender_addon.ui import job_list, setup_page


def in_room(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of a room of the add-on."""
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


MODULES = (installation, pump, *in_room(ui), *in_room(request), *in_room(scene))
#: These know nothing of Blender: what they say comes to be shown by way of ``setup_page``.
SERVER = (install, models, steps)
#: Calls whose text is shown: in a keyword, or as the first argument that is a text.
KEYWORDS = ("text", "heading", "text_ctxt")
SHOWN = ("translate", "draw_text", "in_words")
#: The same in ``SERVER``. What has values in it stays in English there, as what the backend says does.
SAID = ("Status", "Problem", "_step", "_report")
#: What is the same in every language.
NAMES = {"Draco", "Espalier", *(each.title for each in FORMATS.values()), "Unreal Engine", "Unity", "Godot", "three.js"}


def literal(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def in_source(module: ModuleType, calls: tuple[str, ...] = SHOWN) -> Iterator[str]:
    """Texts that are drawn, or translated, as they stand in a module's source."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg in KEYWORDS:
                yield from literal(keyword.value)
        name = {ast.Name: "id", ast.Attribute: "attr"}.get(type(node.func), "")
        if name and getattr(node.func, name) in calls:
            for argument in node.args:
                yield from literal(argument)


def in_classes(module: ModuleType) -> Iterator[str]:
    """Names and tooltips of a module's classes, their properties and what can be chosen in these."""
    for cls in module._classes if hasattr(module, "_classes") else ():
        yield cls.bl_label if hasattr(cls, "bl_label") else ""
        if issubclass(cls, bpy.types.Operator | bpy.types.PropertyGroup | bpy.types.AddonPreferences):
            yield cls.__doc__.strip() if issubclass(cls, bpy.types.Operator) else ""
            for name in cls.__annotations__:
                yield from in_property(rna(cls).properties[name])


def labels(module: ModuleType) -> Iterator[tuple[str, str]]:
    """What Blender itself translates of a module's classes, with the contexts that it does so in."""
    for cls in module._classes if hasattr(module, "_classes") else ():
        if hasattr(cls, "bl_label"):
            yield cls.bl_label, context_of(cls)
        if not issubclass(cls, bpy.types.Operator | bpy.types.PropertyGroup | bpy.types.AddonPreferences):
            continue
        for prop in (rna(cls).properties[name] for name in cls.__annotations__):
            if not prop.is_hidden:
                yield prop.name, prop.translation_context
                for item in prop.enum_items if prop.type == "ENUM" else ():
                    yield item.name, prop.translation_context


def context_of(cls: Any) -> str:
    usual = "Operator" if issubclass(cls, bpy.types.Operator) else "*"
    return str(getattr(cls, "bl_translation_context", usual))


def in_layouts(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Texts that a layout translates. Without a context of their own, buttons have that of their operator."""
    classes = {cls.__name__: cls for each in MODULES for cls in getattr(each, "_classes", ())}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "text" not in given or {"text_ctxt", "translate"} & set(given):
            continue
        context = "*"
        if node.func.attr == "operator":
            named = ast.unparse(node.args[0]).removesuffix(".bl_idname").rpartition(".")[2]
            context = context_of(classes.get(named, bpy.types.Operator))
        for text in literal(given["text"]):
            yield text, context


def rna(cls: Any) -> Any:
    """What Blender has registered of a class: an operator's properties are not the class's own."""
    if not issubclass(cls, bpy.types.Operator):
        return cls.bl_rna
    module, function = cls.bl_idname.split(".")
    return getattr(getattr(bpy.ops, module), function).get_rna_type()


def in_property(prop: Any) -> Iterator[str]:
    if prop.is_hidden:
        return
    yield from (prop.name, prop.description)
    if prop.type == "ENUM":
        for item in prop.enum_items:  # none where they are made while Blender runs
            yield from (item.name, item.description)


#: Texts that are chosen in code before they are shown.
CHOSEN = (
    *disk_errors.SENTENCES,
    *disk_errors.SENTENCES.values(),
    disk_errors.CUT_OFF_WORDS,
    pump.FOR_THE_TEMPORARY_FOLDER,
    pump.FOR_THE_FOLDER_OF_JOBS,
    *(text for preset in SHIPPED.values() for text in (preset.title, preset.words)),
    *job_list.STAGES.values(),
    *setup_page.MODEL_STATES.values(),
    *protocol.CUTOUT_NOTES,
    *computer.FITTING,
    print_facts.NOT_CLOSED,
    print_facts.THIN,
    "Edited by hand",
    "Looking for the object...",
    "Erase",
    "Restore",
    "Starting",
    "Generated for a file or scene that is no longer open",
    "The object that it was made for was deleted",
    "Finished before Blender was closed",
    "Try Again",
    "Try Again with Less Memory",
    "Try Another Seed",
    "Drop images of one object",
    "onto the viewport",
    "Nothing has been rendered yet",
    "There is no image on the clipboard",
    "Distilled to a few steps: fast",
    "The model's full number of steps",
    "Draft",
    "Standard",
    "Best",
    "Mini (Demo)",
    "CPU",
    "Apple GPU",
    "{n} Step",
    "{n} Steps",
    "Select an object made with Espalier",
    "Installing the backend. You can keep working.",
    "This checkout has no environment for the backend. Run scripts/dev.py setup to create it.",
    "One step left: install the backend, a separate program that does the computing.",
    "Install the Backend",
    "Install",
    "Repair",
    "Resume",
    "Update",
    "Removing",
    "Install the backend, the program that does the computing, in the background",
    "Stop the installation. Downloaded data is kept, so that it can be resumed later",
    "Stop this operation. Downloaded data is kept, so that a download can be resumed later",
    "Download",
    "Make candidates in place of those that are there",
    "Make further candidates beside those that are there",
    "Make candidates with other seeds in place of those that are there",
    "Download this model and the models it needs. Size and license are shown first",
    "{name} is a demonstration model. It knows a dozen kinds of objects, such as chairs and houses.",
    "Download TRELLIS ({size})...",
    "Turn on Allow Online Access in Preferences > System",
    "Blender was started in offline mode. Start it without --offline-mode",
    "The backend is being installed",
)


@pytest.fixture(scope="module")
def shown() -> Iterator[set[str]]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    found = {text for module in MODULES for text in (*in_source(module), *in_classes(module))}
    said = {text for module in SERVER for text in in_source(module, SAID)}
    yield found | said | set(CHOSEN)
    blender_addon.unregister()


def is_text(text: str) -> bool:
    return (
        text not in NAMES and bool(re.search("[A-Za-z]{2}", text)) and not re.fullmatch(r"\d+ (px|x \d+ pixels)", text)
    )


@pytest.mark.parametrize("language", ["de", "zh_HANS"])
def test_every_text_is_translated(shown: set[str], language: str) -> None:
    table = translations.LANGUAGES[language]
    assert sorted(text for text in shown if is_text(text) and text not in table) == []


@pytest.mark.parametrize("language", ["de_DE", "zh_HANS"])
def test_blenders_own_words_do_not_take_the_place_of_ours(shown: set[str], language: str) -> None:
    """In a real Blender: pip's bpy has no catalogues. Blender looks there first, and only then into our tables."""
    table, view = translations.LANGUAGES[language], bpy.context.preferences.view
    try:
        view.language = language
    except TypeError:
        pytest.skip("this Blender has no languages")
    try:
        look_up = bpy.app.translations.pgettext
        if look_up("Select All", "Operator") == "Select All":
            pytest.skip("this Blender has no catalogues")
        drawn = {(text, context) for module in MODULES for text, context in (*labels(module), *in_layouts(module))}
        wrong = {(text, context) for text, context in drawn if text in table and look_up(text, context) != table[text]}
        assert wrong == set(), "put these into the context translations.OURS"
        assert [text for text in shown if text in table and translations.translate(text) != table[text]] == []
    finally:
        view.language = "en_US"


@pytest.mark.parametrize("language", ["de", "zh_HANS"])
def test_values_stay_in_place(language: str) -> None:
    for english, text in translations.LANGUAGES[language].items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", text)), english
        assert text.strip() == text
        assert text


def test_nothing_is_translated_that_is_not_shown(shown: set[str]) -> None:
    for table in (translations.german.TEXTS, translations.simplified_chinese.TEXTS):
        assert set(table) - shown == set()


def test_numbers_are_written_as_the_language_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    here = bpy.app.translations.locale
    monkeypatch.setattr(translations, "WITH_COMMA", ())
    assert translations.number("8.4 s") == "8.4 s"
    monkeypatch.setattr(translations, "WITH_COMMA", (here,))
    assert translations.number("8.4 s") == "8,4 s"
    assert translations.number("12 s") == "12 s"
