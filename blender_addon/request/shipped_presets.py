"""The presets that come with the extension: how an object is finished for a purpose.

They are code, so that nobody can overwrite them. The user's own presets are files of Blender's (``ui.presets``) and lie
beside them. A shipped preset sets every setting in ``FINISHING`` and no other: not the model, its steps, the size or
how images are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import properties

#: What a shipped preset sets.
FINISHING = (
    "faces",
    "max_error",
    "quads",
    "lods",
    "collision",
    "texture_size",
    "udim",
    "roughness",
    "normal_map",
    "ambient_occlusion",
)
#: What holds where a preset says nothing else.
_PLAIN: dict[str, Any] = {
    "max_error": None,
    "quads": False,
    "lods": False,
    "collision": False,
    "udim": False,
    "roughness": "constant",
    "normal_map": True,
    "ambient_occlusion": False,
}


@dataclass(frozen=True)
class ShippedPreset:
    """A preset with its title, what it is for, and the value of each setting in ``FINISHING``."""

    title: str
    words: str
    values: dict[str, Any]


SHIPPED: dict[str, ShippedPreset] = {
    "prop": ShippedPreset(
        "Prop",
        "For the background of a scene: 5,000 triangles, 1K texture, normal map",
        {**_PLAIN, "faces": 5_000, "texture_size": 1024},
    ),
    "game": ShippedPreset(
        "Game",
        "For game engines: 10,000 triangles, levels of detail, collision hulls, 2K texture, normal and occlusion maps",
        {**_PLAIN, "faces": 10_000, "texture_size": 2048}
        | {"lods": True, "collision": True, "ambient_occlusion": True},
    ),
    "print": ShippedPreset(
        "Print",
        "For 3D printing: up to 200,000 triangles that hold all detail, 2K texture for color prints, no other maps",
        {**_PLAIN, "faces": 200_000, "texture_size": 2048, "normal_map": False},
    ),
    "film": ShippedPreset(
        "Film",
        "For close-ups and further modeling: quads for 50,000 triangles, 4K texture, normal map, estimated roughness",
        {**_PLAIN, "faces": 50_000, "texture_size": 4096, "quads": True, "roughness": "estimated"},
    ),
}


def apply(settings: properties.EspalierSettings, name: str) -> None:
    """Have the panel show the values of a shipped preset. Raises KeyError if there is none of this name."""
    for setting, value in SHIPPED[name].values.items():
        properties.show_setting(settings, setting, value)


def chosen(settings: properties.EspalierSettings) -> str:
    """The name of the shipped preset whose values the panel shows; empty if they are those of none."""
    shown = properties.shown_settings(settings)
    return next((name for name, preset in SHIPPED.items() if preset.values.items() <= shown.items()), "")
