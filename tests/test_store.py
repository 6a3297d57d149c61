"""Object stores on real servers and through a faulty proxy: what is written, asked and outlasted."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError, PassingFault
from pipeline.store import (
    Entry,
    MissingObjectError,
    RemoteStore,
    SpoolError,
    StoreError,
    UnreachableError,
    open_store,
)
from pipeline.store import remote as remote_module
from pipeline.store import retry as retry_module
from pipeline.store import s3 as s3_module
from pipeline.store.retry import Fault, Retry
from pipeline.store.s3 import S3Store
from pipeline.store.s3_upload import part_bytes
from tests.proxy import Answer, Cut, CutRequest, Drop, Lose, Proxy, Rule, Stall, Truncate
from tests.servers import BUCKET, Moto, Server

MIB = 1 << 20
CONTENT = random.Random(0).randbytes(21 * MIB + 123)
"""More than one piece of a read and, with parts of 8 MiB, three of a write."""


@pytest.fixture
def store(any_store: Server, prefix: str) -> S3Store:
    return opened(any_store.uri(prefix))


def opened(uri: str) -> S3Store:
    found = open_store(uri)
    assert isinstance(found, S3Store)
    return found


@pytest.fixture
def proxy(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    moto.use(monkeypatch)
    with Proxy(moto.endpoint) as found:
        yield found


@pytest.fixture
def through(proxy: Proxy, moto: Moto, prefix: str) -> S3Store:
    """Return a store behind the proxy that is patient for 20 s."""
    return opened(f"{moto.full_uri(prefix, proxy.endpoint)}&patience_s=20")


def put(store: RemoteStore, path: str, content: bytes, *, reserve: bool = False) -> None:
    with store.create(path) as file:
        if reserve:
            file.reserve(len(content))
        for start in range(0, len(content), 4 * MIB):
            file.write(content[start : start + 4 * MIB])
            file.send()


def give_up(store: RemoteStore, path: str) -> None:
    with store.create(path) as file:
        file.write(CONTENT)
        file.send()
        raise KeyError


# ── on every server ──


def test_objects_come_back_whole_by_range_and_in_listings(store: S3Store, prefix: str) -> None:
    names = ["a", "deep/er/b", "odd/space +%=&:#?'ü.tar", "empty"]
    contents = dict(zip(names, (b"one", b"two" * 999, b"three", b""), strict=True))
    for name, content in contents.items():
        store.write(name, content)
    for name, content in contents.items():
        assert store.read(name) == content
        assert (store.exists(name), store.size(name)) == (True, len(content))
        half = len(content) // 2
        assert store.read_range(name, half, len(content) - half) == content[half:]
        found = store.entry(name)
        assert found in list(store.entries())
        assert abs(found.modified_ns - store.entry("a").modified_ns) < 300e9
    assert sorted(entry[:2] for entry in store.entries()) == sorted(
        (name, len(content)) for name, content in contents.items()
    )
    assert [entry.path for entry in store.entries("deep")] == ["deep/er/b"]
    assert list(store.entries("dee")) == []  # a folder, no beginning of a name
    below = store.below("odd/space +%=&:#?'ü.tar".rpartition("/")[0])
    assert [(str(below), entry.path) for entry in below.entries()] == [
        (f"s3://{BUCKET}/{prefix}/odd", "space +%=&:#?'ü.tar")
    ]
    for name in names:
        store.delete(name)
        store.delete(name)
    assert list(store.entries()) == []


def test_what_is_not_there_is_said(store: S3Store) -> None:
    store.write("x", b"12345")
    assert not store.exists("none")
    for ask in (store.read, store.size, store.entry, lambda path: store.read_range(path, 0, 1)):
        with pytest.raises(MissingObjectError, match=f"^{store}/none: no such object$"):
            ask("none")
    for start, num_bytes, found in ((3, 9, 2), (5, 1, 0), (99, 1, 0)):
        reason = f"ends after {found} of the {num_bytes} bytes from byte {start} on"
        with pytest.raises(StoreError, match=f"^{store}/x: {reason}"):
            store.read_range("x", start, num_bytes)


def test_a_large_object_is_sent_in_equal_parts_and_read_in_pieces(
    store: S3Store, any_store: Server, prefix: str
) -> None:
    with Proxy(any_store.endpoint) as proxy:
        behind = opened(any_store.full_uri(prefix, proxy.endpoint))
        put(behind, "large", CONTENT)
        sent = sorted(
            request.path.rpartition("?")[2] for request in proxy.requests if request.method == "PUT"
        )
        assert [query.partition("partNumber=")[2][0] for query in sent] == ["1", "2", "3"]
        head = store.client().head_object(Bucket=BUCKET, Key=f"{prefix}/large")
        assert head["ETag"].strip('"').endswith("-3")
        proxy.clear()
        assert behind.read("large") == CONTENT
        ranges = sorted(request.range or "" for request in proxy.requests)
        assert ranges == [f"bytes=0-{16 * MIB - 1}", f"bytes={16 * MIB}-{len(CONTENT) - 1}"]
        proxy.clear()
        assert behind.read_range("large", 5, 17 * MIB) == CONTENT[5 : 5 + 17 * MIB]
        assert proxy.count("GET") == len(proxy.requests) == 2
    assert any_store.uploads(prefix) == []


def test_small_objects_cost_one_request_each_way(through: S3Store, proxy: Proxy) -> None:
    through.write("small", bytes(1000))
    through.read("small")
    through.read_range("small", 10, 900)
    list(through.entries())
    assert [request.method for request in proxy.requests] == ["PUT", "GET", "GET", "GET"]


def test_what_is_given_up_leaves_nothing(store: S3Store, any_store: Server, prefix: str) -> None:
    store.write("kept", b"before")
    for path in ("new", "kept"):
        with pytest.raises(KeyError):
            give_up(store, path)
    assert any_store.uploads(prefix) == []
    assert [entry.path for entry in store.entries()] == ["kept"]
    assert store.read("kept") == b"before"


def test_an_object_of_the_same_bytes_is_left_alone_and_another_replaced(
    store: S3Store, any_store: Server, prefix: str
) -> None:
    with Proxy(any_store.endpoint) as proxy:
        behind = opened(any_store.full_uri(prefix, proxy.endpoint))
        for content in (b"small", CONTENT):
            put(behind, "x", content)
            proxy.clear()
            put(behind, "x", content)
            completed = [
                request
                for request in proxy.requests
                if (request.method == "PUT" and "partNumber" not in request.path)
                or (request.method == "POST" and "uploadId" in request.path)
            ]
            assert completed == []
        put(behind, "x", CONTENT[:-1] + b"!")
        assert behind.read("x") == CONTENT[:-1] + b"!"
    assert any_store.uploads(prefix) == []


KILLED = """
import os, signal, sys
from pipeline.store import open_store
store = open_store(sys.argv[1])
with store.create("epoch-0000/shard-000000.tar") as file:
    file.write(bytes(20 << 20))
    file.send()
    while not list(store.leftovers()):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_killed_midway_leaves_an_upload_that_is_found_and_removed_once_it_is_old(
    store: S3Store, any_store: Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", KILLED, any_store.uri(prefix)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert list(tmp_path.iterdir()) == []  # what was written there had no name
    (left,) = store.leftovers()
    assert left.path == "epoch-0000/shard-000000.tar"
    assert list(store.entries()) == []
    if not isinstance(any_store, Moto):  # it says of every upload that it is years old
        store.discard_unfinished()
        assert len(any_store.uploads(prefix)) == 1  # another driver may be at work
    monkeypatch.setattr(s3_module, "_OLD_S", -60)
    store.discard_unfinished()
    assert any_store.uploads(prefix) == []
    store.discard(left)  # gone already


def test_a_root_is_tried_for_writing_without_a_trace(
    store: S3Store, any_store: Server, prefix: str
) -> None:
    store.check_writable()
    assert list(store.entries()) == []
    assert any_store.uploads(prefix) == []


def test_wrong_keys_and_missing_buckets_are_refused_at_once_with_a_remedy(
    any_store: Server, prefix: str
) -> None:
    uri = any_store.full_uri(prefix)
    with Proxy(any_store.endpoint) as proxy:
        nowhere = opened(any_store.full_uri(prefix, proxy.endpoint).replace(BUCKET, "nosuchbucket"))
        for ask in (lambda: list(nowhere.entries()), lambda: nowhere.write("x", b"1")):
            with pytest.raises(
                StoreError, match=r"there is no bucket 'nosuchbucket' at http"
            ) as no:
                ask()
            assert "aws s3 mb s3://nosuchbucket --endpoint-url http://127.0.0.1" in str(no.value)
            assert not isinstance(no.value, PassingFault)
        assert len(proxy.requests) == 2
    if isinstance(any_store, Moto):
        return  # it takes any key
    wrong = opened(uri.replace(any_store.secret_key, "guessed"))
    for ask in (
        lambda: list(wrong.entries()),
        lambda: wrong.write("x", b"1"),
        wrong.check_writable,
    ):
        with pytest.raises(StoreError, match=r"HTTP 403 .*set AWS_ACCESS_KEY_ID and") as refused:
            ask()
        assert not isinstance(refused.value, PassingFault)
        assert "guessed" not in str(refused.value)


# ── faults ──


@pytest.mark.parametrize(
    "fault",
    [
        *(Drop(), Lose(), Answer(503, "SlowDown"), Answer(500, "InternalError")),
        Answer(429, "TooManyRequests"),
        pytest.param(Stall(60), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_kind_of_request_outlasts_faults(
    through: S3Store, proxy: Proxy, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "_TIMEOUT_S", 1.0)
    for method in ("PUT", "POST", "GET", "HEAD", "DELETE"):
        proxy.add(Rule(fault, method, times=2))  # type: ignore[arg-type]
    put(through, "large", CONTENT)
    through.write("small", b"small")
    assert through.read("large") == CONTENT
    assert through.read("small") == b"small"
    assert sorted(entry.path for entry in through.entries()) == ["large", "small"]
    through.delete("small")
    assert not through.exists("small")
    struck = [request.method for request in proxy.requests if request.fault is not None]
    assert {method: struck.count(method) for method in set(struck)} == dict.fromkeys(
        ("PUT", "POST", "GET", "HEAD", "DELETE"), 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Cut(MIB), Cut(100_000), Stall(60, after=3 * MIB)], ids=str)
def test_a_read_goes_on_at_the_byte_where_it_was_cut_every_time(
    through: S3Store, proxy: Proxy, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "_TIMEOUT_S", 0.5)
    content = CONTENT[: 5 * MIB]
    through.write("x", content)
    proxy.add(Rule(fault, "GET"))  # type: ignore[arg-type]
    assert through.read("x") == content
    assert through.read_range("x", 1000, 4 * MIB) == content[1000 : 1000 + 4 * MIB]
    asked = [request.range for request in proxy.requests if request.method == "GET"]
    assert len(asked) == len(set(asked))  # none of them began where one had begun before
    starts = [int(each.partition("=")[2].partition("-")[0]) for each in asked]
    strides = [later - start for start, later in itertools.pairwise(starts) if later > start]
    assert set(strides) == {fault.after}  # type: ignore[attr-defined]


def test_a_body_that_is_short_is_asked_on_and_never_taken_for_whole(
    through: S3Store, proxy: Proxy
) -> None:
    through.write("x", CONTENT[:100_000])
    proxy.add(Rule(Truncate(70_000), "GET", times=1))
    assert through.read_range("x", 0, 100_000) == CONTENT[:100_000]


def test_only_the_part_that_was_cut_is_sent_again(through: S3Store, proxy: Proxy) -> None:
    proxy.add(Rule(CutRequest(2 * MIB), "PUT", path="partNumber=2", times=3))
    put(through, "x", CONTENT)
    assert through.read("x") == CONTENT
    counts = [proxy.count("PUT", f"partNumber={number}") for number in (1, 2, 3)]
    assert counts == [1, 4, 1]


def test_a_lost_answer_to_the_last_request_of_an_upload_is_no_failure(
    through: S3Store, proxy: Proxy
) -> None:
    proxy.add(Rule(Lose(), "POST", path="uploadId", times=1))
    put(through, "x", CONTENT)
    assert through.read("x") == CONTENT


def test_an_upload_that_someone_aborts_is_begun_again(
    ceph: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceph.use(monkeypatch)
    store = opened(ceph.uri(prefix))
    with store.create("x") as file:
        file.write(CONTENT)
        file.send()
        for left in list(store.leftovers()):
            store.discard(left)
    assert store.read("x") == CONTENT
    assert ceph.uploads(prefix) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Answer(411, "MissingContentLength"), "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
        (Answer(403, "AccessDenied"), "s3:PutObject"),
        (Answer(403, "RequestTimeTooSkewed"), "set this machine's clock"),
        (Answer(400, "ExpiredToken"), "renew the session's credentials"),
        (Answer(301, "PermanentRedirect"), "AWS_REGION"),
        (Answer(400, "InvalidArgument"), "HTTP 400 InvalidArgument"),
        (Answer(501, "NotImplemented"), "HTTP 501 NotImplemented"),
    ],
    ids=str,
)
def test_what_would_fail_again_is_asked_once(
    through: S3Store, proxy: Proxy, fault: object, words: str
) -> None:
    proxy.add(Rule(fault, "PUT"))  # type: ignore[arg-type]
    with pytest.raises(StoreError) as refused:
        through.write("x", b"1")
    assert words in str(refused.value)
    assert not isinstance(refused.value, PassingFault)
    redirected = fault == Answer(301, "PermanentRedirect")  # boto3 asks where to
    assert proxy.count("PUT") == (2 if redirected else 1)


def test_a_server_that_found_a_request_slow_or_damaged_gets_it_again(
    through: S3Store, proxy: Proxy
) -> None:
    codes = "RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"
    for number, code in enumerate(codes):
        proxy.add(Rule(Answer(400, code), "PUT", first=number, times=1))
    through.write("x", b"1")
    assert through.read("x") == b"1"
    assert proxy.count("PUT") == 5


def test_patience_ends_in_a_passing_fault_that_says_how_long_it_was(
    through: S3Store, proxy: Proxy, moto: Moto, prefix: str
) -> None:
    impatient = opened(f"{moto.full_uri(prefix, proxy.endpoint)}&patience_s=1")
    impatient.write("x", b"1")
    proxy.add(Rule(Answer(503, "SlowDown")))
    with pytest.raises(UnreachableError) as gone:
        impatient.read("x")
    assert isinstance(gone.value, PassingFault)
    text = str(pickle.loads(pickle.dumps(gone.value)))
    assert text.startswith(f"s3://{BUCKET}/{prefix}/x: HTTP 503 SlowDown")
    tries = int(text.partition("(tried ")[2].split()[0])
    assert tries == len([request for request in proxy.requests if request.fault])
    assert 3 <= tries <= 60
    assert "secret" not in text.lower()


def test_a_network_cut_for_a_while_is_outlasted(through: S3Store, proxy: Proxy) -> None:
    through.write("x", CONTENT[:1000])
    proxy.cut()
    threading.Timer(1.0, proxy.mend).start()
    assert through.read("x") == CONTENT[:1000]


def test_an_address_where_nothing_ever_answered_is_given_up_sooner(
    moto: Moto, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_module, "FIRST_ANSWER_S", 0.5)
    nowhere = opened(moto.full_uri(prefix, "http://127.0.0.1:1"))
    assert nowhere.settings.patience_s == 600
    with pytest.raises(UnreachableError, match=r"cannot be reached \(tried .*check that it runs"):
        nowhere.exists("x")
    tls = opened(moto.full_uri(prefix, moto.endpoint.replace("http:", "https:")))
    with pytest.raises(StoreError, match="does not speak TLS; use http://"):
        tls.exists("x")


def test_an_object_replaced_while_it_is_read_is_an_error_and_no_mixture(
    through: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CONTENT[::-1]
    put(through, "x", CONTENT)
    original = S3Store.ask_bytes
    writer = pickle.loads(pickle.dumps(through))

    def ask_bytes(self: S3Store, path: str, piece: remote_module.Piece) -> None:
        original(self, path, piece)
        if piece.first == 0 and self is through:
            put(writer, "x", other)

    monkeypatch.setattr(S3Store, "ask_bytes", ask_bytes)
    with pytest.raises(StoreError, match="/x: changed while it was read: "):
        through.read("x")
    monkeypatch.undo()
    assert through.read("x") == other


def test_a_store_that_keeps_other_than_it_was_sent_is_found_out(
    through: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def framed(self: S3Store, operation: str, path: str, **arguments: object) -> object:
        if operation == "put_object":
            body = arguments["Body"]
            assert isinstance(body, bytes)
            arguments["Body"] = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return original(self, operation, path, **arguments)

    original = S3Store._ask
    monkeypatch.setattr(S3Store, "_ask", framed)
    with pytest.raises(
        StoreError, match=r"was sent 4 bytes and kept 14 .*CALCULATION=when_required"
    ):
        through.write("x", b"1234")
    assert not through.exists("x")


# ── this node ──


def test_no_room_on_a_node_is_a_passing_fault_that_names_node_and_folder(
    through: S3Store, proxy: Proxy
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * MIB, limits[1]))
    try:
        for reserve in (False, True):
            with pytest.raises(SpoolError) as full:
                put(through, "x", CONTENT, reserve=reserve)
            assert isinstance(full.value, PassingFault)
            assert f"node {os.uname().nodename} cannot write its temporary folder" in str(
                full.value
            )
            assert f" {tempfile.gettempdir()}: File too large; free some space" in str(full.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not through.exists("x")
    assert list(through.leftovers()) == []


def test_a_process_that_forked_opens_connections_of_its_own(through: S3Store) -> None:
    through.write("x", b"1")
    child = os.fork()
    if child == 0:
        os._exit(0 if through.read("x") == b"1" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert through.read("x") == b"1"


def test_listing_100_000_objects_holds_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pages:
        def list_objects_v2(self, **asked: object) -> dict[str, object]:
            from datetime import datetime, timezone

            begin = int(str(asked.get("ContinuationToken", "0")))
            when = datetime(2026, 1, 1, tzinfo=timezone.utc)
            found = [
                {
                    "Key": f"p/epoch-0000/shard-{number:06d}.tar",
                    "Size": number,
                    "LastModified": when,
                }
                for number in range(begin, begin + 1000)
            ]
            more = begin + 1000 < 100_000
            page: dict[str, object] = {"Contents": found, "IsTruncated": more}
            return page | ({"NextContinuationToken": str(begin + 1000)} if more else {})

    store = opened("s3://bkt/p")
    monkeypatch.setattr(store, "open_client", Pages)
    next(iter(store.entries()))
    tracemalloc.start()
    total = sum(entry.num_bytes for entry in store.entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == sum(range(100_000))
    assert peak < 3e6


def test_listings_go_on_from_page_to_page(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"epoch-0000/{number:03d}" for number in range(12)]
    for name in names:
        store.write(name, b"")
    monkeypatch.setattr(s3_module, "_PAGE_KEYS", 5)
    assert [entry.path for entry in store.entries("epoch-0000")] == names
    assert all(isinstance(entry, Entry) for entry in store.entries())


# ── parts and pauses ──


@given(st.integers(0, 5 * 2**40))
def test_parts_are_of_one_size_of_whole_mib_and_no_more_than_10_000(num_bytes: int) -> None:
    size = part_bytes(num_bytes)
    assert size % MIB == 0
    assert size >= 8 * MIB
    assert -(-num_bytes // size) <= 10_000


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(1, 900))
def test_pauses_grow_and_never_outlast_patience(seed: int, patience_s: float) -> None:
    """A clock that only pauses move: the sum of pauses stays within patience, the first is short."""
    now, pauses = [0.0], []
    chance = random.Random(seed)

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry_module, "time", Clock)
        patch.setattr(retry_module, "random", chance)
        patch.setattr(Retry, "_notice", lambda self, text: None)
        retry = Retry(lambda error: Fault("slow down", passing=True), patience_s)
        retry("s3://b/x", lambda: None)
        with pytest.raises(UnreachableError, match=rf"slow down \(tried {'.*'} s\)"):
            retry("s3://b/x", lambda: 1 / 0)
    assert sum(pauses) <= patience_s
    assert all(pause <= min(10.0, 0.1 * 2**number) for number, pause in enumerate(pauses))
    assert sum(pauses) > patience_s - 10 or patience_s < 10


def test_what_is_no_answer_of_a_store_passes_through() -> None:
    retry = Retry(lambda error: None, 600)
    with pytest.raises(ZeroDivisionError):
        retry("s3://b/x", lambda: 1 / 0)


def test_long_trouble_is_told_once_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            now[0] += seconds

    monkeypatch.setattr(retry_module, "time", Clock)
    retry = Retry(lambda error: Fault("it is down", passing=True), 150)
    retry("s3://b/x", lambda: None)
    with pytest.raises(DreamshardsError):
        retry("s3://b/x", lambda: 1 / 0)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 3
    assert all(line.startswith("s3://b/x: it is down; trying on for ") for line in lines)
