"""The interface in other languages: a module for each, with the English text as the key.

Blender translates by itself what is drawn; ``translate`` is for texts that have values in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy

from . import german, simplified_chinese

#: What Blender calls the languages; the second names are those before 4.0, which some installations keep.
LANGUAGES: dict[str, Mapping[str, str]] = {
    "de": german.TEXTS,
    "de_DE": german.TEXTS,
    "zh_HANS": simplified_chinese.TEXTS,
    "zh_CN": simplified_chinese.TEXTS,
}
#: Where Blender looks for a text: labels, the names of operators.
CONTEXTS = ("*", "Operator")


def translate(text: str) -> str:
    """A text of the interface in the user's language. Values come in later: ``translate("{n} left").format(n=3)``."""
    translated: str = bpy.app.translations.pgettext_iface(text)
    return translated


def register() -> None:
    tables = {
        language: {(context, english): text for english, text in texts.items() for context in CONTEXTS}
        for language, texts in LANGUAGES.items()
    }
    bpy.app.translations.register(__package__, tables)


def unregister() -> None:
    bpy.app.translations.unregister(__package__)
