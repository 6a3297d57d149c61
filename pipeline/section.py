"""What every section of a recipe has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
)

from pipeline.store.settings import public_text


class Section(BaseModel):
    """A part of a recipe: no unknown fields, no silent conversions, immutable.

    As JSON, and in a message, its URIs are without user, password and options.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @field_serializer("*", mode="wrap", check_fields=False)
    def _without_secrets(
        self, value: Any, plain: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> Any:
        shown = plain(value)
        return _public(shown) if info.mode_is_json() else shown

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _public(value)


def _public(value: Any) -> Any:
    """Return a value, its URIs, within lists and mappings too, without user, password and options."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, dict):
        return {name: _public(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_public, value))
    return value
