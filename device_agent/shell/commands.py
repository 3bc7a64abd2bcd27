"""One-shot commands: each at most once, and never after it has expired."""

from __future__ import annotations

import json

from device_agent.protocol.orders import Command
from device_agent.shell.storage import Storage

COMMANDS_PATH = "commands.json"
MAX_REMEMBERED = 128


class CommandLog:
    """Remembers durably which commands were begun."""

    def __init__(self, storage: Storage) -> None:
        """Read what earlier runs began."""
        self._storage = storage
        try:
            remembered = json.loads(storage.read(COMMANDS_PATH) or b"[]")
        except (ValueError, RecursionError):
            remembered = []
        known = remembered if isinstance(remembered, list) else []
        self._begun = [each for each in known if isinstance(each, str)]

    def begin(self, command: Command, wall_s: float) -> bool:
        """Tell whether to execute a command now; once True, never again for this id."""
        if command.id in self._begun or wall_s > command.expires_s:
            return False
        self._begun = [*self._begun, command.id][-MAX_REMEMBERED:]
        self._storage.replace(COMMANDS_PATH, json.dumps(self._begun).encode())
        return True
