"""How long an object takes on this machine: what the last job with each model took, kept between sessions. No bpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...backend.files import write_whole


class Timings:
    """Seconds by stage, of the last job of each kind: model, number of steps and resolution (None: the model's own).

    They hold for one device. The first job on another one ends what was known. ``path`` is the file that they are kept
    in; without one they are known in this session only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.device = ""
        self._path = path
        self._stages: dict[tuple[str, int | None, int | None], dict[str, float]] = {}
        if path is not None and path.is_file():
            try:
                self._take(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"Espalier: {path} cannot be read, so that times are measured again: {error}")

    def note(
        self, model: str, steps: int | None, stages: Mapping[str, float], device: str, resolution: int | None = None
    ) -> None:
        """Keep what a job took on a device. Raises OSError if it can be kept for this session only."""
        if device != self.device:
            self.device = device
            self._stages.clear()
        self._stages[model, steps, resolution] = {"total": sum(stages.values()), **stages}
        if self._path is not None:
            jobs = [[model, steps, stages, fine] for (model, steps, fine), stages in self._stages.items()]
            write_whole(self._path, json.dumps({"device": self.device, "jobs": jobs}))

    def stages(self, model: str, steps: int | None, resolution: int | None = None) -> Mapping[str, float] | None:
        """What each stage took the last time; None if there was no such job yet."""
        return self._stages.get((model, steps, resolution))

    def seconds(self, model: str, steps: int | None, resolution: int | None = None) -> float | None:
        """What an object takes when the model is loaded; None if none was made yet."""
        stages = self.stages(model, steps, resolution)
        return None if not stages else max(stages["total"] - stages.get("load", 0.0), 0.0)

    def measured(self) -> dict[tuple[str, int | None, int | None], float]:
        """The seconds of an object of each kind that was made."""
        return {key: seconds for key in self._stages if (seconds := self.seconds(*key)) is not None}

    def _take(self, values: Any) -> None:
        stages = {
            (str(model), _number(steps), _number(fine[0] if fine else None)): {
                str(k): float(v) for k, v in times.items()
            }
            for model, steps, times, *fine in values["jobs"]  # earlier files have three
        }
        if not all("total" in times for times in stages.values()):
            raise ValueError("a job without its time")
        self.device, self._stages = str(values["device"]), stages


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
