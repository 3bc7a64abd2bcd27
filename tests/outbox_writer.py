"""``python -m tests.outbox_writer PATH``: puts items until killed; prints each number after."""

from __future__ import annotations

import sys
from pathlib import Path

from device_agent.shell.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]))
while True:
    print(outbox.put("event", b'{"n":%d}' % (outbox.depth() + 1)), flush=True)
