"""One-shot commands: each at most once, and none after it has expired.

Two promises, of different strength:

1. *At most once* depends on no clock. What was begun is on the disk before it acts. When the
   oldest id is forgotten, so is everything that was issued no later: it is never begun again. When
   the file itself is damaged, everything up to this start is forgotten. A clock draws that line, if
   it was ever set; otherwise the first command that comes does: before it expires it is no later
   than that.
2. *Not after it has expired* is by this device's wall clock, if that was ever set. A board
   without a clock (1970) takes the time to be that of the newest command that the hub signed for
   it, and what has passed since: a lower bound of the real time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from device_agent.core.window import EARLIEST_WALL_S
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError, StorageFailed
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.orders import Command
from device_agent.protocol.values import dataclass
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

COMMANDS_PATH = "commands.json"
MAX_REMEMBERED = 128


class Standing(Enum):
    """How a command stands before anything is done for it."""

    NEW = "new"
    BEGUN_BEFORE = "begun before"
    FORGOTTEN = "issued no later than what was forgotten: perhaps begun before"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A command that was begun; ``told`` when its outcome is in the outbox."""

    id: str
    kind: str
    issued_s: float
    told: bool = False

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"id": self.id, "kind": self.kind, "issued_s": self.issued_s, "told": self.told}

    @classmethod
    def from_fields(cls, fields: Fields) -> Begun:
        """Read the JSON form."""
        return cls(
            id=fields.text("id", max_length=64),
            kind=fields.text("kind", max_length=32),
            issued_s=fields.number("issued_s"),
            told=fields.boolean("told"),
        )


class CommandLog:
    """Remembers durably which commands were begun, and which of them were answered."""

    def __init__(self, storage: Storage, opened_s: float = 0.0) -> None:
        """Read what earlier runs began; a file that cannot be read is no reason not to start.

        Args:
            storage: the state folder.
            opened_s: the monotonic clock now.
        """
        self._storage = storage
        self._opened_s = opened_s
        found = _read(storage)
        self._is_lost = found is None
        self._begun, self._forgotten_s = found or ({}, 0.0)
        self._bound_s = max((each.issued_s for each in self._begun.values()), default=0.0)
        self._bound_at_s: float | None = None

    def judge(self, command: Command, wall_s: float, now_s: float) -> Standing:
        """Tell how a command stands.

        Args:
            command: what a director signed for this device.
            wall_s: the wall clock, in Unix seconds, right or wrong.
            now_s: the monotonic clock.
        """
        self._learn(command.issued_s, now_s)
        if command.id in self._begun:
            return Standing.BEGUN_BEFORE
        is_expired = self._time_s(wall_s, now_s) > command.expires_s
        if self._is_lost and not is_expired:
            self._draw_line(command, wall_s, now_s)
        if command.issued_s <= self._forgotten_s:
            return Standing.FORGOTTEN
        return Standing.EXPIRED if is_expired else Standing.NEW

    def _draw_line(self, command: Command, wall_s: float, now_s: float) -> None:
        """Forget everything up to this start: no file tells what was begun before."""
        is_set = wall_s >= EARLIEST_WALL_S
        self._forgotten_s = wall_s - (now_s - self._opened_s) if is_set else command.expires_s
        self._is_lost = False

    def begin(self, command: Command) -> None:
        """Remember a command before it acts: durable when this returns.

        Raises:
            StorageFailed: it is not remembered, so it must not act.
        """
        entry = Begun(id=command.id, kind=command.kind, issued_s=command.issued_s)
        begun = {**self._begun, command.id: entry}
        forgotten_s = self._forgotten_s
        while len(begun) > MAX_REMEMBERED:
            oldest = min(begun.values(), key=lambda each: each.issued_s)
            forgotten_s = max(forgotten_s, oldest.issued_s)
            del begun[oldest.id]
        self._keep(begun, forgotten_s)

    def told(self, command_id: str) -> None:
        """Remember that the outcome of a command is in the outbox.

        Raises:
            StorageFailed: after a restart it may be told twice; the hub keeps the first.
        """
        entry = self._begun.get(command_id)
        if entry is not None:
            begun = {**self._begun, command_id: replace(entry, told=True)}
            self._keep(begun, self._forgotten_s)

    def untold(self) -> tuple[Begun, ...]:
        """Return the commands that were begun and whose outcome nobody was told."""
        return tuple(each for each in self._begun.values() if not each.told)

    def _keep(self, begun: Mapping[str, Begun], forgotten_s: float) -> None:
        document = {
            "schema_version": SCHEMA_VERSION,
            "begun": [each.to_document() for each in begun.values()],
            "forgotten_s": forgotten_s,
        }
        self._storage.replace(COMMANDS_PATH, encode(document))
        self._begun, self._forgotten_s = dict(begun), forgotten_s

    def _learn(self, issued_s: float, now_s: float) -> None:
        """Raise the lower bound of the real time: the hub has signed this moment."""
        if self._bound_at_s is None:
            self._bound_at_s = now_s
        if issued_s > self._bound_s + (now_s - self._bound_at_s):
            self._bound_s, self._bound_at_s = issued_s, now_s

    def _time_s(self, wall_s: float, now_s: float) -> float:
        if wall_s >= EARLIEST_WALL_S or self._bound_at_s is None:
            return wall_s
        return self._bound_s + (now_s - self._bound_at_s)


def _read(storage: Storage) -> tuple[dict[str, Begun], float] | None:
    """Return what was begun and since when nothing is forgotten; None if that is lost."""
    try:
        data = storage.read(COMMANDS_PATH)
        if data is None:
            return {}, 0.0
        fields = Fields(decode(data), "commands")
        entries = fields.list_of("begun", Begun.from_fields, max_items=MAX_REMEMBERED)
        return {each.id: each for each in entries}, fields.number("forgotten_s")
    except (ProtocolError, StorageFailed) as error:
        logger.warning("commands.lost", extra={"cause": str(error)})
        return None
