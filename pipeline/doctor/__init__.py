"""Trying a store or every node of a cluster before work depends on it: a line a finding, with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.doctor.finding import Finding
from pipeline.doctor.stores import examine_store
from pipeline.errors import UsageError
from pipeline.store import open_store

__all__ = ["Finding", "examine"]


def examine(roots: Sequence[str], ray_address: str | None) -> Iterator[Finding]:
    """Yield what is found of each root, and of the nodes of a cluster; nothing stays behind.

    Raises:
        UsageError: there is nothing to look at, or a root is no path and no URI of a known kind.
    """
    if not roots and ray_address is None:
        raise UsageError("doctor looks at nothing; give a URI or a path, or --ray-address")
    stores = [open_store(root) for root in roots]
    for store in stores:
        yield from examine_store(store)
    if ray_address is not None:
        from pipeline.doctor.nodes import examine_nodes  # it takes Ray's packages

        yield from examine_nodes(ray_address, stores)
