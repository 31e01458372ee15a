"""What an object of a family is made from: its parameters, its colours, and its place in the cube."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .primitives import Field

#: Colour slots of every object: two for the main pattern, two for other parts, one that shows only in hidden places.
MAIN, SECOND, PART, ACCENT, INSIDE = range(5)

#: Every object's longest side. A picture is cropped to its object and cannot tell how large that is: with objects of
#: many sizes, a model would have to guess. The published model's objects have 1; this leaves a border for the mesh.
LONGEST_SIDE = 0.94

Range = tuple[float, float]
Size = Tensor | float
Extent = tuple[tuple[Size, Size], tuple[Size, Size], tuple[Size, Size]]


@dataclass(frozen=True)
class Family:
    """One kind of object. ``modes`` has the probabilities of the modes of each hidden choice."""

    name: str
    build: Callable[[Field, Params], None]
    extent: Callable[[Params], Extent]  # from where to where along x, y, z, in the units of ``build``
    visible: dict[str, Range]
    hidden: dict[str, Range]
    modes: dict[str, tuple[float, ...]]
    hues: dict[int, Range] = field(default_factory=dict)  # colour slot -> hue range, if it is limited
    one_sided: bool = False  # left and right differ: a mirrored object looks like one that is turned

    def params(self, values: dict[str, Tensor], colors: Tensor) -> Params:
        """Parameters, with the scale and offset that put the object in the middle of the cube, at its size there."""
        params = Params(values, colors)
        one = torch.ones_like(colors[:, 0, :1])  # some limits are plain numbers
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

    @property
    def device(self) -> torch.device:
        """Where the parameters are; points are evaluated there."""
        return self.colors.device

    @property
    def columns(self) -> tuple[tuple[str, ...], tuple[Tensor, ...], Tensor]:
        """The parameters' names, their values, and the colours."""
        return tuple(self._values), tuple(self._values.values()), self.colors

    def to(self, device: torch.device) -> Params:
        """The same objects on a device."""
        return Params({k: v.to(device) for k, v in self._values.items()}, self.colors.to(device))

    def color(self, slot: int) -> Tensor:
        """The colour of a slot (``MAIN`` .. ``INSIDE``), [B, 1, 3]."""
        return self.colors[:, slot, None, :]

    def mode(self, name: str, index: int) -> Tensor:
        """Which objects have this mode, [B, 1] bool."""
        return self._values[name] == index

    def replaced(self, values: dict[str, Tensor]) -> Params:
        """The same objects with some parameters replaced."""
        return Params(self._values | values, self.colors)

    def select(self, rows: Tensor | slice) -> Params:
        """Some of the objects."""
        return Params({k: v[rows] for k, v in self._values.items()}, self.colors[rows])
