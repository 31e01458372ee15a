"""What an object of a family is made from: its parameters, its colours, and where it stands in the cube."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .primitives import Field

#: Colour slots of every object: two of the main pattern, two of other parts, one that shows only inside hidden choices.
MAIN, SECOND, PART, ACCENT, INSIDE = range(5)

#: Every object's longest side. A picture is cut to what it shows and cannot tell how large that is: objects of many
#: sizes would leave a model to guess theirs. The published model's objects have 1; this leaves the mesh its border.
LONGEST_SIDE = 0.94

Range = tuple[float, float]
Size = Tensor | float
Extent = tuple[tuple[Size, Size], tuple[Size, Size], tuple[Size, Size]]


@dataclass(frozen=True)
class Family:
    """One kind of object. ``modes`` gives for each hidden choice the probabilities of its modes."""

    name: str
    build: Callable[[Field, Params], None]
    extent: Callable[[Params], Extent]  # from where to where along x, y, z, in the units of ``build``
    visible: dict[str, Range]
    hidden: dict[str, Range]
    modes: dict[str, tuple[float, ...]]
    hues: dict[int, Range] = field(default_factory=dict)  # colour slot -> hue range, where not free

    def params(self, values: dict[str, Tensor], colors: Tensor) -> Params:
        """Parameters with what brings the object to the middle of the cube and to its size there."""
        params = Params(values, colors)
        one = torch.ones_like(colors[:, 0, :1])  # some ends are plain numbers
        low, high = (torch.cat([one * side[k] for side in self.extent(params)], 1) for k in range(2))
        unit = (high - low).amax(1, keepdim=True) / LONGEST_SIDE
        return params.replaced({"unit": unit, "middle": (low + high) / 2})


class Params:
    """Parameters of B objects of one family, each [B, 1]; colours [B, 1, 3] (sRGB, 0..1).

    ``unit`` [B, 1] is the size of the cube and ``middle`` [B, 3] its centre, in the units that the family is built in.
    """

    def __init__(self, values: dict[str, Tensor], colors: Tensor) -> None:
        self._values = values
        self.colors = colors  # [B, 5, 3]

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def color(self, slot: int) -> Tensor:
        """The colour of a slot (``MAIN`` .. ``INSIDE``), [B, 1, 3]."""
        return self.colors[:, slot, None, :]

    def mode(self, name: str, index: int) -> Tensor:
        """[B, 1] bool: which objects have this mode."""
        return self._values[name] == index

    def replaced(self, values: dict[str, Tensor]) -> Params:
        """The same objects with some parameters replaced."""
        return Params(self._values | values, self.colors)

    def select(self, rows: Tensor | slice) -> Params:
        """Some of the objects."""
        return Params({k: v[rows] for k, v in self._values.items()}, self.colors[rows])
