"""The log of starts: what lets a start know how the ones before it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from device_agent.core.starts import HEALTHY_AFTER_S, Care, Starts
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ModelRefused, ProtocolError, StorageFailed
from device_agent.protocol.ids import Digest
from device_agent.protocol.reasons import Reason
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

STARTS_PATH = "starts.json"


class StartLog:
    """Notes each start before anything is loaded, durably; forgets it when it ended well.

    A disk that refuses costs the care, never the start.
    """

    def __init__(self, storage: Storage, boot: str, now_s: float) -> None:
        """Note that a start began.

        Args:
            storage: the disk.
            boot: names this boot of the machine.
            now_s: monotonic seconds.
        """
        self._storage = storage
        self._healthy_at_s: float | None = now_s + HEALTHY_AFTER_S
        before = _read(storage)
        self.was_stopped = before.stopped
        """Whether the agent of before was stopped in good order."""
        self._starts = before.begun(boot)
        self.care = self._starts.care
        self._save()

    def is_suspect(self, digest: Digest) -> bool:
        """Tell whether a package has ended the process too often when it was loaded."""
        return self._starts.is_suspect(digest)

    @contextmanager
    def loading(self, digest: Digest) -> Iterator[None]:
        """Note what is being loaded: if the process ends meanwhile, the next start knows.

        Raises:
            ModelRefused: it ended the process too often.
        """
        if self.is_suspect(digest):
            raise ModelRefused(Reason.KILLED_AGENT, "its load ended the agent's process before")
        if self.care is Care.USUAL:
            yield
            return
        self._note(digest)
        try:
            yield
        except Exception:
            self._note("")
            raise
        self._note("")

    def turned(self, now_s: float) -> bool:
        """Tell, once, that the agent has run long enough for this start to have ended well."""
        if self._healthy_at_s is None or now_s < self._healthy_at_s:
            return False
        self.ended_well()
        return True

    def ended_well(self) -> None:
        """Forget this start and those before it."""
        if self._healthy_at_s is not None:
            self._healthy_at_s = None
            self._starts = self._starts.ended_well()
            self._save()

    def stopped(self) -> None:
        """Note that the agent is stopped in good order."""
        self._healthy_at_s = None
        self._starts = replace(self._starts.ended_well(), stopped=True)
        self._save()

    def _note(self, loading: str) -> None:
        self._starts = replace(self._starts, loading=loading)
        self._save()

    def _save(self) -> None:
        try:
            self._storage.replace(STARTS_PATH, encode(self._starts.to_document()))
        except StorageFailed as error:
            logger.warning("start.not_noted", extra={"cause": str(error)})


def _read(storage: Storage) -> Starts:
    try:
        data = storage.read(STARTS_PATH)
        return Starts.from_document(decode(data)) if data is not None else Starts()
    except (ProtocolError, StorageFailed, ValueError, TypeError):
        return Starts()
