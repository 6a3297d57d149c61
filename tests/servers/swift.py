"""OpenStack Swift with its S3 API."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

from tests.servers.base import Server, listens, wait_until


class Swift(Server):
    """A proxy with the S3 API and three servers below it. Takes all that new clients send."""

    num_ports = 4
    access_key, secret_key = "test:tester", "testing"

    @classmethod
    def missing(cls) -> str | None:
        if (SWIFT / "bin" / "swift-proxy-server").exists():
            return None
        return f"OpenStack Swift is not installed in {SWIFT}; run make servers"

    def start_processes(self) -> None:
        if not (self.folder / "made").exists():
            self._make()
        for kind in _SWIFT_KINDS:
            command = [_swift(f"swift-{kind}-server"), str(self.folder / f"{kind}.conf")]
            with (self.folder / f"{kind}.log").open("ab") as log:
                subprocess.Popen(
                    [*command, "--verbose"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONPATH": str(self.folder)},
                    start_new_session=True,
                )
        ports = range(self.port, self.port + self.num_ports)
        wait_until(lambda: all(map(listens, ports)), f"Swift listens, see {self.folder}")

    def _make(self) -> None:
        (self.folder / "disk" / "d").mkdir(parents=True)
        (self.folder / "memory.py").write_text(_SWIFT_MEMORY)
        (self.folder / "swift.conf").write_text(_SWIFT_RINGS)
        account, user = self.access_key.split(":")
        for place, kind in enumerate(_SWIFT_KINDS):
            port = self.port + place
            content = _SWIFT_BASE.format(folder=self.folder, port=port, user=getpass.getuser())
            form = _SWIFT_DISK if place else _SWIFT_PROXY
            content += form.format(kind=kind, account=account, user=user, secret=self.secret_key)
            (self.folder / f"{kind}.conf").write_text(content)
            if place:
                ring = str(self.folder / f"{kind}.ring.gz")
                self.run(_swift("python"), "-c", _SWIFT_RING, ring, str(port))
        (self.folder / "made").touch()


SWIFT = Path(f"{sys.prefix}-swift")
"""Its environment lies beside the one of the tests."""
_SWIFT_KINDS = ("proxy", "object", "container", "account")
_SWIFT_RINGS = """
[swift-hash]
swift_hash_path_suffix = tests
swift_hash_path_prefix = tests
[storage-policy:0]
name = one
default = yes
"""
_SWIFT_RING = """
import sys
from swift.common.ring import RingBuilder
place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(sys.argv[2]), "device": "d", "weight": 1}
builder = RingBuilder(4, 1, 1)
builder.add_dev(place)
builder.rebalance()
builder.get_ring().save(sys.argv[1])
"""
_SWIFT_BASE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/disk
mount_check = false
fallocate_reserve = 0
log_level = WARNING
log_address = {folder}/no-syslog
log_udp_host =
"""
_SWIFT_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
node_timeout = 60
conn_timeout = 5
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
paste.filter_factory = memory:filter_factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
rate_limit_after_segment = 100000
[filter:dlo]
use = egg:swift#dlo
"""
_SWIFT_DISK = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
conn_timeout = 5
node_timeout = 30
"""
_SWIFT_MEMORY = '''
"""Stands in for memcached, as long as the proxy is one process."""
import time


class Memory:
    def __init__(self):
        self.kept = {}

    def get(self, key, raise_on_error=False, **options):
        value, end = self.kept.get(key, (None, 0))
        return None if end and end < time.time() else value

    def set(self, key, value, time=0, **options):
        self.kept[key] = value, _end(time)

    def delete(self, key, *arguments, **options):
        self.kept.pop(key, None)

    def incr(self, key, delta=1, time=0, **options):
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time)
        return value

    def decr(self, key, delta=1, time=0, **options):
        return self.incr(key, -int(delta), time)

    def set_multi(self, mapping, server_key=None, time=0, **options):
        for key, value in mapping.items():
            self.set(key, value, time)

    def get_multi(self, keys, server_key=None, **options):
        return [self.get(key) for key in keys]


def _end(seconds):
    return time.time() + seconds if seconds else 0


def filter_factory(settings, **options):
    memory = Memory()

    def filtered(app):
        def call(environ, respond):
            environ["swift.cache"] = memory
            return app(environ, respond)

        return call

    return filtered
'''


def _swift(program: str) -> str:
    return str(SWIFT / "bin" / program)
