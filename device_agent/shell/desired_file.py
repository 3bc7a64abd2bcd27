"""The newest desired state on the disk, as the director signed it.

It is kept twice: a disk that spoils one of them must not take the device's generation back.
"""

from __future__ import annotations

import logging

from device_agent.protocol.errors import NotTrusted, ProtocolError, StorageFailed
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Desired
from device_agent.shell.storage import Storage
from device_agent.shell.trust import Trust

logger = logging.getLogger(__name__)

PATHS = ("desired.json", "desired.kept.json")


class DesiredFile:
    """Keeps what ``Trust`` has opened, and opens it again after a restart."""

    def __init__(self, storage: Storage, trust: Trust, device: DeviceId) -> None:
        """Take where it lies, who may sign it, and for whom it must be."""
        self._storage = storage
        self._trust = trust
        self._device = device

    def keep(self, payload: bytes) -> None:
        """Keep a newer one, durably.

        Raises:
            StorageFailed: the disk refuses; after a restart it may be the old or the new one.
        """
        self._storage.replace(PATHS[0], payload)
        self._copy(PATHS[1], payload)

    def load(self) -> Desired | None:
        """Return the newest one that can be read, and mend the other copy."""
        stored = dict.fromkeys(self._read(path) for path in PATHS)  # mostly twice the same
        found = [(each, data) for data in stored if data and (each := self._open(data)) is not None]
        if not found:
            return None
        newest, payload = max(found, key=lambda each: each[0].generation)
        for path in PATHS:
            self._copy(path, payload)
        return newest

    def _read(self, path: str) -> bytes | None:
        try:
            return self._storage.read(path)
        except StorageFailed as error:
            logger.warning("desired.not_read", extra={"path": path, "cause": str(error)})
            return None

    def _open(self, data: bytes) -> Desired | None:
        try:
            return self._trust.open_desired(data, self._device)
        except (ProtocolError, NotTrusted) as error:
            logger.warning("desired.not_recovered", extra={"cause": str(error)})
            return None

    def _copy(self, path: str, payload: bytes) -> None:
        try:
            if self._storage.read(path) != payload:
                self._storage.replace(path, payload)
        except StorageFailed as error:
            logger.warning("desired.not_kept", extra={"path": path, "cause": str(error)})
