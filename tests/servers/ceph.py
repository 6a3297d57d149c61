"""Ceph's S3 gateway."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from tests.servers.base import Server, listens, wait_until


class Ceph(Server):
    """One monitor, one disk in a sparse file, one gateway. Refuses the trailing checksums of new clients."""

    num_ports = 16
    checksums = "when_required"

    @classmethod
    def missing(cls) -> str | None:
        if all(map(shutil.which, ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph"))):
            return None
        return "Ceph is not installed; run make servers as root"

    def start_processes(self) -> None:
        conf = str(self.folder / "ceph.conf")
        monitor, disk = self.folder / "mon", self.folder / "osd"
        fresh = not (self.folder / "made").exists()
        if fresh:
            self._make_monitor(conf, monitor)
        self.run("ceph-mon", "-i", "a", "-c", conf)
        if fresh:
            disk.mkdir()
            identity = str(uuid.uuid4())
            self.run("ceph", "-c", conf, "osd", "new", identity, "0")
            self.run("ceph-osd", "-i", "0", "-c", conf, "--mkfs", "--osd-uuid", identity)
        self.run("ceph-osd", "-i", "0", "-c", conf)
        self.run("radosgw", "-n", "client.rgw", "-c", conf)
        if fresh:
            wait_until(lambda: listens(self.port), f"{self.endpoint} listens")
            user = ["--uid=tests", "--display-name=tests"]
            keys = [f"--access-key={self.access_key}", f"--secret-key={self.secret_key}"]
            admin = ["radosgw-admin", "-n", "client.rgw", "-c", conf]
            self.run(*admin, "user", "create", *user, *keys)
            (self.folder / "made").touch()

    def _make_monitor(self, conf: str, folder: Path) -> None:
        folder.mkdir()
        ring = str(self.folder / "keyring")
        Path(conf).write_text(
            _CEPH.format(
                folder=self.folder,
                fsid=uuid.uuid4(),
                port=self.port,
                monitor=self.port + 1,
                first=self.port + 2,
                last=self.port + self.num_ports - 1,
            )
        )
        for place, name in enumerate(("mon.", "client.admin", "osd.0", "client.rgw")):
            allowed = [word for kind in ("mon", "osd") for word in ("--cap", kind, "allow *")]
            create = [] if place else ["--create-keyring"]
            self.run("ceph-authtool", ring, *create, "--gen-key", "-n", name, *allowed)
        place = f"[v2:127.0.0.1:{self.port + 1}]"
        fsid = next(line for line in Path(conf).read_text().splitlines() if "fsid" in line)
        monmap = str(self.folder / "monmap")
        self.run("monmaptool", "--create", "--fsid", fsid.split()[-1], "--addv", "a", place, monmap)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", ring, "-c", conf)


_CEPH = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
run dir = {folder}
admin socket =
log file = {folder}/$name.log
pid file = {folder}/$name.pid
keyring = {folder}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = {first}
ms bind port max = {last}
ms bind ipv6 = false
[mon]
mon data = {folder}/mon
mon data avail crit = 0
mon data avail warn = 1
paxos propose interval = 0.05
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore block create = true
osd memory target = 939524096
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
rgw zone = default
rgw enable usage log = false
"""
"""Without tcp_nodelay each small read takes 45 ms."""
