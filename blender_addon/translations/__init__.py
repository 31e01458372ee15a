"""The interface in other languages. Each language is a module with a table whose keys are the English texts.

Blender itself translates what is drawn. ``translate`` is for texts with values in them.

Blender's own catalogue goes before these tables, and may mean something else by a word: its *History* is a log, its
*Guide* a curve for hair. In the context ``OURS`` it knows nothing. So panels and settings are in that context, and
operators and labels where Blender's word is another one. A test that runs in a real Blender finds these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import bpy

from ...backend.disk_errors import explain
from . import german, simplified_chinese

#: Blender's names of the languages. The second ones are from before 4.0; some installations still use them.
LANGUAGES: dict[str, Mapping[str, str]] = {
    "de": german.TEXTS,
    "de_DE": german.TEXTS,
    "zh_HANS": simplified_chinese.TEXTS,
    "zh_CN": simplified_chinese.TEXTS,
}
#: The context in which a text has our translation, also if Blender knows the same text.
OURS = "Espalier"
#: The contexts in which Blender looks up a text: labels, and the names of operators.
CONTEXTS = ("*", "Operator", OURS)
#: Blender's names of the languages that write 0,6 for 0.6.
WITH_COMMA = ("de", "de_DE")


def translate(text: str) -> str:
    """A text in the user's language. Values are filled in afterwards: ``translate("{n} left").format(n=3)``."""
    translated: str = bpy.app.translations.pgettext_iface(text, OURS)
    if translated == text:  # perhaps it is Blender's: the name of one of its operators, for instance
        translated = bpy.app.translations.pgettext_iface(text)
    return translated


def number(text: str) -> str:
    """A number that has a point, with its unit perhaps, as the user's language writes it."""
    return text.replace(".", ",") if bpy.app.translations.locale in WITH_COMMA else text


def gigabytes(count: float) -> str:
    """A number of bytes as people read it in their language: *4.2 GB*, *30 MB*."""
    return number(f"{count / 1e9:.1f} GB") if count >= 1e9 else f"{count / 1e6:.0f} MB"


def in_words(error: OSError, folder: str | Path = "", hint: str = "") -> str:
    """What a disk said, in the user's language: a line on which folder it is about, and one on what to do.

    As ``explain`` has them. Blender does not wrap the lines of its pop-ups, and joins them in its status bar.
    """
    found = explain(error, folder, hint)
    return f"{translate(found.words).format(**found.values)} \n{translate(found.hint)}"


def register() -> None:
    """Give Blender the tables."""
    tables = {
        language: {(context, english): text for english, text in texts.items() for context in CONTEXTS}
        for language, texts in LANGUAGES.items()
    }
    bpy.app.translations.register(__package__, tables)


def unregister() -> None:
    """Undo ``register``."""
    bpy.app.translations.unregister(__package__)
