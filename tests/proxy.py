"""An HTTP proxy in front of a store that breaks what passes, by rules; and counts the requests.

    with Proxy(server.endpoint) as proxy:
        proxy.add(Rule(Answer(503, "SlowDown"), method="PUT", first=2, times=3))
        root = server.full_uri("prefix", proxy.endpoint)

The head of a request passes unchanged, so that signatures hold.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from typing_extensions import Self

_PIECE = 1 << 16
_GIVE_UP_S = 120


# ── what can go wrong ──


@dataclass(frozen=True)
class Drop:
    """The connection is closed, and the store never hears of the request."""


@dataclass(frozen=True)
class Answer:
    """The store never hears of the request; it is answered by an error of S3."""

    status: int
    code: str


@dataclass(frozen=True)
class CutRequest:
    """The connections are closed after some bytes of the request's body."""

    after: int


@dataclass(frozen=True)
class Lose:
    """The store does what is asked, and its answer is lost."""


@dataclass(frozen=True)
class Cut:
    """The connection is closed after some bytes of the answer's body."""

    after: int


@dataclass(frozen=True)
class Stall:
    """Nothing comes for some seconds after some bytes of the answer's body; -1 is before its head."""

    seconds: float
    after: int = -1


@dataclass(frozen=True)
class Truncate:
    """The answer is whole HTTP, its body shortened to some bytes."""

    to: int


@dataclass(frozen=True)
class Corrupt:
    """One byte of the answer's body is another."""

    at: int


Fault = Drop | Answer | CutRequest | Lose | Cut | Stall | Truncate | Corrupt


@dataclass
class Rule:
    """What happens to which requests.

    Attributes:
        method: of the requests it is for, None for all.
        path: what the path and query must contain.
        first: how many such requests pass before.
        times: to how many it then happens, None to all.
        probability: that it happens to one of them.
    """

    fault: Fault
    method: str | None = None
    path: str = ""
    first: int = 0
    times: int | None = None
    probability: float = 1.0
    seen: int = field(default=0, init=False)

    def strikes(self, method: str, path: str, chance: random.Random) -> bool:
        """Tell whether it happens to a request, which is counted."""
        if (self.method and self.method != method) or self.path not in path:
            return False
        self.seen += 1
        place = self.seen - 1 - self.first
        if place < 0 or (self.times is not None and place >= self.times):
            return False
        return chance.random() < self.probability


@dataclass
class Request:
    """One request as it came and went.

    Attributes:
        path: with its query.
        client: the address it came from.
        range: of bytes asked for, as HTTP writes it; None is all.
        status: of the answer, 0 if there was none.
        num_bytes: of the answer's body that came from the store.
    """

    method: str
    path: str
    client: str
    range: str | None
    fault: Fault | None
    status: int = 0
    num_bytes: int = 0


# ── the proxy ──


