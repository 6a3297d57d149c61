"""Turning pydantic's findings into our wording: field, value, what is allowed, the nearest name.

Knows models whose sections are unions told apart by `kind` or `family`; no field in particular.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.errors import nearest
from pipeline.store.settings import public_text

TAGS = ("kind", "family")
"""The fields that tell the branches of a union apart."""

Model = type[BaseModel]
Content = dict[str, Any]


def complaints(error: ValidationError, content: Content, model: Model) -> list[str]:
    """Return one line for each wrong field of `content`, which `model` refused."""
    return [_complaint(dict(item), content, model) for item in error.errors()]


def _complaint(item: dict[str, Any], content: Content, model: Model) -> str:
    place = _without_branch(item["loc"], content)
    field = ".".join(str(part) for part in place)
    got, kind = f"got {shown(item['input'])}", item["type"]
    if kind == "extra_forbidden":
        section = _section(model, content, place[:-1])
        names = list(section.model_fields) if section else []
        hint = nearest(str(place[-1]), names)
        return f"{field}: unknown field{hint}; allowed here: {', '.join(names)}"
    if kind == "missing":
        return f"{field}: missing; add it, {_allowed(_field(model, content, place))}"
    if kind.startswith("union_tag"):
        return _tag_complaint(item, field)
    if kind == "value_error":
        reason = str(item["msg"]).removeprefix("Value error, ")
        return f"{field}: {reason}" if field else reason
    found = _field(model, content, place)
    if found is not None and not found.repr:  # a secret
        return f"{field}: what it holds is not shown; allowed: {_allowed(found)}"
    options = _options(found.annotation) if found is not None else []
    hint = nearest(str(item["input"]), options)
    return f"{field}: {got}{hint}; allowed: {_allowed(found)}"


def _tag_complaint(item: dict[str, Any], field: str) -> str:
    context = item["ctx"]
    tag = context["discriminator"].strip("'")
    section = item["input"] if isinstance(item["input"], dict) else {}
    expected = context.get("expected_tags", "")
    found = "missing"
    if tag in section:
        names = [name.strip(" '") for name in expected.split(",")]
        found = f"got {shown(section[tag])}{nearest(str(section[tag]), names)}"
    allowed = f"; allowed: {expected}" if expected else "; add it"
    return f"{field}.{tag}: {found}{allowed}"


def _allowed(field: FieldInfo | None) -> str:
    """Say what a field takes: `a whole number from 0 to 16`."""
    if field is None:
        return "a section"
    options = _options(field.annotation)
    if options:
        return " or ".join(repr(option) for option in options)
    if field.description:
        return field.description
    kinds = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    parts = typing.get_args(field.annotation) or (field.annotation,)
    name = next((kinds[part] for part in parts if part in kinds), "a section")
    return name + _range(field)


def _range(field: FieldInfo) -> str:
    bounds = {
        bound: getattr(item, bound)
        for item in field.metadata
        for bound in ("ge", "gt", "le", "lt")
        if getattr(item, bound, None) is not None
    }
    low, high = bounds.get("ge"), bounds.get("le")
    if high is None and "lt" in bounds:
        high = bounds["lt"] - 1  # only whole numbers have an open upper bound
    if "gt" in bounds:
        return f" above {bounds['gt']} to {high}"
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", {low} or more" if low is not None else ""


def _options(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [str(option) for option in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _options(part)]
    return []


def _without_branch(place: tuple[int | str, ...], content: Content) -> list[int | str]:
    """Drop what names a union's branch: source, cifar10, path → source, path."""
    section = content.get(str(place[0])) if place else None
    if len(place) > 1 and isinstance(section, dict):
        tags = [section.get(tag) for tag in TAGS]
        if place[1] in tags:
            return [place[0], *place[2:]]
    return list(place)


def _field(model: Model, content: Content, place: Sequence[int | str]) -> FieldInfo | None:
    section = _section(model, content, place[:-1])
    return section.model_fields.get(str(place[-1])) if section and place else None


def _section(model: Model, content: Content, place: Sequence[int | str]) -> Model | None:
    """Return the model of the section at `place`, its branch chosen by the content's tag."""
    if not place:
        return model
    section = content.get(str(place[0]))
    for branch in _models(model.model_fields[str(place[0])].annotation):
        tags = [tag for tag in TAGS if tag in branch.model_fields]
        if isinstance(section, dict) and all(
            section.get(tag) in typing.get_args(branch.model_fields[tag].annotation) for tag in tags
        ):
            return branch
    return None


def _models(annotation: Any) -> Iterator[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (Union, Annotated, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _models(part)


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut at 80 characters."""
    text = public_text(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."
