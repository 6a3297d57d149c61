"""The section `store` of recipes: how object stores are reached. It decides no bytes and is kept nowhere."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator

from pipeline.section import Section
from pipeline.store import is_uri, with_settings

AnySection = TypeVar("AnySection", bound=Section)

_OF_BUCKETS = ("s3://", "gs://", "gcs://")


class StoreConfig(Section):
    """How the buckets of a recipe are reached, where their URIs and not the environment say so.

    `pipeline.store.StoreSettings` says what each field means.
    """

    endpoint: str | None = Field(None, description="a URL such as http://127.0.0.1:9000")
    region: str | None = None
    access_key: str | None = Field(None, repr=False, min_length=1, description="text")
    secret_key: str | None = Field(None, repr=False, min_length=1, description="text")
    session_token: str | None = Field(None, repr=False, min_length=1, description="text")
    anonymous: bool | None = None
    checksums: Literal["when_required", "when_supported"] | None = None
    ca_file: str | None = None
    addressing: Literal["path", "virtual"] | None = None
    patience_s: float | None = Field(None, ge=0, le=1e6)

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"got {endpoint!r}; allowed: a URL such as http://127.0.0.1:9000")
        return endpoint

    def reach(self, uri: str) -> str:
        """Return a bucket's URI with these settings in it, any other text as it is."""
        if not is_uri(uri) or not uri.startswith(_OF_BUCKETS):
            return uri
        return with_settings(uri, dict(self))

    def reaching(self, section: AnySection) -> AnySection:
        """Return a section whose URIs, and those of the sections in it, hold these settings."""
        reached = {name: self._reached(value) for name, value in section}
        changed = {name: value for name, value in section if reached[name] != value}
        return section.model_copy(update={name: reached[name] for name in changed})

    def _reached(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.reach(value)
        if isinstance(value, Section):
            return self.reaching(value)
        if isinstance(value, dict):
            return {name: self._reached(part) for name, part in value.items()}
        return value
