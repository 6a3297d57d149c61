"""The store servers of the tests: what they took is there after SIGKILL, and they end with their users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.fs
import pytest

from tests.servers import BUCKET, Ceph, Server, Swift, listens, serve, wait_until

CONTENT = bytes(range(256)) * 40


def test_each_server_keeps_and_lists_what_pyarrow_wrote(any_store: Server, prefix: str) -> None:
    assert any_store.tree(prefix) == {}
    store = pyarrow.fs.S3FileSystem(
        endpoint_override=any_store.endpoint.removeprefix("http://"), scheme="http"
    )
    with store.open_output_stream(f"{BUCKET}/{prefix}/a/b") as stream:
        stream.write(CONTENT)
    assert list(any_store.tree(prefix)) == ["a/b"]
    assert store.open_input_file(f"{BUCKET}/{prefix}/a/b").read() == CONTENT
    any_store.client().create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/never")
    assert any_store.uploads(prefix) == [f"{prefix}/never"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Ceph, Swift])
def test_a_killed_server_has_everything_when_it_is_back(kind: type[Server], tmp_path: Path) -> None:
    with serve(kind, tmp_path / "server") as server:
        client = server.client()
        client.put_object(Bucket=BUCKET, Key="p/kept", Body=CONTENT)
        before = server.tree("p")
        assert len(before) == 1
        server.kill()
        assert not listens(server.port)
        server.restart()
        assert server.tree("p") == before


def test_a_server_ends_with_the_last_of_its_users_even_when_killed(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    code = (
        "import pathlib, sys, time; from tests.servers import Moto, serve\n"
        "with serve(Moto, pathlib.Path(sys.argv[1])) as server:\n"
        "    print(server.port, flush=True)\n"
        "    time.sleep(99)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ports = {int(user.stdout.readline()) for user in users}
    assert len(ports) == 1
    (port,) = ports
    for user in users:
        assert listens(port)
        user.kill()
        user.communicate()
    wait_until(lambda: not listens(port) and not folder.exists(), "the server has ended")
