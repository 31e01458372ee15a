"""``python -m backend download isnet-general``, of a file of SIZE bytes in place of the published one."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from backend import __main__ as command
from backend.store import catalog
from backend.store.catalog import PublishedFile

NAME = "isnet-general"


def main() -> int:
    files = (PublishedFile("onnx/model.onnx", int(sys.argv[1])),)
    catalog.PUBLISHED[NAME] = dataclasses.replace(catalog.PUBLISHED[NAME], files=files, size=int(sys.argv[1]))
    return command.main(["download", NAME, "--yes"])


if __name__ == "__main__":
    sys.exit(main())
