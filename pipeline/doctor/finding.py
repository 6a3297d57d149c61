"""One line of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was tried and how it went.

    Attributes:
        what: what was tried, or a heading.
        detail: how it went, or what is wrong and what mends it.
        state: `ok`, `note` or `failed`; `` is a heading.
    """

    what: str
    detail: str = ""
    state: str = "ok"

    @property
    def is_failed(self) -> bool:
        """Whether something has to be mended."""
        return self.state == "failed"

    def __str__(self) -> str:
        if not self.state:
            return f"{self.what}{self.detail and f': {self.detail}'}"
        return f"  {self.state:7} {self.what}{self.detail and f': {self.detail}'}"
