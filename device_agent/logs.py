"""One line for each event: constant event names, facts as fields."""

from __future__ import annotations

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """``time level event key=value`` and so on, for the ``extra`` fields of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line (more with a traceback)."""
        fields = " ".join(
            f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD
        )
        line = f"{self.formatTime(record)} {record.levelname.lower()} {record.getMessage()}"
        if record.exc_info:
            fields += "\n" + self.formatException(record.exc_info)
        return f"{line} {fields}".rstrip()


def log_to_stderr(level: int | str) -> None:
    """Write records of ``level`` and above to standard error."""
    logging.basicConfig(level=level, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(EventFormatter())
