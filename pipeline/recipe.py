"""Recipes: what to build, typed and checked as a whole before any work.

Owns the schema. `pipeline.settings` reads the YAML, `pipeline.complaints` words what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from pipeline import settings
from pipeline.augmentation_sections import (
    OF_CLIPS,
    OF_PICTURES,
    WITH_MIXING_SET,
    WITH_VARIANTS,
    AugmentationConfig,
    VPixMixConfig,
)
from pipeline.complaints import complaints, shown
from pipeline.errors import UsageError, nearest
from pipeline.picture_sections import (
    PICTURE_KINDS,
    PICTURE_SIZE,
    ZOOM_KINDS,
    OnePart,
    PicturesConfig,
)
from pipeline.section import Section
from pipeline.settings import is_yaml_file, load_settings, override
from pipeline.source_sections import DECODED_KINDS, SourceConfig
from pipeline.store import RemoteStore, Root
from pipeline.store_section import StoreConfig

# ── base transforms ──


def _within_1(value: Any) -> Any:
    numbers = isinstance(value, list) and all(type(part) in (int, float) for part in value)
    if not numbers or not value or not all(0.05 <= part <= 1 for part in value):
        raise ValueError(f"got {shown(value)}; allowed: a list of numbers from 0.05 to 1")
    return [float(part) for part in value]


Scales = Annotated[list[float], BeforeValidator(_within_1)]


class PadCrop(Section):
    """Flip, then a size×size crop out of the picture padded with zeros (PixMix, CIFAR training)."""

    kind: Literal["pad-crop"]
    size: int = Field(32, ge=8, le=1024)
    padding: int = Field(4, ge=0, le=256)
    flip: float = Field(0.5, ge=0, le=1)


class RandomResizedCrop(Section):
    """A crop of random area and aspect resized to size×size, then a flip (PixMix, ImageNet)."""

    kind: Literal["random-resized-crop"]
    size: int = Field(224, ge=8, le=1024)
    min_area: float = Field(0.08, gt=0, le=1)
    max_aspect: float = Field(4 / 3, ge=1, le=4)
    flip: float = Field(0.5, ge=0, le=1)


class CenterCrop(Section):
    """The shorter side resized to `resize`, then the central size×size part: torchvision's test transform."""

    kind: Literal["center-crop"]
    size: int = Field(224, ge=8, le=1024)
    resize: int | None = Field(None, ge=8, le=2048)


class ScaledCrop(Section):
    """A square of the shorter side times one of `scales`, anywhere, resized to size×size; then a flip.

    The scales of multi-scale cropping, powers of 2^(−1/4), as in the published V-PixMix and UCF101 training;
    [0.875] is a random crop of 112 px out of a shorter side of 128.
    """

    kind: Literal["scaled-crop"]
    size: int = Field(112, ge=8, le=1024)
    scales: Scales = Field(default_factory=lambda: [1.0, 0.841, 0.707, 0.595, 0.5])
    flip: float = Field(0.5, ge=0, le=1)


TransformConfig = Annotated[
    PadCrop | RandomResizedCrop | CenterCrop | ScaledCrop, Field(discriminator="kind")
]

# ── shards ──


WITH_QUALITY = ("jpg", "webp", "mjpg")
CLIP_CODECS = ("npy", "mjpg", "mp4")
PICTURE_CODECS = ("npy", "jpg", "png", "webp")


