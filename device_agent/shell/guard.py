"""The guard: a task that goes wrong is counted and told, and all others go on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from device_agent.protocol.errors import StorageFailed

logger = logging.getLogger(__name__)

MOST_TOLD = 64


class Guard:
    """Calls tasks of the agent's thread. None of them may end it: nothing would be reachable.

    Counts ``tick.storage_failed`` where the disk refuses, ``defect`` where the agent itself or
    what it was given is wrong; the log has each defect once, with its traceback.
    """

    def __init__(self, counters: Counter[str]) -> None:
        """Take where to count."""
        self._counters = counters
        self._told: set[str] = set()

    def __call__(self, task: Callable[[], object]) -> None:
        """Do a task."""
        try:
            task()
        except StorageFailed as error:
            self._counters["tick.storage_failed"] += 1
            logger.warning("tick.failed", extra={"cause": str(error)})
        except Exception as error:  # noqa: BLE001 - see the class
            self.defect(error)

    def defect(self, error: Exception) -> None:
        """Count an error that should not be, and tell it once."""
        self._counters["defect"] += 1
        cause = f"{type(error).__name__}: {error}"
        if cause not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(cause)
            logger.error("agent.defect", exc_info=error, extra={"cause": cause})
