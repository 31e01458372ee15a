"""Write the tables of the documentation from the figures in docs/benchmarks: ``python -m scripts.results``.

A page marks the place of a table. The script replaces everything between the two comments::

    <!-- table: distillation six -->
    <!-- end -->

The first word names a file, here ``docs/benchmarks/distillation.json``. The second chooses a part: ``all`` is a table
of all rows, ``columns`` a list of what the columns mean, and any other word a table of the rows that the file lists
under ``tables`` with this name. ``--check`` writes nothing; the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "benchmarks"

PLACE = re.compile(r"(?P<begin><!-- table: (?P<name>[\w-]+) (?P<part>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.S)


def pages() -> list[Path]:
    """The pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rewritten(text: str, figures: Path = FIGURES) -> str:
    """A page with all its tables updated. Raises OSError and KeyError if figures are missing."""

    def table(place: re.Match[str]) -> str:
        values = json.loads((figures / f"{place['name']}.json").read_text("utf-8"))
        return f"{place['begin']}{markdown(values, place['part'])}\n{place['end']}"

    return PLACE.sub(table, text)


def markdown(values: Mapping[str, Any], part: str) -> str:
    """A part of a file of figures as Markdown."""
    columns = values["columns"]
    if part == "columns":
        return "\n".join(f"- *{name}*: {column['meaning']}" for name, column in columns.items())
    names = list(values["rows"]) if part == "all" else values["tables"][part]
    head = [
        f"{name} (aim {column['aim']:g}{column['unit']})" if "aim" in column else name
        for name, column in columns.items()
    ]
    lines = [["", *head], ["---", *["---:"] * len(head)]]
    for name in names:
        row = values["rows"][name]
        lines.append([name, *(figure(row[key], column) for key, column in columns.items())])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def figure(value: float | Sequence[float] | None, column: Mapping[str, Any]) -> str:
    """A number, or a mean and half its range, with its column's decimals and unit; a dash for what is not known."""
    if value is None:
        return "–"
    numbers = [value] if isinstance(value, int | float) else value
    return " ± ".join(f"{number:.{column['decimals']}f}" for number in numbers) + column["unit"]


def main() -> int:
    """Update the pages, and print which ones changed. Exit code: 0 done, 1 with ``--check`` if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    options = parser.parse_args()
    stale = 0
    for page in pages():
        text = page.read_text("utf-8")
        new = rewritten(text)
        if new == text:
            continue
        stale += 1
        what = "is out of date: run python -m scripts.results" if options.check else "is written"
        print(f"{page.relative_to(ROOT)} {what}")
        if not options.check:
            page.write_text(new, "utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
