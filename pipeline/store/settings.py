"""How an object store is reached: endpoint, region and credentials, from a URI or the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_FROM_ENVIRONMENT = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "checksums": ("AWS_REQUEST_CHECKSUM_CALCULATION",),
}


@dataclass(frozen=True)
class StoreSettings:
    """How a store is reached. It travels to the workers with its store; its `repr` shows no secret.

    Attributes:
        endpoint: URL of an S3-compatible server, such as http://127.0.0.1:9000; None is AWS's own.
        region: None leaves it to the store's client.
        access_key, secret_key, session_token: None leaves them to the usual places of the node.
        checksums: of uploads, `when_supported` or `when_required`, which older servers need.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    checksums: str | None = None

    @classmethod
    def of(cls, uri: str) -> StoreSettings:
        """Return what the environment says, and before it the URI: its user, password and options."""
        found: dict[str, str] = {}
        for name, variables in _FROM_ENVIRONMENT.items():
            values = [os.environ[variable] for variable in variables if os.environ.get(variable)]
            found |= {name: values[0]} if values else {}
        return replace(cls(**found), **_from_uri(uri))

    def secrets(self) -> list[str]:
        """Return what must never be shown."""
        return [value for value in (self.access_key, self.secret_key, self.session_token) if value]


def _from_uri(uri: str) -> dict[str, Any]:
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    found: dict[str, Any] = {}
    if "endpoint_override" in options:
        endpoint = options["endpoint_override"]
        scheme = options.get("scheme", "https")
        found["endpoint"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    names = {name.name for name in fields(StoreSettings)}
    found |= {name: value for name, value in options.items() if name in names}
    if parts.username:
        found |= {
            "access_key": unquote(parts.username),
            "secret_key": unquote(parts.password or ""),
        }
        found["session_token"] = None
    return found


def public_uri(uri: str) -> str:
    """Return a URI without user, password and options: what may be shown and stored."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
