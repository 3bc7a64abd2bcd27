"""One line for each event: constant event names, facts as fields."""

from __future__ import annotations

import json
import logging
import sys
from collections import deque

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
AGENT_LOGGER = "device_agent"
MAX_RECENT_LINES = 400
MAX_RECENT_LINE = 512
MAX_RECENT_BYTES = 40 * 1024
"""Bounds of what is remembered; bytes as JSON, in which the lines may be asked for."""
MIN_HIDDEN = 8
"""A text shorter than this is no secret, and hiding it would spoil every line."""


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


class RecentLog(logging.Handler):
    """The newest records of the agent, in memory: at most 400 lines and 40 KiB.

    It sees what the level of the logger ``device_agent`` lets through, and nothing of other
    libraries. The agent logs events, counts and causes, never rows or predictions.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        super().__init__()
        self.setFormatter(EventFormatter())
        self._hidden: tuple[str, ...] = ()
        self._lines: deque[tuple[str, int]] = deque()
        self._bytes = 0

    def hide(self, secret: str) -> None:
        """Never remember this text (a password), wherever a record has it."""
        if len(secret) >= MIN_HIDDEN:
            self._hidden = (*self._hidden, secret)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record as one line, and forget the oldest that are too many."""
        # Where nothing is configured, Python writes warnings to standard error, but only if there
        # is no handler at all. Remembering them must not make them vanish there.
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_the_only_one():
            last.handle(record)
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a record that cannot be written must not end its caller
            self.handleError(record)
            return
        for secret in self._hidden:
            text = text.replace(secret, "[hidden]")
        line = _one_line(text)
        size_bytes = len(json.dumps(line, ensure_ascii=False).encode()) + 1
        self._lines.append((line, size_bytes))
        self._bytes += size_bytes
        while self._bytes > MAX_RECENT_BYTES or len(self._lines) > MAX_RECENT_LINES:
            self._bytes -= self._lines.popleft()[1]

    def _is_the_only_one(self) -> bool:
        agent = logging.getLogger(AGENT_LOGGER)
        heard = (*agent.handlers, *logging.getLogger().handlers)
        silent = all(isinstance(each, RecentLog) for each in heard)
        return silent and heard[:1] == (self,)

    def lines(self) -> tuple[str, ...]:
        """Return what is remembered, oldest first."""
        self.acquire()
        try:
            return tuple(line for line, _ in self._lines)
        finally:
            self.release()


def _one_line(text: str) -> str:
    parts = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(c if c.isprintable() else "\ufffd" for c in parts[:MAX_RECENT_LINE])


def log_to_stderr(level: int | str) -> None:
    """Write records of ``level`` and above to standard error; the agent makes those of info.

    What is not written can still be remembered: a warning is best understood by what led to it.
    """
    logging.basicConfig(level=level, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(EventFormatter())
        handler.setLevel(level)
    agent = logging.getLogger(AGENT_LOGGER)
    agent.setLevel(min(logging.INFO, logging.getLogger().level))
