"""Where the suite keeps environments of runtimes that cannot live beside it: made once."""

from __future__ import annotations

import sys
from pathlib import Path

CACHE = Path(sys.prefix) / "edgeops-cache"
