"""The proxy does to requests what its rules say, to those that they name, and nothing to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    ResponseStreamingError,
)

from tests.proxy import (
    Answer,
    Corrupt,
    Cut,
    CutRequest,
    Drop,
    Fault,
    Lose,
    Proxy,
    Rule,
    Stall,
    Truncate,
)
from tests.servers import BUCKET, Ceph, Moto

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def proxy(moto: Moto) -> Iterator[Proxy]:
    with Proxy(moto.endpoint, seed=1) as proxy:
        yield proxy


@pytest.fixture
def key(moto: Moto, prefix: str) -> str:
    moto.client().put_object(Bucket=BUCKET, Key=prefix, Body=CONTENT)
    return prefix


def client_of(server: Moto | Ceph, proxy: Proxy) -> Any:
    server = type(server)(server.folder)
    server.endpoint = proxy.endpoint
    return server.client()


def read(moto: Moto, proxy: Proxy, key: str, **options: Any) -> bytes:
    return client_of(moto, proxy).get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def test_signed_requests_pass_in_both_directions(ceph: Ceph, prefix: str) -> None:
    with Proxy(ceph.endpoint) as proxy:
        client = client_of(ceph, proxy)
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/a b", Body=CONTENT)
        found = client.get_object(Bucket=BUCKET, Key=f"{prefix}/a b", Range="bytes=1-5")
        assert found["Body"].read() == CONTENT[1:6]
        names = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        assert [entry["Key"] for entry in names] == [f"{prefix}/a b"]
        client.delete_object(Bucket=BUCKET, Key=f"{prefix}/a b")
    assert ceph.tree(prefix) == {}
    assert [request.method for request in proxy.requests] == []  # forgotten at its end


def test_requests_are_logged_and_counted(moto: Moto, proxy: Proxy, key: str) -> None:
    assert read(moto, proxy, key) == CONTENT
    assert read(moto, proxy, key, Range="bytes=0-9") == CONTENT[:10]
    whole, part = proxy.requests
    assert (whole.status, whole.range, whole.num_bytes, whole.fault) == (200, None, 256000, None)
    assert (part.status, part.range, part.num_bytes) == (206, "bytes=0-9", 10)
    assert (proxy.count("GET", key), proxy.count("PUT"), proxy.count()) == (2, 0, 2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Drop(), BotoCoreError),
        (Lose(), BotoCoreError),
        (Cut(1000), (IncompleteReadError, ResponseStreamingError)),
        (Answer(503, "SlowDown"), ClientError),
        (Answer(429, "TooManyRequests"), ClientError),
    ],
)
def test_a_fault_strikes_the_requests_of_its_rule(
    moto: Moto, proxy: Proxy, key: str, fault: Fault, error: type[Exception]
) -> None:
    proxy.add(Rule(fault, method="GET", path=key, first=1, times=2))
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(read(moto, proxy, key) == CONTENT)
        except error:
            outcomes.append(None)
    assert outcomes == [True, None, None, True]
    assert [request.fault for request in proxy.requests] == [None, fault, fault, None]


def test_an_answer_is_truncated_or_changed_without_a_sign(
    moto: Moto, proxy: Proxy, key: str
) -> None:
    proxy.add(Rule(Truncate(1000), times=1), Rule(Corrupt(70_000), first=1, times=1))
    assert read(moto, proxy, key) == CONTENT[:1000]
    found = read(moto, proxy, key)
    assert [place for place in range(len(CONTENT)) if found[place] != CONTENT[place]] == [70_000]
    assert read(moto, proxy, key) == CONTENT


@pytest.mark.parametrize("after", [-1, 0, 100_000])
def test_a_stall_ends_when_it_is_let_go(moto: Moto, proxy: Proxy, key: str, after: int) -> None:
    proxy.add(Rule(Stall(100, after)))
    found = []
    thread = threading.Thread(target=lambda: found.append(read(moto, proxy, key)))
    begun = time.monotonic()
    thread.start()
    while not proxy.requests or not proxy.requests[0].status:
        time.sleep(0.01)
    assert found == []
    proxy.clear()
    thread.join()
    assert found == [CONTENT]
    assert time.monotonic() - begun < 50


def test_what_is_cut_on_its_way_to_the_store_is_not_there(moto: Moto, prefix: str) -> None:
    with Proxy(moto.endpoint) as proxy:
        proxy.add(
            Rule(CutRequest(1000), method="PUT", times=1), Rule(Lose(), method="PUT", first=1)
        )
        for kept in (False, True):  # the second is stored, though nobody hears of it
            with pytest.raises(BotoCoreError):
                client_of(moto, proxy).put_object(Bucket=BUCKET, Key=f"{prefix}/a", Body=CONTENT)
            assert bool(moto.tree(prefix)) is kept


def test_a_cut_network_refuses_connections_until_it_is_mended(
    moto: Moto, proxy: Proxy, key: str
) -> None:
    proxy.cut()
    with pytest.raises(EndpointConnectionError):
        read(moto, proxy, key)
    proxy.mend()
    assert read(moto, proxy, key) == CONTENT


def test_chance_is_the_same_for_the_same_seed(moto: Moto, key: str) -> None:
    struck = []
    for _ in range(2):
        with Proxy(moto.endpoint, seed=5) as proxy:
            proxy.add(Rule(Truncate(0), probability=0.4))
            struck.append([len(read(moto, proxy, key)) == 0 for _ in range(30)])
    assert struck[0] == struck[1]
    assert 4 <= sum(struck[0]) <= 20