class ShardsConfig(Section):
    """How samples are encoded and how many share a tar.

    Clips are stored raw (`npy`), as JPEGs end to end (`mjpg`), or as H.264 (`mp4`) at the rate factor `crf`.
    `chroma` is the resolution at which the latter two keep colour.
    """

    codec: Literal["auto", "npy", "jpg", "png", "webp", "mjpg", "mp4"] = "auto"
    quality: int | None = Field(None, ge=1, le=100)
    crf: int | None = Field(None, ge=0, le=51)
    chroma: Literal["444", "420"] | None = None
    samples_per_shard: int | None = Field(None, ge=1)

    @model_serializer(mode="wrap")
    def _without_later_fields(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields of clip codecs where they are not given: other recipes keep their hash."""
        content: dict[str, Any] = plain(self)
        return {
            name: value
            for name, value in content.items()
            if value is not None or name not in ("crf", "chroma")
        }


class Recipe(Section):
    """Everything that decides the bytes of a dataset, and where its inputs lie.

    `reuse` is how many epochs are rendered from one decode of a source picture (`pipeline.plan.reuse`). Where
    epochs are the variants of a test set, their number follows from the section (`pipeline.variants`).
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="1 to 64 small letters, digits, '.', '_' or '-', first a letter or digit",
    )
    seed: int = Field(0, ge=0, lt=2**64)
    epochs: int = Field(4, ge=1, le=10_000)
    reuse: int = Field(1, ge=1, le=10_000)
    source: SourceConfig
    transform: TransformConfig
    augmentation: AugmentationConfig
    mixing_set: PicturesConfig | None = None
    shards: ShardsConfig = ShardsConfig()
    store: StoreConfig | None = Field(None, exclude=True, repr=False, description="a section")

    @property
    def clip_frames(self) -> int | None:
        """Frames of the source's clips, None where it holds pictures."""
        frames: int | None = getattr(self.source, "frames", None)
        return frames

    @property
    def makes_clips(self) -> bool:
        """Whether samples are clips."""
        return self.clip_frames is not None or self.augmentation.family == "perturbations"

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        codec = self._codec()
        self._check_codec(codec)
        self._check_family()
        self._check_resize()
        self._check_reuse(self._check_epochs())
        if self.augmentation.family in WITH_MIXING_SET:
            self._check_mixing_set()
        return self

    def _check_mixing_set(self) -> None:
        augmentation, pictures = self.augmentation, self.mixing_set
        if pictures is None:
            raise ValueError(
                f"mixing_set is missing: family {augmentation.family!r} needs one "
                "(kind: 'library', or kind: 'folder' with its path)"
            )
        if pictures.size is not None and pictures.size < self.transform.size:
            raise ValueError(
                f"mixing_set.size = {pictures.size} is smaller than transform.size = "
                f"{self.transform.size}; allowed: {self.transform.size} or more"
            )
        zooms = augmentation.family == "vpixmix" and augmentation.picture == "zoom"
        if zooms != (pictures.kind in ZOOM_KINDS):
            kinds = (
                " or ".join(ZOOM_KINDS) if zooms else "one of pictures, such as library or folder"
            )
            what = "picture = 'zoom'" if zooms else f"family {augmentation.family!r} without zooms"
            raise ValueError(
                f"mixing_set.kind = {pictures.kind!r} does not fit {what}; allowed: {kinds}"
            )

    def _check_family(self) -> None:
        """Refuse a family of pictures for a source of clips, and the other way round."""
        family, of_clips = self.augmentation.family, self.clip_frames is not None
        allowed = OF_CLIPS if of_clips else OF_PICTURES
        if family not in allowed:
            what = "clips" if of_clips else "pictures"
            raise ValueError(
                f"augmentation.family = {family!r} does not work on source.kind = {self.source.kind!r}, a "
                f"source of {what}; allowed: {', '.join(allowed)}"
            )

    def _check_codec(self, codec: str) -> None:
        shards, family = self.shards, self.augmentation.family
        if shards.quality is not None and codec not in WITH_QUALITY:
            raise ValueError(
                f"shards.quality does nothing for the codec {codec!r}; remove it, or choose "
                f"{', '.join(WITH_QUALITY)}"
            )
        if shards.crf is not None and codec != "mp4":
            raise ValueError(f"shards.crf does nothing for the codec {codec!r}; remove it")
        if shards.chroma is not None and codec not in ("mjpg", "mp4"):
            raise ValueError(f"shards.chroma does nothing for the codec {codec!r}; remove it")
        if codec == "mp4" and shards.chroma == "420" and self.transform.size % 2:
            raise ValueError(
                f"transform.size = {self.transform.size} with shards.chroma = '420'; allowed: an even size"
            )
        allowed = CLIP_CODECS if self.makes_clips else PICTURE_CODECS
        if codec not in allowed:
            what = "clips" if self.makes_clips else "pictures"
            raise ValueError(
                f"shards.codec = {codec!r}, but family {family!r} on source.kind = {self.source.kind!r} "
                f"makes {what}; allowed: auto, {', '.join(allowed)}"
            )
        if self.reuse > 1 and family == "perturbations":
            raise ValueError(
                f"reuse = {self.reuse}, but the clips of family {family!r} differ in length between "
                "epochs; remove it"
            )

    def _check_epochs(self) -> int:
        """Return how many epochs there will be; with variants, one for each."""
        if self.augmentation.family not in WITH_VARIANTS:
            return self.epochs
        from pipeline.variants import check_variants  # the kernels' module takes a while to import

        num = len(check_variants(self))
        if "epochs" in self.model_fields_set and self.epochs != num:
            raise ValueError(
                f"epochs = {self.epochs}, but family {self.augmentation.family!r} makes {num}, one for each "
                f"variant that its section names; allowed: epochs = {num}, or leave it out"
            )
        return num

    def _check_reuse(self, epochs: int) -> None:
        if self.reuse > epochs:
            raise ValueError(
                f"reuse = {self.reuse} is more than epochs = {epochs}; allowed: 1 to {epochs}"
            )
        if self.reuse > 1 and self.source.kind not in DECODED_KINDS:
            raise ValueError(
                f"reuse = {self.reuse} does nothing for source.kind = {self.source.kind!r}, which is "
                "held in memory and never decoded; remove it"
            )

    def _check_resize(self) -> None:
        transform = self.transform
        if (
            isinstance(transform, CenterCrop)
            and (transform.resize or transform.size) < transform.size
        ):
            raise ValueError(
                f"transform.resize = {transform.resize} is smaller than transform.size = "
                f"{transform.size}, which is cut out of it; allowed: {transform.size} or more"
            )

    def _codec(self) -> str:
        if self.shards.codec != "auto":
            return self.shards.codec
        if self.transform.size <= 64 or self.augmentation.family == "perturbations":
            return "npy"
        return "mjpg" if self.makes_clips else "jpg"

    def reach(self, root: Root) -> Root:
        """Return a root with the settings of `store`, if it is a bucket's URI."""
        if self.store is None:
            return root
        uri = root.uri if isinstance(root, RemoteStore) else root
        return self.store.reach(uri) if isinstance(uri, str) else root

    def resolved(self) -> Recipe:
        """Fill in every value left to the recipe's own rules, so that nothing is implied.

        Codec: npy up to 64 px and of perturbations, above jpg, of clips mjpg. Quality: 95 for jpg, webp and
        mjpg; chroma of clips 444, crf of mp4 16, chosen from `make bench ARGS=clip-codecs`. Size of mixing
        pictures, and the shorter side before a central crop: S + S//7 (36 for 32, 256 for 224), except of
        mixing pictures of an array, which stay as they are. Families that use no mixing set keep none.
        URIs hold the settings of `store`. Of test sets the names of variants, the scale of their constants
        and the number of epochs.
        """
        size, codec, quality = self.transform.size, self._codec(), self.shards.quality
        if quality is None and codec in WITH_QUALITY:
            quality = 95
        crf, chroma = self.shards.crf, self.shards.chroma
        if codec in ("mjpg", "mp4"):
            chroma = chroma or "444"
        if codec == "mp4" and crf is None:
            crf = 16
        choices = {"codec": codec, "quality": quality, "crf": crf, "chroma": chroma}
        shards = self.shards.model_copy(update=choices)
        pictures = self.mixing_set if self.augmentation.family in WITH_MIXING_SET else None
        if pictures is not None and pictures.size is None and pictures.kind != "npy":
            pictures = pictures.model_copy(update={"size": size + size // 7})
        transform = self.transform
        if isinstance(transform, CenterCrop) and transform.resize is None:
            transform = transform.model_copy(update={"resize": size + size // 7})
        augmentation = self.augmentation
        if isinstance(augmentation, VPixMixConfig):
            augmentation = augmentation.resolved()
        parts: dict[str, Any] = {
            "shards": shards,
            "mixing_set": pictures,
            "transform": transform,
            "augmentation": augmentation,
        }
        if self.store is not None:
            parts |= {"source": self.source}
            parts = {name: self.store.reaching(part) for name, part in parts.items() if part}
        resolved = self.model_copy(update=parts)
        if self.augmentation.family not in WITH_VARIANTS:
            return resolved
        from pipeline.variants import with_variants  # the kernels' module takes a while to import

        return with_variants(resolved)


def preset_names() -> list[str]:
    """Return the names of the recipes that ship inside the package."""
    return settings.preset_names("pipeline")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a preset or a YAML file, apply `key=value` overrides, check the whole and resolve it.

    Raises:
        UsageError: names each wrong field, its value and what is allowed.
    """
    content = load_settings("pipeline", "recipe", name_or_path, overrides)
    return parse_recipe(content, f"recipe {name_or_path}")


def load_pictures(
    name: str, overrides: Sequence[str] = (), fields: dict[str, Any] | None = None
) -> PicturesConfig:
    """Return the mixing set of a recipe, or of a kind by its name, with `fields` in place of its own.

    Args:
        name: a kind, whose section the overrides change; a preset or a YAML file, which they change.
        overrides: `key=value`.
        fields: of the section, such as `count`; None leaves what is there.

    Raises:
        UsageError: names each wrong field, its value and what is allowed.
    """
    given = {field: value for field, value in (fields or {}).items() if value is not None}
    if name in PICTURE_KINDS:
        content = override({"kind": name}, overrides) | given
        try:
            section = OnePart.model_validate({"part": content}).part
        except ValidationError as error:
            lines = [
                line.removeprefix("part.") for line in complaints(error, {"part": content}, OnePart)
            ]
            raise UsageError(
                "\n  ".join([f"{name} is not valid; nothing was made", *lines])
            ) from error
        if section.size is None and section.kind != "npy":
            section = section.model_copy(update={"size": PICTURE_SIZE})
        return section
    if not is_yaml_file(name) and name not in preset_names():
        names = [*PICTURE_KINDS, *preset_names()]
        raise UsageError(
            f"unknown recipe or kind {name!r}{nearest(name, names)}; allowed: a .yaml file, a preset "
            f"({', '.join(preset_names())}) or a kind of pictures ({', '.join(PICTURE_KINDS)})"
        )
    sets = [f"mixing_set.{field}={value}" for field, value in given.items()]
    recipe = load_recipe(name, [*overrides, *sets])
    if recipe.mixing_set is None:
        raise UsageError(
            f"recipe {name} has no mixing set: its family is {recipe.augmentation.family!r}"
        )
    return recipe.mixing_set


def parse_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Check a mapping against the schema and resolve it.

    Raises:
        UsageError: one line per wrong field.
    """
    try:
        return Recipe.model_validate(content).resolved()
    except ValidationError as error:
        lines = dict.fromkeys(complaints(error, content, Recipe))
        head = f"{where} is not valid; nothing was built"
        raise UsageError("\n".join([head, *(f"  {line}" for line in lines)])) from error
