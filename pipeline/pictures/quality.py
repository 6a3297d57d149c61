"""How good a mixing picture is: measures, the gate of each family, and how much two are alike.

Every measure is of the picture resized by area to 64×64 pixels, whatever its size, with luminance of
Rec. 601. What a gate decides rests on whole numbers and exact arithmetic, so it is the same on every
host. The one part from a library is the length of a JPEG: with every instruction set one release of
libjpeg-turbo makes the same file, and the release is part of a set's identity.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.pictures import quality_kernels as kernels
from pipeline.render.jit import read_only

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

ALIKE = 0.2
"""Two pictures whose descriptors are nearer than this are alike, see `Cells.descriptor`.

One random pair in a thousand of the default library is. One in a hundred, at 0.24, would have a fourth
of the pictures of a chunk drawn again, few of which look alike to an eye.
"""

ALIKE_TEXTURES = 0.12
"""The same for textures: their blocks average out to one grey, so that those of one palette are near."""

_JPEG_QUALITY = 75
_BOX_SIDES = (1, 2, 4, 8, 16)
DESCRIPTOR_LENGTH = 128


class Quality(NamedTuple):
    """What a gate looks at.

    Attributes:
        entropy: of 64 bins of luminance, bits, 0 to 6.
        flat: share of 8×8 blocks whose standard deviation is below 4 levels.
        variation: mean difference of neighbours, in 8-bit levels.
        correlation: lag-1 autocorrelation of luminance, the mean of rows and columns.
        jpeg: bits a pixel of a JPEG of quality 75, 4:2:0; NaN where no gate asks for it.
    """

    entropy: float
    flat: float
    variation: float
    correlation: float
    jpeg: float


class Look(NamedTuple):
    """What a survey reports beside `Quality`.

    Attributes:
        colour: √(variance of a* + variance of b*) in CIE Lab.
        edges: share of pixels whose luminance differs by 24 levels or more from the next.
        dimension: box-counting dimension of these edges, 0 to 2; 0 where there are none.
        black: share of pixels darker than 8 levels.
    """

    colour: float
    edges: float
    dimension: float
    black: float


@dataclass(frozen=True)
class Gate:
    """Bounds that a picture has to keep, each inclusive; None does not bound."""

    entropy: tuple[float, float] | None = None
    flat: tuple[float, float] | None = None
    variation: tuple[float, float] | None = None
    correlation: tuple[float, float] | None = None
    jpeg: tuple[float, float] | None = None

    def shortfall(self, cells: Cells) -> float:
        """Return 0 for a picture that passes, else by how much it misses.

        That is the sum over all bounds missed of the distance to the bound as a share of the range, so
        of several pictures that fail the one with the least is the best. The JPEG is made last,
        and only of a picture that passes everything else.
        """
        bounds = [(field.name, getattr(self, field.name)) for field in fields(self)]
        if all(bound is None for _, bound in bounds):
            return 0.0
        quality = cells.quality()
        total = 0.0
        for name, bound in bounds:
            if bound is None:
                continue
            low, high = bound
            value = getattr(quality, name)
            if name == "jpeg":
                value = cells.jpeg_bits() if total == 0 else low
            total += max(low - value, value - high, 0.0) / (high - low)
        return total


_DENSE: dict[str, tuple[float, float]] = {
    "entropy": (4.2, 6.0),
    "flat": (0.0, 0.2),
    "variation": (5.0, 25.0),
    "correlation": (0.55, 0.97),
}
FRACTAL_GATE = Gate(**_DENSE, jpeg=(2.5, 4.6))
"""Of everything that stands for the published fractals: dense, neither smooth nor noise."""

VISUALISATION_GATE = Gate(entropy=(3.0, 6.0), correlation=(0.2, 1.0))
"""Of feature visualisations: neither grey nor noise of single pixels."""

TEXTURE_GATE = Gate(entropy=(3.5, 6.0), flat=(0.0, 0.2), correlation=(0.2, 1.0))
"""Of textures that stand for feature visualisations: of two tones at least, and busy everywhere."""

NO_GATE = Gate()
"""Of the sets of the paper's ablations, which are kept as their generators make them."""


