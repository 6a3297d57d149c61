"""What every section of a recipe has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: no unknown fields, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
