"""Watches over a server, see `sharing`: `python -m tests.servers KIND FOLDER`."""

import sys
from pathlib import Path

from tests.servers import KINDS, watch

watch(KINDS[sys.argv[1]], Path(sys.argv[2]))
