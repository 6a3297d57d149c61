"""Trying a store: each kind of request that a build or a reader makes, and which setting mends one."""

from __future__ import annotations

import re
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from pipeline.doctor.finding import Finding
from pipeline.errors import DreamshardsError
from pipeline.progress import human_bytes, human_seconds
from pipeline.publish import check_writable, nearest_existing
from pipeline.store import LocalStore, RemoteStore, Store, StoreError, StoreSettings

FOLDER = ".dreamshards-doctor"
"""What it writes lies below a folder of this name and a number, and is removed."""

_PATIENCE_S = 10.0
_SMALL, _LARGE_BYTES, _RANGE = b"dreamshards\n" * 85, 20 << 20, (16 << 20) - 999
_ANSWER = "answer"
MOST_SKEW_S = 300.0
"""Of a clock. Servers refuse requests whose time is 15 minutes off."""

Step = Callable[[Store], str]


def examine_store(store: Store) -> Iterator[Finding]:
    """Yield how each kind of request goes; the store is then as it was."""
    yield Finding(_heading(store), state="")
    if isinstance(store, LocalStore):
        yield from _examine_folder(store)
        return
    assert isinstance(store, RemoteStore)
    patient = type(store)(store.uri, store.settings.changed(patience_s=_PATIENCE_S))
    probe = patient.below(f"{FOLDER}-{uuid.uuid4().hex[:8]}")
    try:
        yield Finding(_ANSWER, _answer(probe))
    except StoreError as error:
        yield Finding(_ANSWER, error.reason, "failed")
        yield from _mended(probe, _answer, error.reason)
        return
    try:
        yield from _steps(probe)
    finally:
        cleaned = _removed(probe)
    yield cleaned


def _examine_folder(store: LocalStore) -> Iterator[Finding]:
    try:
        check_writable(store.folder)
    except DreamshardsError as error:
        yield Finding("write", str(error), "failed")
        return
    nearest = nearest_existing(store.folder.absolute())
    free = human_bytes(shutil.disk_usage(nearest).free)
    yield Finding("free", f"{free} on the disk of {nearest}")
    probe = nearest / f"{FOLDER}-{uuid.uuid4().hex[:8]}"
    try:
        yield from _steps(LocalStore(probe))
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    state = "failed" if probe.exists() else "ok"
    yield Finding("nothing left behind", "" if state == "ok" else f"{probe} is still there", state)


def _heading(store: Store) -> str:
    if not isinstance(store, RemoteStore):
        return str(store)
    settings = store.settings
    parts = [str(store)]
    if urlsplit(store.uri).scheme == "s3":
        parts += [f"at {settings.endpoint or 'AWS'}", f"region {settings.region or 'by default'}"]
        whose = "given keys" if settings.access_key else "keys of this machine, if any"
        parts.append("no keys" if settings.anonymous else whose)
        parts.append(f"checksums {settings.checksums or 'when_required'}")
    return ", ".join(parts)


# ── the steps ──


def _steps(probe: Store) -> Iterator[Finding]:
    """Yield a finding for each step; where the first ones fail, the others would fail alike."""
    steps: list[tuple[str, Step, bool]] = [
        ("write 1 kB", _write_small, True),
        ("read it back", _read_small, True),
        ("write over it", _write_over, False),
        (f"write {human_bytes(_LARGE_BYTES)}", _write_large, True),
        ("read it whole and by range", _read_large, False),
        ("an object of the same bytes is left alone", _write_again, False),
        ("list", _list, False),
        ("half-written objects are found and removed", _half_written, False),
    ]
    for what, step, is_needed in steps:
        try:
            yield Finding(what, step(probe))
        except DreamshardsError as error:
            reason = error.reason if isinstance(error, StoreError) else str(error)
            yield Finding(what, reason, "failed")
            yield from _mended(probe, step, reason)
            if is_needed:
                return


def _answer(probe: Store) -> str:
    """Ask something small, several times."""
    assert isinstance(probe, RemoteStore)
    detail, seconds = "", []
    server_time = getattr(probe, "server_time", None)
    if server_time is not None:
        told = server_time()
        if told is not None:
            skew_s = time.time() - told.timestamp()
            detail = ", clocks agree" if abs(skew_s) < 2 else f", clock {skew_s:+.0f} s off"
            if abs(skew_s) > MOST_SKEW_S:
                raise StoreError(
                    str(probe), f"this machine's clock is {skew_s:+.0f} s off the server's; set it"
                )
    for _ in range(5):
        begun = time.perf_counter()
        probe.exists("none")
        seconds.append(time.perf_counter() - begun)
    return f"{1000 * statistics.median(seconds):.1f} ms a request{detail}"


def _write_small(probe: Store) -> str:
    begun = time.perf_counter()
    probe.write("small", _SMALL)
    return f"{1000 * (time.perf_counter() - begun):.1f} ms"


def _read_small(probe: Store) -> str:
    _compare(probe, "small", probe.read("small"), _SMALL)
    return ""


def _write_over(probe: Store) -> str:
    for content in (b"second", b"third, and longer", _SMALL):
        probe.write("small", content)
        _compare(probe, "small", probe.read("small"), content)
    return "what was written last is read"


