"""The options of ``python -m backend farm``."""

from __future__ import annotations

import argparse
from typing import Any

from .. import protocol
from ..formats import FORMATS, Offer, offered

SOURCE = """a folder, a prefix, a pattern such as 'photos/**/*.jpg', or a table (.csv or .parquet with the columns image
or images; name; seed and other settings)"""
ADDRESS = "of a Ray cluster: auto, ray://HOST:10001 or HOST:PORT (default: Ray on this machine alone)"
VIEWS = "treat images named NAME_front, NAME_back, ... in one folder as views of the object NAME (default: yes)"
BLENDER = "the Blender that writes .blend and other formats of Blender's, on every machine (default: pip's bpy)"
GPU_SHARE = "how much of a GPU each copy of the model gets: 0.5 puts two on each (default: %(default)s)"
ACTORS = "how many copies of the model (default: one for each share of a GPU, else one for two cores)"
OBJECT_STORE = "memory for what waits between the stages, without --address (default: 30 %% of it)"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add all that the farm has besides the options that other commands have, too."""
    command.add_argument("source", metavar="SOURCE", help=SOURCE)
    help = "a folder or a prefix, such as s3://bucket/assets"
    command.add_argument("--out", required=True, metavar="TARGET", help=help)
    command.add_argument("--address", metavar="ADDRESS", help=ADDRESS)
    command.add_argument("--views", action=argparse.BooleanOptionalAction, default=True, help=VIEWS)
    protocol.add_options(command, protocol.Door.BATCH)
    help = f"what to write: {', '.join(offered(Offer.BATCH))} (default: glb)"
    more: dict[str, Any] = {"dest": "formats", "type": _formats, "default": ("glb",), "metavar": "A,B"}
    command.add_argument("--format", help=help, **more)
    command.add_argument("--blender", metavar="PROGRAM", help=BLENDER)
    help = "default: cuda if the cluster has a GPU, else cpu"
    command.add_argument("--device", choices=("cpu", "cuda"), help=help)
    command.add_argument("--gpu-share", type=_share, default=1.0, metavar="X", help=GPU_SHARE)
    command.add_argument("--actors", type=_count, metavar="N", help=ACTORS)
    command.add_argument("--cpus", type=_count, metavar="N", help="cores to use, without --address (default: all)")
    command.add_argument("--object-store", type=_count, metavar="MB", help=OBJECT_STORE)
    help = "let machines that lack the model download it: this accepts its license"
    command.add_argument("--fetch", action="store_true", help=help)
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = offered(Offer.BATCH)
    if not found or not set(found) <= set(known):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(name for name in FORMATS if name in known)}")
    return found


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return int(text)


def _share(text: str) -> float:
    """A share of a GPU. Ray gives parts of one GPU, or whole ones."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("must be a number above 0, up to 1")
    return share
