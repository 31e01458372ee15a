"""The formats of a batch: which are chosen, and whether they can be written."""

from __future__ import annotations

import argparse

from ..backend.batches import has_tiles, written_by_blender
from ..backend.formats import TARGETS, Offer, offered

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
    tiles = options.udim and all(has_tiles(name, options) or name == "blend" for name in options.formats)
    if options.texture_size > target.most_pixels * (2 if tiles else 1):
        return f"--texture-size {options.texture_size}: {target.title} takes at most {target.most_pixels}"
    if any(written_by_blender(name) for name in options.formats):
        from .scene.export import obstacle

        return next((f"--format {name}: {wrong}" for name in options.formats if (wrong := obstacle(name))), "")
    return ""