class Cells:
    """One picture on 64×64 cells, from which everything is measured."""

    def __init__(self, picture: U8) -> None:
        """Take `picture`, uint8 [h, w, 3], which must not change as long as this is used."""
        self._picture = picture
        self._area = picture.shape[0] * picture.shape[1]

    @functools.cached_property
    def _sums(self) -> I64:
        sums = np.empty((kernels.CELLS, kernels.CELLS, 3), np.int64)
        kernels.shrink(read_only(self._picture), sums)
        return sums

    @functools.cached_property
    def light(self) -> I64:
        """Luminance in sixteenths of a level, int64 [64, 64]."""
        light = np.empty((kernels.CELLS, kernels.CELLS), np.int64)
        kernels.luminance(self._sums, self._area, light)
        return light

    @functools.cached_property
    def pixels(self) -> U8:
        """The picture as uint8 [64, 64, 3]."""
        pixels = np.empty(self._sums.shape, np.uint8)
        kernels.to_bytes(self._sums, self._area, pixels)
        return pixels

    @functools.cached_property
    def _lab(self) -> F64:
        lab = np.empty(self._sums.shape)
        kernels.to_lab(self.pixels, *_lab_tables(), lab)
        return lab

    def quality(self) -> Quality:
        """Return the measures of gates, all but the length of the JPEG."""
        light = self.light
        return Quality(
            entropy=kernels.entropy(light),
            flat=kernels.flat_share(light),
            variation=kernels.variation(light),
            correlation=kernels.correlation(light),
            jpeg=math.nan,
        )

    def jpeg_bits(self) -> float:
        """Return the bits a pixel of a JPEG of quality 75, 4:2:0, headers included."""
        encoded = simplejpeg.encode_jpeg(self.pixels, _JPEG_QUALITY, "RGB", "420", fastdct=False)
        return 8.0 * len(encoded) / kernels.CELLS**2

    @functools.cached_property
    def descriptor(self) -> F64:
        """float64 [128]: luminance of 8×8 blocks and a histogram of 4×4×4 boxes of Lab.

        The square of two descriptors' distance is the mean square of the difference of their
        luminance (0 to 1) plus the sum of squares of that of their colour shares.
        """
        out = np.empty(DESCRIPTOR_LENGTH)
        kernels.describe(self.light, self._lab, out)
        return out

    def look(self) -> Look:
        """Return the measures that only surveys report; these may differ in last bits between hosts."""
        marks = np.empty(self.light.shape, np.uint8)
        num_edges = kernels.mark_edges(self.light, marks)
        return Look(
            colour=float(np.sqrt(self._lab[..., 1].var() + self._lab[..., 2].var())),
            edges=num_edges / self.light.size,
            dimension=box_dimension(marks),
            black=kernels.black_share(self.light),
        )


def box_dimension(marks: U8) -> float:
    """Return the box-counting dimension of marked cells, uint8 [64, 64]: 1 for a line, 2 for a plane.

    The slope of a straight line fitted to log2 of the number of boxes that hold a mark against
    −log2 of their side, for sides of 1, 2, 4, 8 and 16 cells. 0 without any mark.
    """
    counts = [kernels.count_boxes(marks, side) for side in _BOX_SIDES]
    if not counts[0]:
        return 0.0
    slope, _ = np.polyfit(-np.log2(_BOX_SIDES), np.log2(counts), 1)
    return float(slope)


class Kept:
    """The descriptors of the pictures kept so far, to tell whether another one is alike."""

    def __init__(self, capacity: int) -> None:
        """Make room for `capacity` pictures."""
        self._descriptors = np.empty((capacity, DESCRIPTOR_LENGTH))
        self._num = 0

    def distance(self, descriptor: F64) -> float:
        """Return the least distance to a picture kept; infinite for the first."""
        return float(kernels.least_distance(self._descriptors, self._num, descriptor))

    def add(self, descriptor: F64) -> None:
        """Keep one."""
        self._descriptors[self._num] = descriptor
        self._num += 1


@functools.lru_cache(maxsize=1)
def _lab_tables() -> tuple[F64, F64]:
    linear, cube_roots = np.empty(256), np.empty(kernels.CUBE_ROOTS)
    kernels.fill_linear(linear)
    kernels.fill_cube_roots(cube_roots)
    return linear, cube_roots