class Proxy:
    """Listens on a port of its own, which it keeps while it is cut off.

    Attributes:
        requests: every request, in the order they came.
    """

    def __init__(self, upstream: str, seed: int = 0, host: str = "127.0.0.1") -> None:
        """Listen at a host's address, and pass requests to `upstream`, as http://127.0.0.1:18100."""
        parts = urlsplit(upstream)
        self._upstream = str(parts.hostname), int(parts.port or 80)
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self._rules: list[Rule] = []
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._stalled = threading.Event()
        self.requests: list[Request] = []
        self.host, self.port = host, 0
        self.mend()
        self.endpoint = f"http://{self.host}:{self.port}"

    def add(self, *rules: Rule) -> None:
        """Add rules; the first that strikes a request decides."""
        with self._lock:
            self._rules += rules

    def clear(self) -> None:
        """Forget all rules and requests, and let go on what is stalled."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()
            self._stalled.set()
            self._stalled = threading.Event()

    def count(self, method: str | None = None, path: str = "") -> int:
        """Return how many requests came."""
        with self._lock:
            return sum(
                method in (None, request.method) and path in request.path
                for request in self.requests
            )

    def cut(self) -> None:
        """Cut the network: connections end, new ones are refused, until it is mended."""
        with self._lock:
            listener, self._listener = self._listener, None
            ended, self._sockets = self._sockets, set()
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for each in ended:
            _close(each)

    def mend(self) -> None:
        """Listen, again after a cut."""
        listener = socket.create_server((self.host, self.port), backlog=256)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self._keep(client):
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _keep(self, opened: socket.socket) -> bool:
        """Have a socket closed by a cut; close it if there was one."""
        opened.settimeout(_GIVE_UP_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            if self._listener is not None:
                self._sockets.add(opened)
                return True
        _close(opened)
        return False

    def _serve(self, client: socket.socket) -> None:
        """Pass the requests of one connection, one after the other."""
        with suppress(OSError, EOFError, ValueError):  # one side is gone: the other learns it below
            peer = _Peer(client)
            while self._pass(peer):
                pass
        self._end(client)

    def _end(self, opened: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(opened)
        _close(opened)

    def _pass(self, client: _Peer) -> bool:
        """Pass one request and its answer; tell whether the connection is still good."""
        asked = client.head()
        method, path, _ = asked.first.split(" ", 2)
        with self._lock:
            struck = [rule for rule in self._rules if rule.strikes(method, path, self._chance)]
            fault = struck[0].fault if struck else None
            request = Request(method, path, client.name, asked.fields.get("range"), fault)
            self.requests.append(request)
            stalled = self._stalled
        if isinstance(fault, Drop):
            return False
        if "100-continue" in asked.fields.get("expect", "").lower():
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if isinstance(fault, Answer):
            client.body(asked, lambda piece: None, bodiless=True)
            request.status = fault.status
            client.send(_answer(fault))
            return True
        opened = socket.create_connection(self._upstream, 10)
        try:
            return self._keep(opened) and _relay(client, _Peer(opened), asked, request, stalled)
        finally:
            self._end(opened)


# ── one request ──


@dataclass(frozen=True)
class _Head:
    """The first line of a request or answer and its header fields, by lower-case name; and both as sent."""

    first: str
    fields: dict[str, str]
    raw: bytes


class _Peer:
    """One side of a connection."""

    def __init__(self, opened: socket.socket) -> None:
        self._file = opened.makefile("rb", _PIECE)
        self.send = opened.sendall
        self.name = str(opened.getpeername()[0])

    def head(self) -> _Head:
        """Read a head.

        Raises:
            EOFError: the peer has closed the connection.
        """
        lines = []
        while not lines or lines[-1] != b"\r\n":
            lines.append(self._file.readline(_PIECE))
            if not lines[-1].endswith(b"\n"):
                raise EOFError
        pairs = (line.decode("latin-1").partition(":") for line in lines[1:-1])
        fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return _Head(lines[0].decode("latin-1").strip(), fields, b"".join(lines))

    def body(self, head: _Head, take: Callable[[bytes], None], bodiless: bool = False) -> None:
        """Read the body that follows a head, as it is framed, and have its pieces taken.

        Raises:
            EOFError: it has ended with the connection.
        """
        if "chunked" in head.fields.get("transfer-encoding", ""):
            size = 1
            while size:
                line = self._file.readline(_PIECE)
                size = int(line.split(b";")[0], 16)
                take(line)
                self._bytes(size + 2, take)
        elif "content-length" in head.fields or bodiless:
            self._bytes(int(head.fields.get("content-length", 0)), take)
        else:
            self._bytes(1 << 62, take)

    def _bytes(self, num: int, take: Callable[[bytes], None]) -> None:
        while num:
            piece = self._file.read1(min(num, _PIECE))
            if not piece:
                raise EOFError
            take(piece)
            num -= len(piece)


def _relay(
    client: _Peer, store: _Peer, asked: _Head, request: Request, stalled: threading.Event
) -> bool:
    """Pass a request on and its answer back; tell whether the client's connection is still good."""
    fault = request.fault
    store.send(asked.raw)
    after = fault.after if isinstance(fault, CutRequest) else None
    client.body(asked, _cut_after(store.send, after), bodiless=True)
    given = store.head()
    while given.first.split()[1] == "100":
        given = store.head()
    request.status = int(given.first.split()[1])
    if isinstance(fault, Lose):
        return False
    if isinstance(fault, Stall) and fault.after < 0:
        stalled.wait(fault.seconds)
    client.send(_shortened(given, fault.to) if isinstance(fault, Truncate) else given.raw)
    if request.method != "HEAD" and request.status not in (204, 304):
        store.body(given, _damaged(client.send, request, stalled))
    return given.fields.get("connection", "").lower() != "close"


def _answer(fault: Answer) -> bytes:
    body = f"<Error><Code>{fault.code}</Code><Message>by the proxy</Message></Error>".encode()
    head = f"HTTP/1.1 {fault.status} {fault.code}\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _cut_after(send: Callable[[bytes], None], after: int | None) -> Callable[[bytes], None]:
    """Return `send`, raising once `after` bytes were sent."""
    if after is None:
        return send
    left = after

    def sent(piece: bytes) -> None:
        nonlocal left
        if left:
            send(piece[:left])
        left = max(0, left - len(piece))
        if not left:
            raise EOFError

    return sent


def _damaged(
    send: Callable[[bytes], None], request: Request, stalled: threading.Event
) -> Callable[[bytes], None]:
    """Return `send` with what befalls an answer's body."""
    fault = request.fault
    out = _cut_after(send, fault.after if isinstance(fault, Cut) else None)

    def sent(piece: bytes) -> None:
        begin = request.num_bytes
        request.num_bytes += len(piece)
        if isinstance(fault, Corrupt) and begin <= fault.at < request.num_bytes:
            changed = bytearray(piece)
            changed[fault.at - begin] ^= 0xFF
            piece = bytes(changed)
        elif isinstance(fault, Truncate):
            piece = piece[: max(0, fault.to - begin)]
        elif isinstance(fault, Stall) and begin <= fault.after < request.num_bytes:
            out(piece[: fault.after - begin])
            stalled.wait(fault.seconds)
            piece = piece[fault.after - begin :]
        out(piece)

    return sent


def _shortened(given: _Head, to: int) -> bytes:
    """Return an answer's head that announces a shorter body."""
    lines = given.raw.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([kept[0], b"Content-Length: %d" % to, *kept[1:]])


def _close(opened: socket.socket) -> None:
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()
