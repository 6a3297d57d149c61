"""How an object store is reached: endpoint, region, credentials, from a URI, a recipe or the environment.

Owns which of these may be shown: of a URI, what `public_text` returns.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pipeline.errors import UsageError, nearest

_FROM_ENVIRONMENT = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "checksums": ("AWS_REQUEST_CHECKSUM_CALCULATION",),
    "ca_file": ("AWS_CA_BUNDLE",),
}
PATIENCE_VARIABLE = "DREAMSHARDS_STORE_PATIENCE_S"
_SPELLINGS = {"endpoint_override": "endpoint"}
_SECRETS = ("access_key", "secret_key", "session_token")
_WORDS = {
    "checksums": ("when_required", "when_supported"),
    "addressing": ("path", "virtual"),
    "anonymous": ("true", "false"),
}


@dataclass(frozen=True)
class StoreSettings:
    """How a store is reached. It travels to the workers with its store; its `repr` shows no secret.

    Attributes:
        endpoint: URL of an S3-compatible server, such as http://127.0.0.1:9000; None is the provider's own.
        region: None leaves it to the store's client.
        access_key, secret_key, session_token: None leaves them to the usual places of the node.
        anonymous: ask without credentials, for public buckets.
        checksums: of uploads: `when_required`, which every server takes, or `when_supported`, which adds a
            CRC that newer servers check and older ones refuse or, worse, store.
        ca_file: certificates that the server's is checked against; None is the system's.
        addressing: the bucket in the `path` or as a `virtual` host; None is path where there is an endpoint.
        patience_s: how long a request is tried again before it is given up, in seconds.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    checksums: str | None = None
    ca_file: str | None = None
    addressing: str | None = None
    patience_s: float = 600.0

    @classmethod
    def of(cls, uri: str) -> StoreSettings:
        """Return what the environment says, and before it the URI: its user, password and options.

        Raises:
            UsageError: an unknown option, or a value that is not allowed.
        """
        texts: dict[str, str] = {}
        if urlsplit(uri).scheme == "s3":
            for name, variables in _FROM_ENVIRONMENT.items():
                values = [
                    os.environ[variable] for variable in variables if os.environ.get(variable)
                ]
                texts |= {name: values[0]} if values else {}
        if os.environ.get(PATIENCE_VARIABLE):
            texts["patience_s"] = os.environ[PATIENCE_VARIABLE]
        given = _from_uri(uri)
        if given.keys() & {"access_key", "anonymous"}:  # not a mixture of two identities
            for name in _SECRETS:
                texts.pop(name, None)
        return cls(**_values(texts | given, public_text(uri)))

    def changed(self, **values: Any) -> StoreSettings:
        """Return these settings with some of them replaced."""
        return replace(self, **values)


def _values(texts: dict[str, str], where: str) -> dict[str, Any]:
    values: dict[str, Any] = dict(texts)
    for name, allowed in _WORDS.items():
        if name in texts and texts[name].lower() not in allowed:
            raise UsageError(
                f"{where}: {name}: got {texts[name]!r}; allowed: {' or '.join(allowed)}"
            )
        if name in texts:
            values[name] = texts[name].lower()
    if "anonymous" in values:
        values["anonymous"] = values["anonymous"] == "true"
    if "endpoint" in texts:
        parts = urlsplit(texts["endpoint"])
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise UsageError(
                f"{where}: endpoint: allowed: a URL such as http://127.0.0.1:9000 or https://host"
            )
        values["endpoint"] = texts["endpoint"].rstrip("/")
    if "patience_s" in texts:
        try:
            values["patience_s"] = float(texts["patience_s"])
        except ValueError:
            values["patience_s"] = -1.0
        if not 0 <= values["patience_s"] <= 1e6:
            raise UsageError(
                f"{where}: {PATIENCE_VARIABLE} or patience_s: got {texts['patience_s']!r}; "
                "allowed: seconds, 0 or more"
            )
    if ("access_key" in texts) != ("secret_key" in texts):
        raise UsageError(f"{where}: give both, access_key and secret_key, or neither")
    return values


def _from_uri(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    if parts.scheme in ("s3", "gs", "gcs") and ":" in parts.netloc and "@" not in parts.netloc:
        raise UsageError(
            f"{public_text(uri)}: a bucket's name has no ':'; of user and password write / as %2F and @ "
            "as %40"
        )
    names = {name.name for name in fields(StoreSettings)}
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    scheme = options.pop("scheme", "https")
    found: dict[str, str] = {}
    for option, value in options.items():
        name = _SPELLINGS.get(option, option)
        if name not in names:
            raise UsageError(
                f"{public_text(uri)}: unknown option {option!r}{nearest(option, names)}; "
                f"allowed: {', '.join(sorted(names))}"
            )
        found[name] = value
    if "endpoint" in found and "://" not in found["endpoint"]:
        found["endpoint"] = f"{scheme}://{found['endpoint']}"
    if parts.username == "anonymous" and parts.password is None:
        found["anonymous"] = "true"
    elif parts.username:
        found["access_key"] = unquote(parts.username)
        if parts.password:
            found["secret_key"] = unquote(parts.password)
    return found


def with_settings(uri: str, given: dict[str, Any]) -> str:
    """Return a URI that also holds the settings `given`, where it does not hold them already."""
    own = _from_uri(uri)
    if own.keys() & {"access_key", "anonymous"}:
        given = {name: value for name, value in given.items() if name not in _SECRETS}
        given.pop("anonymous", None)
    more = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value is not None and name not in own
    }
    parts = urlsplit(uri)
    options = "&".join(part for part in (parts.query, urlencode(more, quote_via=quote)) if part)
    return parts._replace(query=options).geturl()


_URI = re.compile(
    r"\b([a-z][a-z0-9+.-]*://)([^\s'\"?#]*@)?([^\s'\"?#]*)([?#][^\s'\"]*)?", re.IGNORECASE
)
"""A URI in a text: scheme, user and password, what may be shown, options."""


def public_text(text: str) -> str:
    """Return a text, or a URI, less the user, password and options of URIs: what may be shown and stored."""
    return _URI.sub(r"\1\3", text)
