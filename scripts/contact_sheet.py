"""One picture of a batch: the input images above, the rendered results below, with their names.

    python -m scripts.contact_sheet DIR             (a folder that batch.py --render has filled)
    python -m scripts.contact_sheet DIR DIR ...     (batches of the same images, a row for each, named by folder)

Writes ``contact_sheet.png`` into the first folder. For an asset that failed, it shows the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

TILE = 256  # pixels, square
GAP = 12
LABEL = 30  # height of the line with the name
MARGIN = 150  # for the names of several batches
MOST_COLUMNS = 6
PAPER, CARD, INK, RED = (255, 255, 255), (240, 240, 240), (40, 40, 40), (170, 30, 30)


def main(arguments: list[str]) -> int:
    """Write the sheet for the given folders. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.contact_sheet", description="One picture of a batch: inputs above, results below."
    )
    parser.add_argument("folders", type=Path, metavar="DIR", nargs="+")
    folders = parser.parse_args(arguments).folders
    for folder in folders:
        if not (folder / "report.json").is_file():
            parser.error(f"there is no report.json in {folder}: run batch.py first")
    batches = [(folder, json.loads((folder / "report.json").read_text("utf-8"))["assets"]) for folder in folders]
    if not batches[0][1]:
        parser.error(f"{folders[0] / 'report.json'} lists no assets")
    contact_sheet(batches).save(folders[0] / "contact_sheet.png", optimize=True)
    return 0


def contact_sheet(batches: list[tuple[Path, list[dict[str, Any]]]]) -> Image.Image:
    """The sheet for batches: folders with their reports' entries. Paths of previews are relative to the folder."""
    assets = batches[0][1]
    named = [(folder, {asset["name"]: asset for asset in entries}) for folder, entries in batches]
    rows = math.ceil(len(assets) / MOST_COLUMNS)
    columns = math.ceil(len(assets) / rows)
    margin = GAP if len(batches) == 1 else GAP + MARGIN
    step = (TILE + GAP, LABEL + (1 + len(batches)) * (TILE + 4) + 2 * GAP)
    sheet = Image.new("RGB", (margin + columns * step[0], rows * step[1] + GAP), PAPER)
    for index, asset in enumerate(assets):
        column, y = index % columns, GAP + index // columns * step[1]
        x = margin + column * step[0]
        write(sheet, (x, y + 4), asset["name"][:26], size=18, color=INK)
        sheet.paste(input_tile(asset, batches[0][0]), (x, y + LABEL))
        for line, (folder, entries) in enumerate(named, start=1):
            top = y + LABEL + line * (TILE + 4)
            sheet.paste(result_tile(entries.get(asset["name"]), folder), (x, top))
            if column == 0 and len(batches) > 1:
                write(sheet, (GAP, top + TILE // 2 - 20), textwrap.fill(folder.name, 14), size=18, color=INK)
    return sheet


def input_tile(asset: dict[str, Any], folder: Path) -> Image.Image:
    """The first image of an asset of the batch in a folder, or why it cannot be shown."""
    try:
        with Image.open(folder / asset["images"][0]) as image:
            return fit(image)
    except (OSError, Image.DecompressionBombError):
        return message("This image cannot be read.")


def result_tile(asset: dict[str, Any] | None, folder: Path) -> Image.Image:
    """The render of an asset, or why there is none."""
    if asset is None:
        return message("This batch did not have this image.")
    if asset["error"] is not None:
        return message(asset["error"]["message"])
    preview = folder / asset["files"].get("preview", "")
    if not preview.is_file():
        return message("There is no preview: run batch.py with --render.")
    with Image.open(preview) as image:
        return fit(image)


def fit(image: Image.Image) -> Image.Image:
    """The whole image in the middle of a tile. Transparent parts show the card."""
    image = image.convert("RGBA")
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (TILE, TILE), (*CARD, 255))
    tile.alpha_composite(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return tile.convert("RGB")


def message(text: str) -> Image.Image:
    """A tile with words instead of a picture."""
    tile = Image.new("RGB", (TILE, TILE), CARD)
    write(tile, (GAP, GAP), textwrap.fill(text, 30, max_lines=12), size=15, color=RED)
    return tile


def write(image: Image.Image, corner: tuple[int, int], text: str, *, size: int, color: tuple[int, int, int]) -> None:
    """Write text onto an image. ``corner`` is the text's upper left corner, in pixels."""
    ImageDraw.Draw(image).multiline_text(corner, text, fill=color, font=ImageFont.load_default(size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
