"""The sections of a recipe that name a mixing set: one for each kind, and blends of several.

Owns their fields and checks; what they stand for is made in `pipeline.pictures`.
"""

from __future__ import annotations

import math
import typing
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from pipeline.complaints import complaints, shown
from pipeline.section import Section


class FolderPictures(Section):
    """Every picture below `path`, at any depth, shorter side resized to `size`; or `count` of them."""

    kind: Literal["folder"]
    path: str
    size: int | None = Field(None, ge=8, le=2048)
    count: int | None = Field(None, ge=1)
    on_unreadable: Literal["stop", "skip"] = "stop"


class NpyPictures(Section):
    """Every picture of a .npy array, or `count` of them; as they are unless `size` is given."""

    kind: Literal["npy"]
    path: str
    size: int | None = Field(None, ge=8, le=2048)
    count: int | None = Field(None, ge=1)
    padding: int = Field(0, ge=0, le=256)


class GeneratedPictures(Section):
    """Pictures of one generator, size×size."""

    kind: str
    count: int = Field(1000, ge=1, le=1_000_000)
    size: int | None = Field(None, ge=8, le=2048)
    seed: int = Field(0, ge=0, lt=2**64)


class FlamePictures(GeneratedPictures):
    """Flame fractals."""

    kind: Literal["flame"]


class EscapePictures(GeneratedPictures):
    """Escape-time fractals: Mandelbrot, Julia and others, with layered colours."""

    kind: Literal["escape"]


class GaborPictures(GeneratedPictures):
    """Oriented textures in the likeness of feature visualisations; need no torch."""

    kind: Literal["gabor"]


class IfsPictures(GeneratedPictures):
    """Colour fractals of affine iterated function systems."""

    kind: Literal["ifs"]


class FractalDbPictures(GeneratedPictures):
    """Grey affine fractals in categories of `instances` pictures each."""

    kind: Literal["fractaldb"]
    instances: int = Field(10, ge=1, le=1000)


class DeadLeavesPictures(GeneratedPictures):
    """Flat random shapes that hide one another."""

    kind: Literal["dead-leaves"]
    shapes: Literal[
        "squares",
        "rotated-squares",
        "circles",
        "rectangles",
        "triangles",
        "quadrilaterals",
        "mixed",
    ] = "squares"


class SpectrumPictures(GeneratedPictures):
    """Noise with the spectrum, colours and wavelet marginals of photographs."""

    kind: Literal["spectrum-color-wmm"]


class StyleganPictures(GeneratedPictures):
    """Random networks of oriented filters in the manner of StyleGAN."""

    kind: Literal["stylegan-oriented"]


class FvisPictures(GeneratedPictures):
    """Feature visualisations of a network; needs torch. See `pipeline.pictures.fvis_net`."""

    kind: Literal["fvis"]
    network: str | None = None
    checkpoint: str | None = None
    weights: str | None = None


class ZoomPictures(GeneratedPictures):
    """Endless zooms into Mandelbrot and Julia sets, `count` strips that serve frames of size×size pixels."""

    kind: Literal["zoom"]
    count: int = Field(200, ge=1, le=100_000)


class ZoomVideoPictures(Section):
    """Your own zoom videos: every one below `path`, at any depth, frames' shorter side resized to `size`."""

    kind: Literal["zoom-videos"]
    path: str
    size: int | None = Field(None, ge=8, le=2048)
    count: int | None = Field(None, ge=1)
    on_unreadable: Literal["stop", "skip"] = "stop"


ZoomConfig = ZoomPictures | ZoomVideoPictures

ZOOM_KINDS = ("zoom", "zoom-videos")
"""Mixing sets whose pictures follow each other in time."""


class NamedBlend(GeneratedPictures):
    """A blend that ships with the package, see `pipeline.pictures.blend`."""

    kind: Literal["library", "library-fvis", "fractals"]


class BlendPictures(GeneratedPictures):
    """Several sets mixed: `parts` gives each a weight, as a number or within a section of its own.

    A number stands for a kind of the part's name. A section takes `weight`, `kind` (the part's name if
    left out) and that kind's fields; `count` follows from the weights, and `size` and `seed` are the
    blend's unless given.
    """

    kind: Literal["blend"]
    parts: dict[str, Any] = Field(
        description="a mapping from part to weight, such as {flame: 0.75, fvis: 0.25}"
    )

    @model_validator(mode="after")
    def _parts_are_right(self) -> Self:
        self.sections()
        return self

    def sections(self) -> dict[str, tuple[float, PicturesConfig]]:
        """Return weight and section of each part; counts are not yet those of the blend.

        Raises:
            ValueError: one line for each wrong part.
        """
        found, wrong = {}, []
        for name, part in self.parts.items():
            try:
                found[name] = self._section(name, part)
            except ValueError as error:
                wrong.append(str(error))
        if not self.parts:
            wrong.append("parts: got {}; allowed: one part or more")
        if wrong:
            raise ValueError("; ".join(wrong))
        return found

    def _section(self, name: str, part: Any) -> tuple[float, PicturesConfig]:
        where = f"parts.{name}"
        fields = dict(part) if isinstance(part, dict) else {"weight": part}
        weight = fields.pop("weight", None)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 < weight < math.inf:
            raise ValueError(f"{where}: got weight {shown(weight)}; allowed: a number above 0")
        if "count" in fields:
            raise ValueError(f"{where}.count: the weight decides how many; remove it")
        content = {"kind": name, **fields}
        if content["kind"] == "blend":
            raise ValueError(f"{where}.kind: a blend cannot be part of one; name its parts here")
        if content["kind"] in ZOOM_KINDS:
            raise ValueError(f"{where}.kind: a zoom cannot be part of a blend of pictures")
        model = _MODELS.get(str(content["kind"]))
        for field in ("size", "seed"):
            if model is not None and field in model.model_fields and model is not NpyPictures:
                content.setdefault(field, getattr(self, field))
        try:
            section = OnePart.model_validate({"part": content}).part
        except ValidationError as error:
            lines = complaints(error, {"part": content}, OnePart)
            raise ValueError("; ".join(where + line[4:] for line in lines)) from None
        return float(weight), section


PicturesConfig = Annotated[
    FlamePictures
    | EscapePictures
    | IfsPictures
    | GaborPictures
    | FractalDbPictures
    | DeadLeavesPictures
    | SpectrumPictures
    | StyleganPictures
    | FvisPictures
    | FolderPictures
    | NpyPictures
    | ZoomPictures
    | ZoomVideoPictures
    | NamedBlend
    | BlendPictures,
    Field(discriminator="kind"),
]


class OnePart(Section):
    """One mixing set by itself, to be checked outside of a recipe."""

    part: PicturesConfig


_MODELS: dict[str, type[Section]] = {
    kind: model
    for model in typing.get_args(typing.get_args(PicturesConfig)[0])
    for kind in typing.get_args(model.model_fields["kind"].annotation)
}
PICTURE_SIZE = 64
"""Of pictures that are made without a recipe."""
PICTURE_KINDS = tuple(sorted(_MODELS))
"""Every kind of mixing set."""