def _write_large(probe: Store) -> str:
    begun = time.perf_counter()
    _create_large(probe)
    return _rate(_LARGE_BYTES, begun)


def _create_large(probe: Store) -> None:
    content = _large()
    with probe.create("large") as file:
        for start in range(0, len(content), 4 << 20):
            file.write(content[start : start + (4 << 20)])
            file.send()


def _large() -> bytes:
    return b"".join(
        number.to_bytes(8, "little") + bytes(1016) for number in range(_LARGE_BYTES // 1024)
    )


def _read_large(probe: Store) -> str:
    content = _large()
    begun = time.perf_counter()
    _compare(probe, "large", probe.read("large"), content)
    rate = _rate(_LARGE_BYTES, begun)
    for start, num_bytes in ((_RANGE, 2000), (_LARGE_BYTES - 1, 1), (1, 1)):
        found = probe.read_range("large", start, num_bytes)
        _compare(probe, "large", found, content[start : start + num_bytes])
    return rate


def _write_again(probe: Store) -> str:
    before = _mark(probe)
    if isinstance(probe, LocalStore):
        return "a folder is held against a second build"
    _create_large(probe)
    if _mark(probe) != before:
        raise StoreError(probe.address("large"), "was written again")
    return ""


def _mark(probe: Store) -> object:
    return probe.entry("large")


def _list(probe: Store) -> str:
    found = sorted((entry.path, entry.num_bytes) for entry in probe.entries())
    expected = [("large", _LARGE_BYTES), ("small", len(_SMALL))]
    if found != expected:
        raise StoreError(str(probe), f"lists {found}, expected {expected}")
    return ""


def _half_written(probe: Store) -> str:
    class _Stop(Exception):  # noqa: N818 - no error
        pass

    seen = []
    try:
        with probe.create("half") as file:
            file.write(bytes(9 << 20))
            file.send()
            seen = [leftover.path for leftover in probe.leftovers()]
            raise _Stop
    except _Stop:
        pass
    left = [leftover.path for leftover in probe.leftovers()]
    if left or probe.exists("half"):
        raise StoreError(str(probe), f"{', '.join(left) or 'half'} is left of what was given up")
    return "" if seen else "this store removes them by itself"


def _compare(probe: Store, path: str, found: bytes, expected: bytes) -> None:
    if found != expected:
        first = next(
            (i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]),
            min(len(found), len(expected)),
        )
        raise StoreError(
            probe.address(path),
            f"{len(found):,} bytes came back, {len(expected):,} were written; they differ from byte "
            f"{first:,} on",
        )


def _rate(num_bytes: int, begun: float) -> str:
    seconds = time.perf_counter() - begun
    return f"{num_bytes / 1e6 / seconds:.0f} MB/s ({human_seconds(seconds)})"


def _removed(probe: RemoteStore) -> Finding:
    what = "nothing left behind"
    try:
        for entry in list(probe.entries()):
            probe.delete(entry.path)
        for leftover in list(probe.leftovers()):
            probe.discard(leftover)
        left = [entry.path for entry in probe.entries()]
    except DreamshardsError as error:
        return Finding(what, f"cannot be made sure of: {error}", "failed")
    return Finding(what, f"{probe} still holds {left}" if left else "", "failed" if left else "ok")


# ── what would mend it ──


def _mended(probe: Store, step: Step, reason: str) -> Iterator[Finding]:
    """Try a failed step with other settings, few if the store answers; yield the first that mends it."""
    if not isinstance(probe, RemoteStore) or urlsplit(probe.uri).scheme != "s3":
        return
    for changed, advice in _other_settings(probe.settings, reason, step is not _answer):
        other = type(probe)(probe.uri, changed.changed(patience_s=1.0))
        try:
            step(other)
        except DreamshardsError:
            continue
        _removed(other)
        yield Finding("it works", f"with {advice}", "note")
        return


def _other_settings(
    settings: StoreSettings, reason: str, answers: bool
) -> Iterator[tuple[StoreSettings, str]]:
    checksums = "when_required" if settings.checksums == "when_supported" else "when_supported"
    yield (
        settings.changed(checksums=checksums),
        f"AWS_REQUEST_CHECKSUM_CALCULATION={checksums}, or store.checksums={checksums} in the recipe",
    )
    if answers:
        return
    region = re.search(r"AWS_REGION=([a-z0-9-]+)", reason)
    if region:
        yield (
            settings.changed(region=region[1]),
            f"AWS_REGION={region[1]}, or store.region={region[1]} in the recipe",
        )
    if settings.endpoint:
        scheme, _, host = settings.endpoint.partition("://")
        endpoint = f"{'http' if scheme == 'https' else 'https'}://{host}"
        yield (
            settings.changed(endpoint=endpoint),
            f"AWS_ENDPOINT_URL={endpoint}, or store.endpoint={endpoint} in the recipe",
        )
    addressing = "path" if settings.addressing == "virtual" or not settings.endpoint else "virtual"
    yield (
        settings.changed(addressing=addressing),
        f"?addressing={addressing} at the end of the URI, or store.addressing={addressing} in the recipe",
    )
    if not settings.anonymous:
        yield (
            settings.changed(anonymous=True, access_key=None, secret_key=None, session_token=None),
            "?anonymous=true at the end of the URI, or store.anonymous=true in the recipe",
        )
