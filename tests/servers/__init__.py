"""Store servers on this machine, to be killed and started again: Ceph's S3 gateway, OpenStack Swift, moto.

A server keeps its state and its ports in a folder: what Ceph and Swift have acknowledged survives
SIGKILL, and the address stays. `make servers` installs them.
"""

from tests.servers.base import BUCKET, Server, free_ports, listens, wait_until
from tests.servers.ceph import Ceph
from tests.servers.moto import Moto
from tests.servers.sharing import serve, shared_folder, skip_without, watch
from tests.servers.swift import Swift

KINDS: dict[str, type[Server]] = {kind.__name__: kind for kind in (Ceph, Moto, Swift)}

__all__ = [
    "BUCKET",
    "KINDS",
    "Ceph",
    "Moto",
    "Server",
    "Swift",
    "free_ports",
    "listens",
    "serve",
    "shared_folder",
    "skip_without",
    "wait_until",
    "watch",
]
