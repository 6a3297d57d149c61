"""Recipes: what to build, typed and checked as a whole before any work.

Owns the YAML schema, its presets, `--set` overrides and the wording of every complaint about them.
"""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Hashable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from pipeline.errors import UsageError, nearest


class Section(BaseModel):
    """A part of a recipe: no unknown fields, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# ── clean datasets ──


class DigitsSource(Section):
    """scikit-learn's handwritten digits as 32×32 RGB; needs no download."""

    kind: Literal["digits"]
    split: Literal["train", "test"] = "train"


class CifarSource(Section):
    """CIFAR-10 or CIFAR-100 in the official Python layout below `path`."""

    kind: Literal["cifar10", "cifar100"]
    path: str = "data"
    split: Literal["train", "test"] = "train"
    download: bool = False


class ImageFolderSource(Section):
    """A folder with one sub-folder of pictures per class."""

    kind: Literal["image-folder"]
    path: str
    on_unreadable: Literal["stop", "skip"] = "stop"


SourceConfig = Annotated[
    Union[DigitsSource, CifarSource, ImageFolderSource], Field(discriminator="kind")
]

# ── base transforms ──


class PadCrop(Section):
    """Flip, then a size×size crop out of the picture padded with zeros (PixMix, CIFAR training)."""

    kind: Literal["pad-crop"]
    size: int = Field(32, ge=8, le=1024)
    padding: int = Field(4, ge=0, le=256)
    flip: float = Field(0.5, ge=0, le=1)


class RandomResizedCrop(Section):
    """A crop of random area and aspect resized to size×size, then a flip (PixMix, ImageNet training)."""

    kind: Literal["random-resized-crop"]
    size: int = Field(224, ge=8, le=1024)
    min_area: float = Field(0.08, gt=0, le=1)
    max_aspect: float = Field(4 / 3, ge=1, le=4)
    flip: float = Field(0.5, ge=0, le=1)


TransformConfig = Annotated[Union[PadCrop, RandomResizedCrop], Field(discriminator="kind")]

# ── augmentation families ──


class CleanConfig(Section):
    """The base transform alone."""

    family: Literal["clean"]


class PixMixConfig(Section):
    """PixMix with the constants of its CIFAR experiments as defaults."""

    family: Literal["pixmix"]
    k: int = Field(4, ge=0, le=16)
    beta: int = Field(3, ge=1, le=64)
    severity: float = Field(3.0, ge=0.1, le=10)
    ops: Literal["standard", "all"] = "all"
    strategy: Literal["both", "mix-input", "mix-aug"] = "both"


AugmentationConfig = Annotated[Union[CleanConfig, PixMixConfig], Field(discriminator="family")]

# ── mixing sets ──


class FolderPictures(Section):
    """Every picture below `path`, at any depth, shorter side resized to `size`."""

    kind: Literal["folder"]
    path: str
    size: int | None = Field(None, ge=8, le=2048)
    on_unreadable: Literal["stop", "skip"] = "stop"


class IfsPictures(Section):
    """Generated colour fractals of affine iterated function systems, size×size."""

    kind: Literal["ifs"]
    count: int = Field(1000, ge=1, le=1_000_000)
    size: int | None = Field(None, ge=8, le=2048)
    seed: int = Field(0, ge=0, lt=2**64)


PicturesConfig = Annotated[Union[FolderPictures, IfsPictures], Field(discriminator="kind")]

# ── shards ──


class ShardsConfig(Section):
    """How samples are encoded and how many share a tar."""

    codec: Literal["auto", "npy", "jpg", "png", "webp"] = "auto"
    quality: int | None = Field(None, ge=1, le=100)
    samples_per_shard: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _quality_needs_a_lossy_codec(self) -> Self:
        if self.quality is not None and self.codec in ("npy", "png"):
            raise ValueError(f"quality does nothing for the lossless codec {self.codec!r}; remove it")
        return self


