"""The formats of a batch: which are chosen, whether they can be written, and which files they are."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..backend.formats import FORMATS, LEVELS, TARGETS, TEXTURES, TILES, Offer, files_of, in_tiles, offered, parts_of

#: What is written where nobody says.
USUAL = ("glb", "blend")


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--format`` and ``--target``."""
    known, usual = ", ".join(offered(Offer.BATCH)), ",".join(USUAL)
    parser.add_argument("--format", metavar="A,B", help=f"what to write: {known} (default: {usual}, or the target's)")
    targets = "; ".join(f"{name}: {each.words}" for name, each in TARGETS.items())
    parser.add_argument("--target", choices=TARGETS, default="any", help=f"the program they are for. {targets}")


def chosen_formats(options: argparse.Namespace) -> list[str]:
    """The formats to write: those that were named, else the target's best, else the usual ones."""
    if options.format is not None:
        return list(dict.fromkeys(name.strip() for name in options.format.split(",")))
    return list(USUAL if options.target == "any" else TARGETS[options.target].formats[:1])


def problem_with_formats(options: argparse.Namespace) -> str:
    """Why these formats cannot be written for this target by this Blender, in a sentence; empty if they can."""
    target = TARGETS[options.target]
    known = offered(Offer.BATCH)
    if options.target != "any":
        known = tuple(name for name in known if name in (*target.formats, "blend"))
    if not set(options.formats) <= set(known):
        given = "" if options.target == "any" else f"--target {options.target} "
        return f"{given}--format {options.format}: choose from {', '.join(known)}"
    tiles = options.udim and all(_has_tiles(name, options) or name == "blend" for name in options.formats)
    if options.texture_size > target.most_pixels * (2 if tiles else 1):
        return f"--texture-size {options.texture_size}: {target.title} takes at most {target.most_pixels}"
    if any(written_by_blender(name) for name in options.formats):
        from .scene.export import obstacle

        return next((f"--format {name}: {wrong}" for name in options.formats if (wrong := obstacle(name))), "")
    return ""


def written_by_blender(name: str) -> bool:
    """Whether a format is written by one of Blender's exporters."""
    return FORMATS[name].by_blender and name != "blend"


def _has_tiles(name: str, options: argparse.Namespace) -> bool:
    """Whether the textures of a format are UDIM tiles: the backend writes them whole."""
    return options.udim and written_by_blender(name) and FORMATS[name].tiles


def files_of_formats(options: argparse.Namespace, which: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """The endings of an asset's files, by kind, in those of the chosen formats for which ``which`` holds."""
    packed = options.ambient_occlusion or options.roughness == "estimated"
    has = {"texture": True, "normal_map": options.normal_map, "occlusion": packed}
    images = tuple(kind for kind in TEXTURES if has[kind])
    found: dict[str, str] = {}
    for name in filter(which, options.formats):
        target, levels = TARGETS[options.target], LEVELS if options.lods else ()
        tiles = dict.fromkeys(images, TILES) if _has_tiles(name, options) else {}
        found |= in_tiles(files_of(name, images, target), tiles) | parts_of(
            name, Offer.BATCH, levels, options.collision, target
        )
    return found
