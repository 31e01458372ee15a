"""The report of a batch, ``report.json``: which objects there are, what they are called, and what happened to them."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..backend.files import write_whole
from ..backend.names import asset_name, key, longest_in, numbered, printable, seen_from
from ..backend.typed_json import ProtocolError, built

REPORT = "report.json"
#: The largest report that is read, in bytes: of some 100,000 objects.
MOST_BYTES = 256 << 20


@dataclasses.dataclass
class Asset:
    """One object and what happened to it: an entry of the report."""

    name: str
    images: list[str]  # views of it
    fingerprint: str  # of the images, the model and the settings: the same fingerprint means the same asset
    files: dict[str, str]  # kind -> path relative to the report
    status: str = "pending"  # done, skipped, failed
    error: dict[str, str] | None = None  # code, message, hint
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by stage, and "total"
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""  # what a person should know about how it was made
    pictures: str = ""  # a digest of the images alone: another one means another picture

    def fail(self, code: str, message: str, hint: str = "") -> None:
        """Mark the asset as failed."""
        self.status, self.error = "failed", {"code": code, "message": message, "hint": hint}

    def shows(self, images: Iterable[str]) -> bool:
        """Whether the asset is made from the images at these paths, whatever they hold now."""
        return list(map(printable, self.images)) == list(map(printable, images))


class Names:
    """Names of the assets in a folder: the same picture keeps its name from run to run, another one gets a number."""

    def __init__(self, folder: Path, earlier: Mapping[str, Asset] | None) -> None:
        """``earlier`` are the assets of earlier runs, None if their report is lost. Then all files are theirs."""
        self._earlier = {key(name): asset for name, asset in (earlier or {}).items()}
        self._given: set[str] = set()
        self._longest = longest_in(folder)
        entries = folder.iterdir() if earlier is not None else ()
        self._there = {key(path.name) for path in entries}

    def give(self, wanted: str, images: list[str], pictures: str, endings: Iterable[str]) -> str:
        """The name of an asset that is made from these images. ``endings`` are those of its files.

        It is the one that it had. Else it is the first that no other asset has, and no file that is no asset's.
        """
        endings = tuple(endings)
        kept: list[Callable[[Asset], bool]] = [
            lambda asset: bool(pictures) and asset.pictures == pictures,
            lambda asset: asset.shows(images),
        ]

        def is_free(name: str) -> bool:
            taken = key(name) in self._given or key(name) in self._earlier
            return not taken and not any(key(name + ending) in self._there for ending in endings)

        base = asset_name(wanted, self._longest)
        found = next(filter(None, (self._had(base, is_same) for is_same in kept)), "") or numbered(base, is_free)
        self._given.add(key(found))
        return found

    def _had(self, base: str, is_same: Callable[[Asset], bool]) -> str:
        """The name that an asset had, of BASE, BASE-2, ...; empty if it had none, or if another one has it now."""
        name, number = base, 2
        while (asset := self._earlier.get(key(name))) is not None or key(name) in self._given:
            if asset is not None and key(name) not in self._given and is_same(asset):
                return asset.name if key(asset.name) == key(name) else name
            name, number = f"{base}-{number}", number + 1
        return ""


def read_report(out: Path) -> dict[str, Asset] | None:
    """The assets of earlier runs, by name. None if the report cannot be read: then everything is made again."""
    try:
        if (out / REPORT).stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        entries = json.loads((out / REPORT).read_text("utf-8"))["assets"]
        if not isinstance(entries, list):
            raise ValueError("its assets are not a list")
        assets = [built(Asset, entry, "an asset") for entry in entries]
        for asset in assets:
            asset.images = [os.path.normpath(out / image) for image in asset.images]
        return {asset.name: asset for asset in assets}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ProtocolError) as error:
        print(f"The report of an earlier run cannot be read ({error}). Everything is made again.", file=sys.stderr)
        return None


def write_report(out: Path, settings: Mapping[str, object], assets: Iterable[Asset]) -> None:
    """Write the report, with the paths of images relative to it. Raises OSError."""
    entries = [
        dataclasses.asdict(asset) | {"images": [seen_from(out, os.path.abspath(image)) for image in asset.images]}
        for asset in assets
    ]
    told = {name: seen_from(out, str(value)) if name == "model" else value for name, value in settings.items()}
    write_whole(out / REPORT, json.dumps({"settings": told, "assets": entries}, indent=1), durable=True)


def describe(asset: Asset) -> str:
    """What happened to an asset, as the line that is printed."""
    if asset.error is not None:
        return f"failed: {asset.error['message']} {asset.error['hint']}".rstrip()
    if asset.status == "skipped":
        return "skipped: already done"
    done = f"done in {asset.seconds['total']:.1f} s ({', '.join(asset.files.values())})"
    return f"{done}. {asset.note}" if asset.note else done
