"""Random decisions of generated pictures: keyed Philox words, turned into numbers by exact arithmetic.

Kernels that need many numbers draw from `pipeline.pictures.splitmix`, seeded with a word from here.
"""

from __future__ import annotations

import math

import numpy as np

_WORDS_AT_ONCE = 64
_LN_2 = 0.6931471805599453


class Draws:
    """Numbers that depend on (seed, purpose, picture, attempt) alone, the same on every host.

    Raw words of Philox-4x64 (Salmon et al., SC 2011), which is a counter-based generator: streams whose
    keys differ in one part share nothing. Words become numbers by + − × ÷ and square roots only,
    which IEEE 754 rounds in one way; libm's logarithms and sines differ between hosts.
    """

    def __init__(self, seed: int, purpose: int, index: int, attempt: int) -> None:
        """Start the stream of one picture.

        Args:
            seed: 0 to 2⁶⁴ − 1, of the family of pictures.
            purpose: 0 to 2⁶⁴ − 1, one number for each kind of picture, so that two kinds of one seed
                share no words. By custom the ASCII codes of a short name.
            index: 0 to 2⁶⁴ − 1, the picture's place in the family.
            attempt: 0 to 2⁶⁴ − 1, another draw of the same picture.
        """
        self._philox = np.random.Philox(
            key=np.array([seed, purpose], np.uint64),
            counter=np.array([0, 0, attempt, index], np.uint64),
        )
        self._words: list[int] = []

    def word(self) -> int:
        """Return 64 random bits, for instance the state of a SplitMix64."""
        if not self._words:
            self._words = self._philox.random_raw(_WORDS_AT_ONCE).tolist()[::-1]
        return self._words.pop()

    def uniform(self, low: float, high: float) -> float:
        """Return a number of [low, high)."""
        return low + (high - low) * ((self.word() >> 11) * 2.0**-53)

    def choice(self, num: int) -> int:
        """Return a whole number of 0 … num − 1, each equally probable to within num/2⁶⁴."""
        return (self.word() * num) >> 64

    def direction(self) -> tuple[float, float]:
        """Return cosine and sine of a uniform angle: a point of the unit disc, normalised."""
        x, y, square = self._disc()
        length = math.sqrt(square)
        return x / length, y / length

    def linear_map(self, s: float, t: float) -> tuple[float, float, float, float]:
        """Return (a, b, c, d) of rotation · diag(s, t) · rotation: (x, y) → (a·x + b·y, c·x + d·y)."""
        (a, b), (c, d) = self.direction(), self.direction()
        return (
            a * s * c - b * t * d,
            -a * s * d - b * t * c,
            b * s * c + a * t * d,
            -b * s * d + a * t * c,
        )

    def normal(self) -> float:
        """Return a standard normal number, by Marsaglia's polar method with a logarithm of our own."""
        x, _, square = self._disc()
        return x * math.sqrt(-2.0 * _ln(square) / square)

    def _disc(self) -> tuple[float, float, float]:
        """Return a uniform point of the unit disc, without a spot around its centre, and its square."""
        while True:
            x, y = self.uniform(-1, 1), self.uniform(-1, 1)
            square = x * x + y * y
            if 1e-6 < square <= 1:
                return x, y, square


def _ln(x: float) -> float:
    """Return ln x for x > 0 to 1e-15: x = m·2ᵉ, ln m = 2 (s + s³/3 + s⁵/5 + …), s = (m − 1)/(m + 1)."""
    mantissa, exponent = math.frexp(x)  # of [0.5, 1): s within 0.18 once m is centred on 1
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    total = 0.0
    for k in range(21, 0, -2):
        total = total * s * s + 1.0 / k
    return exponent * _LN_2 + 2.0 * total * s
