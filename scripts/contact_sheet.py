"""One picture of a batch: the input images above, the rendered results below, with their names.

    python scripts/contact_sheet.py DIR        (a folder that batch.py --render has filled)

Writes ``DIR/contact_sheet.png``. An asset that failed shows why.
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
MOST_COLUMNS = 6
PAPER, CARD, INK, RED = (255, 255, 255), (240, 240, 240), (40, 40, 40), (170, 30, 30)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="One picture of a batch: inputs above, results below.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    report = folder / "report.json"
    if not report.is_file():
        parser.error(f"there is no report.json in {folder}: run batch.py first")
    assets = json.loads(report.read_text("utf-8"))["assets"]
    if not assets:
        parser.error(f"{report} names no asset")
    contact_sheet(assets, folder).save(folder / "contact_sheet.png", optimize=True)
    return 0


def contact_sheet(assets: list[dict[str, Any]], folder: Path) -> Image.Image:
    """Entries of a report -> the sheet. Paths of previews are relative to ``folder``."""
    rows = math.ceil(len(assets) / MOST_COLUMNS)
    columns = math.ceil(len(assets) / rows)
    step = (TILE + GAP, LABEL + 2 * TILE + 2 * GAP)
    sheet = Image.new("RGB", (columns * step[0] + GAP, rows * step[1] + GAP), PAPER)
    for index, asset in enumerate(assets):
        x, y = GAP + index % columns * step[0], GAP + index // columns * step[1]
        write(sheet, (x, y + 4), asset["name"][:26], size=18, color=INK)
        sheet.paste(input_tile(asset), (x, y + LABEL))
        sheet.paste(result_tile(asset, folder), (x, y + LABEL + TILE + 4))
    return sheet


def input_tile(asset: dict[str, Any]) -> Image.Image:
    try:
        with Image.open(asset["images"][0]) as image:
            return fit(image)
    except (OSError, Image.DecompressionBombError):
        return message("This image cannot be read.")


def result_tile(asset: dict[str, Any], folder: Path) -> Image.Image:
    if asset["error"] is not None:
        return message(asset["error"]["message"])
    preview = folder / asset["files"].get("preview", "")
    if not preview.is_file():
        return message("There is no preview: run batch.py with --render.")
    with Image.open(preview) as image:
        return fit(image)


def fit(image: Image.Image) -> Image.Image:
    """The image, whole, in the middle of a tile; what is transparent shows the card."""
    image = image.convert("RGBA")
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (TILE, TILE), (*CARD, 255))
    tile.alpha_composite(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return tile.convert("RGB")


def message(text: str) -> Image.Image:
    """A tile with words in place of a picture."""
    tile = Image.new("RGB", (TILE, TILE), CARD)
    write(tile, (GAP, GAP), textwrap.fill(text, 30, max_lines=12), size=15, color=RED)
    return tile


def write(image: Image.Image, place: tuple[int, int], text: str, *, size: int, color: tuple[int, int, int]) -> None:
    ImageDraw.Draw(image).multiline_text(place, text, fill=color, font=ImageFont.load_default(size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