class Recipe(Section):
    """Everything that decides the bytes of a dataset, and where its inputs lie."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    seed: int = Field(0, ge=0, lt=2**64)
    epochs: int = Field(4, ge=1, le=10_000)
    source: SourceConfig
    transform: TransformConfig
    augmentation: AugmentationConfig
    mixing_set: PicturesConfig | None = None
    shards: ShardsConfig = ShardsConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.augmentation.family == "clean":
            return self
        if self.mixing_set is None:
            raise ValueError(
                f"mixing_set is missing: family {self.augmentation.family!r} needs one "
                "(kind: 'folder' or 'ifs')"
            )
        if self.mixing_set.size is not None and self.mixing_set.size < self.transform.size:
            raise ValueError(
                f"mixing_set.size = {self.mixing_set.size} is smaller than transform.size = "
                f"{self.transform.size}; allowed: {self.transform.size} or more"
            )
        return self

    def resolved(self) -> Recipe:
        """Fill in every value left to the recipe's own rules, so that nothing is implied.

        Codec: npy up to 64 px, jpg above. Quality: 95 for jpg and webp. Size of mixing pictures: S + S//7
        (36 for 32, 256 for 224). The clean family uses no mixing set, so none is kept.
        """
        size = self.transform.size
        codec = self.shards.codec
        if codec == "auto":
            codec = "npy" if size <= 64 else "jpg"
        quality = self.shards.quality
        if quality is None and codec in ("jpg", "webp"):
            quality = 95
        elif codec in ("npy", "png"):
            quality = None
        shards = self.shards.model_copy(update={"codec": codec, "quality": quality})
        pictures = self.mixing_set if self.augmentation.family != "clean" else None
        if pictures is not None and pictures.size is None:
            pictures = pictures.model_copy(update={"size": size + size // 7})
        return self.model_copy(update={"shards": shards, "mixing_set": pictures})


def preset_names() -> list[str]:
    """Return the names of the recipes that ship inside the package."""
    folder = resources.files("pipeline") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a preset or a YAML file, apply `key=value` overrides, check the whole and resolve it.

    Raises:
        UsageError: names each wrong field, its value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read recipe {path}: {error}") from error
    elif name_or_path in preset_names():
        preset = resources.files("pipeline") / "presets" / f"{name_or_path}.yaml"
        text = preset.read_text(encoding="utf-8")
    else:
        raise UsageError(
            f"unknown recipe {name_or_path!r}{nearest(name_or_path, preset_names())}; "
            f"allowed: a .yaml file or a preset ({', '.join(preset_names())})"
        )
    content = _parse_yaml(text, f"recipe {name_or_path}")
    if not isinstance(content, dict):
        raise UsageError(f"recipe {name_or_path}: got {_shown(content)}; allowed: a mapping of fields")
    return parse_recipe(override_recipe(content, overrides), f"recipe {name_or_path}")


def parse_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Check a mapping against the schema and resolve it.

    Raises:
        UsageError: one line per wrong field.
    """
    try:
        return Recipe.model_validate(content).resolved()
    except ValidationError as error:
        lines = list(dict.fromkeys(_complaints(error, content)))
        head = f"{where} is not valid; nothing was built"
        raise UsageError("\n".join([head, *(f"  {line}" for line in lines)])) from error


# ── overrides ──


def override_recipe(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `content` with `key=value` overrides applied; nothing is checked yet."""
    changed = copy.deepcopy(content)
    for override in overrides:
        _apply_override(changed, override)
    return changed


_TAGS = ("kind", "family")


def _apply_override(content: dict[str, Any], override: str) -> None:
    """Set one dotted field. A new `kind` or `family` starts its section afresh."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override!r}: allowed: key=value, such as augmentation.k=3")
    *parents, last = key.split(".")
    section = content
    for depth, parent in enumerate(parents):
        value = section.get(parent)
        if value is None:
            value = section[parent] = {}
        if not isinstance(value, dict):
            raise UsageError(f"--set {override!r}: {'.'.join(parents[: depth + 1])} is not a section")
        section = value
    value = _parse_yaml(text, f"--set {override!r}")
    if last in _TAGS and section.get(last) not in (None, value):
        section.clear()
    section[last] = value


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice and reads 1e-3 as a number."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"field {key!r} is given twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1} column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{where}{place}: {reason}") from error


# ── complaints ──


def _complaints(error: ValidationError, content: dict[str, Any]) -> Iterator[str]:
    for item in error.errors():
        place = [part for part in item["loc"] if not _is_tag(part, content, item["loc"])]
        field = ".".join(str(part) for part in place)
        got = f"got {_shown(item['input'])}"
        kind, context = item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            names = _field_names(content, place[:-1])
            yield (
                f"{field}: unknown field{nearest(str(place[-1]), names)}; allowed here: {', '.join(names)}"
            )
        elif kind == "missing":
            yield f"{field}: missing; add it"
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            tag = str(context["discriminator"]).strip("'")
            section = item["input"] if isinstance(item["input"], dict) else {}
            allowed = context.get("expected_tags") or "see README"
            value = section.get(tag)
            hint = nearest(str(value), [t.strip(" '") for t in str(allowed).split(",")]) if value else ""
            found = f"got {_shown(value)}{hint}" if tag in section else "missing"
            yield f"{field}.{tag}: {found}; allowed: {allowed}"
        elif kind == "value_error":
            reason = item["msg"].removeprefix("Value error, ")
            yield f"{field}: {reason}" if field else reason
        elif kind == "literal_error":
            allowed = str(context["expected"])
            options = [option.strip(" '") for option in allowed.replace(" or ", ",").split(",")]
            yield f"{field}: {got}{nearest(str(item['input']), options)}; allowed: {allowed}"
        else:
            yield f"{field}: {got}; allowed: {_allowed(item['msg'])}"


def _allowed(message: str) -> str:
    return message.removeprefix("Input should be ").removeprefix("a valid ")


def _is_tag(part: int | str, content: dict[str, Any], place: tuple[int | str, ...]) -> bool:
    """Tell whether pydantic put this part in a location only to name a union's branch."""
    section = content.get(place[0]) if place else None
    index = place.index(part)
    return index == 1 and isinstance(section, dict) and part in [section.get(tag) for tag in _TAGS]


def _field_names(content: dict[str, Any], place: Sequence[int | str]) -> list[str]:
    """Return the fields allowed in the section at `place`."""
    if not place:
        return list(Recipe.model_fields)
    section = content.get(str(place[0]), {})
    for model in _models(Recipe.model_fields[str(place[0])].annotation):
        if all(
            section.get(tag) in typing.get_args(model.model_fields[tag].annotation)
            for tag in _TAGS
            if tag in model.model_fields
        ):
            return list(model.model_fields)
    return []


def _models(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif typing.get_origin(annotation) in (Union, Annotated, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _models(part)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
