"""How long an object takes on this machine: what the last job with each model took, kept between sessions. No bpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...backend.files import write_whole


class Timings:
    """Seconds by stage, of the last job with each model and number of steps (None: the model's own).

    They hold for one device. The first job on another one ends what was known. ``path`` is the file that they are kept
    in; without one they are known in this session only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.device = ""
        self._path = path
        self._stages: dict[tuple[str, int | None], dict[str, float]] = {}
        if path is not None and path.is_file():
            try:
                self._take(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"Espalier: {path} cannot be read, so that times are measured again: {error}")

    def note(self, model: str, steps: int | None, stages: Mapping[str, float], device: str) -> None:
        """Keep what a job took on a device. Raises OSError if it can be kept for this session only."""
        if device != self.device:
            self.device = device
            self._stages.clear()
        self._stages[model, steps] = {"total": sum(stages.values()), **stages}
        if self._path is not None:
            jobs = [[model, steps, stages] for (model, steps), stages in self._stages.items()]
            write_whole(self._path, json.dumps({"device": self.device, "jobs": jobs}))

    def stages(self, model: str, steps: int | None) -> Mapping[str, float] | None:
        """What each stage took the last time; None if there was no such job yet."""
        return self._stages.get((model, steps))

    def seconds(self, model: str, steps: int | None) -> float | None:
        """What an object takes when the model is loaded; None if none was made yet."""
        stages = self.stages(model, steps)
        return None if not stages else max(stages["total"] - stages.get("load", 0.0), 0.0)

    def measured(self) -> dict[tuple[str, int | None], float]:
        """The seconds of an object with each model and number of steps that were used."""
        return {key: seconds for key in self._stages if (seconds := self.seconds(*key)) is not None}

    def _take(self, values: Any) -> None:
        stages = {
            (str(model), None if steps is None else int(steps)): {str(k): float(v) for k, v in times.items()}
            for model, steps, times in values["jobs"]
        }
        if not all("total" in times for times in stages.values()):
            raise ValueError("a job without its time")
        self.device, self._stages = str(values["device"]), stages
