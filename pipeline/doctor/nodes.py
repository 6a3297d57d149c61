"""Looking at every node of a Ray cluster: versions, room, clock, and whether it sees what the driver sees."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.cache import cache_folder
from pipeline.doctor.finding import Finding
from pipeline.doctor.stores import FOLDER, MOST_SKEW_S
from pipeline.errors import DreamshardsError
from pipeline.executor import RayExecutor
from pipeline.executor.versions import differing, installed
from pipeline.progress import human_bytes
from pipeline.publish import PARTIAL_NAME, check_writable, nearest_existing
from pipeline.store import LocalStore, Store

_LEAST_BYTES = 10**9
"""Free room and memory of a node below which shards are likely to fail."""


@dataclass(frozen=True)
class Token:
    """An object that the driver has written, for each node to read."""

    store: Store
    path: str
    content: bytes


@dataclass(frozen=True)
class NodeState:
    """What a node says of itself.

    Attributes:
        versions: of this package, Python and what decides bytes, by name.
        temp, cache: the folder, and the free bytes of its disk.
        memory_bytes, available_bytes: of the node, in all and not in use.
        time_s: its clock, in seconds since 1970.
        unseen: for each token, why it could not be read, "" if it could.
    """

    versions: dict[str, str]
    temp: tuple[str, int]
    cache: tuple[str, int]
    memory_bytes: int
    available_bytes: int
    time_s: float
    unseen: list[str]


def examine_nodes(address: str, stores: Sequence[Store]) -> Iterator[Finding]:
    """Yield what is found of each node of the cluster at an address."""
    yield Finding(f"Ray cluster at {address}", state="")
    tokens, tellings = _tokens(stores)
    yield from tellings
    try:
        with RayExecutor(address) as executor:
            begun_s = time.time()
            answers = executor.on_every_node(node_state, tokens)
            between_s = (begun_s, time.time())
    except DreamshardsError as error:
        yield Finding("nodes", str(error), "failed")
        return
    finally:
        for token in tokens:
            _remove(token)
    yield Finding("nodes", f"{len(answers)} answer: {', '.join(sorted(answers))}")
    for name, answer in sorted(answers.items()):
        if isinstance(answer, DreamshardsError):
            yield Finding(f"node {name}", str(answer), "failed")
        else:
            yield from _of_node(name, answer, between_s, tokens)


def node_state(tokens: list[Token]) -> NodeState:
    """Return what the node is like that this runs on."""
    lines = [line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines()]
    memory = {name: int(value.split()[0]) * 1024 for name, _, value in lines}
    return NodeState(
        installed(),
        _free(Path(tempfile.gettempdir())),
        _free(cache_folder("")),
        memory["MemTotal"],
        memory["MemAvailable"],
        time.time(),
        [_unseen(token) for token in tokens],
    )


def _free(folder: Path) -> tuple[str, int]:
    return str(folder), shutil.disk_usage(nearest_existing(folder)).free


def _unseen(token: Token) -> str:
    try:
        content = token.store.read(token.path)
        if isinstance(token.store, LocalStore):
            check_writable(token.store.folder)
    except DreamshardsError as error:
        return str(error)
    return "" if content == token.content else "it has other content there"


def _tokens(stores: Sequence[Store]) -> tuple[list[Token], list[Finding]]:
    tokens, failed = [], []
    for store in stores:
        content = uuid.uuid4().hex.encode()
        token = Token(store.absolute(), f"{FOLDER}-{content[:8].decode()}", content)
        try:
            if isinstance(store, LocalStore) and not store.folder.is_dir():
                failed.append(Finding(str(store), "is not there yet: not looked for", "note"))
                continue
            token.store.write(token.path, content)
        except DreamshardsError as error:
            failed.append(Finding(str(store), str(error), "failed"))
        else:
            tokens.append(token)
    return tokens, failed


def _remove(token: Token) -> None:
    token.store.delete(token.path)
    if isinstance(token.store, LocalStore):
        with suppress(OSError):  # not empty: a build is at work
            (token.store.folder / PARTIAL_NAME).rmdir()


def _of_node(
    name: str, state: NodeState, between_s: tuple[float, float], tokens: list[Token]
) -> Iterator[Finding]:
    different = differing(state.versions, installed())
    shown = ", ".join(f"{package} {version}" for package, version in state.versions.items())
    if different:
        yield Finding(f"node {name}", f"versions: {different}; install the same there", "failed")
    else:
        yield Finding(f"node {name}", f"versions as here: {shown}")
    for what, (folder, free), variable in (
        ("temporary folder", state.temp, "TMPDIR"),
        ("cache", state.cache, "DREAMSHARDS_CACHE"),
    ):
        detail = f"{what} {folder}: {human_bytes(free)} free"
        if free < _LEAST_BYTES:
            detail += f"; free some, or set {variable} to another folder of that node"
        yield Finding(f"node {name}", detail, "failed" if free < _LEAST_BYTES else "ok")
    detail = f"memory {human_bytes(state.available_bytes)} of {human_bytes(state.memory_bytes)}"
    is_short = state.available_bytes < _LEAST_BYTES
    yield Finding(f"node {name}", f"{detail} available", "failed" if is_short else "ok")
    skew_s = max(between_s[0] - state.time_s, state.time_s - between_s[1], 0.0)
    if skew_s > MOST_SKEW_S:
        yield Finding(f"node {name}", f"clock {skew_s:.0f} s off this machine's; set it", "failed")
    else:
        agreement = "agrees" if skew_s < 2 else f"is {skew_s:.0f} s off"
        yield Finding(f"node {name}", f"clock {agreement}")
    for token, reason in zip(tokens, state.unseen, strict=True):
        if not reason:
            yield Finding(f"node {name}", f"{token.store} is the same there")
        elif isinstance(token.store, LocalStore):
            advice = "put it on storage that every node sees, or use a URI"
            yield Finding(f"node {name}", f"does not see {token.store}; {advice}", "failed")
        else:
            yield Finding(f"node {name}", reason, "failed")
