"""The candidates: objects that were made but not finished, from which the user chooses.

They are neither datablocks nor saved: undo does not touch them, and they last until others take their place or Blender
ends. The files of a candidate and the images that it was made from lie in the folder of the job that made it.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field

import bpy
import bpy.utils.previews
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ..jobs.queue import Job
from .portrait import as_icon, draw_portrait


@dataclass(eq=False)
class Candidate:
    """One of the objects of a job with ``seeds``. ``answer`` is None until it has been made.

    ``picture`` is [SIZE, SIZE, 4] uint8, the top row first; None until a thread has drawn it.
    """

    job: Job
    index: int  # among the job's seeds
    number: int  # that people see, from 1
    answer: protocol.Candidate | None = None
    picture: NDArray[np.uint8] | None = None
    taken: bool = False

    @property
    def key(self) -> str:
        """Its name in ``viewport``."""
        return f"{self.job.id}:{self.index}"

    @property
    def seed(self) -> int:
        """The seed of its object."""
        return self.job.request.seeds[self.index]

    @property
    def views(self) -> tuple[int, ...]:
        """The numbers of the images that it is made from."""
        views = self.job.request.views
        return views[self.index] if views else tuple(range(len(self.job.request.images)))

    @property
    def is_made(self) -> bool:
        """Whether there is an object to take."""
        return self.answer is not None and bool(self.answer.arrays)

    @property
    def label(self) -> str:
        """What stands above its mesh."""
        return str(self.number)


@dataclass
class _Shelf:
    candidates: list[Candidate] = field(default_factory=list)
    is_open: bool = False
    news: bool = False  # a picture has been drawn
    jobs: list[Job] = field(default_factory=list)  # of the candidates, also of those that were not made
    left: list[Job] = field(default_factory=list)  # of candidates that were forgotten; their folders are to be deleted
    icons: bpy.utils.previews.ImagePreviewCollection | None = None


_shelf = _Shelf()


def listed() -> list[Candidate]:
    """All candidates in their order, also those that have been put away."""
    return _shelf.candidates


def shown() -> list[Candidate]:
    """The candidates that the user can choose from now."""
    return _shelf.candidates if _shelf.is_open else []


def jobs() -> list[Job]:
    """The jobs that make or have made the candidates."""
    return _shelf.jobs


def find(number: int) -> Candidate | None:
    """The candidate with this number, if it can be chosen now."""
    return next((candidate for candidate in shown() if candidate.number == number), None)


def expect(job: Job) -> list[Candidate]:
    """Add the candidates that a job will make. Returns them."""
    first = 1 + max((candidate.number for candidate in _shelf.candidates), default=0)
    added = [Candidate(job, index, first + index) for index in range(len(job.request.seeds))]
    _shelf.candidates += added
    _shelf.jobs.append(job)
    _shelf.is_open = True
    return added


def arrived() -> list[Candidate]:
    """Take what has arrived since the last call. Returns these candidates, those without an object too.

    What a job that has ended did not make is no longer expected.
    """
    _clean()
    fresh = []
    for candidate in list(_shelf.candidates):
        if candidate.answer is not None:
            continue
        answers = {answer.number: answer for answer in candidate.job.candidates}
        candidate.answer = answers.get(candidate.index)
        if candidate.answer is not None:
            fresh.append(candidate)
            if candidate.is_made:
                threading.Thread(target=_draw, args=(candidate,), name="espalier picture", daemon=True).start()
        elif not candidate.job.active:
            _shelf.candidates.remove(candidate)
    return fresh


def take_news() -> bool:
    """Whether a picture was drawn since the last call."""
    news, _shelf.news = _shelf.news, False
    return news


def put_away(away: bool = True) -> None:
    """Offer the candidates no longer, or again. They are kept."""
    _shelf.is_open = not away and bool(_shelf.candidates)


def clear() -> None:
    """Forget all candidates, and delete their files as soon as their jobs have ended."""
    _shelf.left += _shelf.jobs
    _shelf.jobs = []
    _shelf.candidates.clear()
    _shelf.is_open = False
    if _shelf.icons is not None:
        _shelf.icons.clear()
    _clean()


def _clean() -> None:
    """Delete the folders of forgotten candidates. While a job runs, the backend writes into its folder."""
    for job in [job for job in _shelf.left if not job.active]:
        _shelf.left.remove(job)
        shutil.rmtree(job.request.out, ignore_errors=True)  # Blender deletes what cannot be deleted when it ends


def icon(candidate: Candidate) -> int:
    """The picture as an icon for ``UILayout.template_icon``; 0 while there is none."""
    if candidate.picture is None or _shelf.icons is None:
        return 0
    return as_icon(_shelf.icons, candidate.key, candidate.picture)


def _draw(candidate: Candidate) -> None:
    assert candidate.answer is not None
    try:
        with np.load(candidate.answer.arrays, allow_pickle=False) as arrays:
            vertices, faces, colors = arrays["vertices"], arrays["faces"], arrays["colors"]
    except FileNotFoundError:
        return  # the candidates were cleared in the meantime
    candidate.picture = draw_portrait(vertices, faces, colors)
    _shelf.news = True


def register() -> None:
    """Make room for pictures."""
    _shelf.icons = bpy.utils.previews.new()


def unregister() -> None:
    """Forget all candidates."""
    clear()
    bpy.utils.previews.remove(_shelf.icons)
    _shelf.icons = None
