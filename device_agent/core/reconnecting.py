"""When to connect again, and in which version of MQTT: pure rules.

- Full jitter: the pause is uniform between nothing and a bound that doubles with each failure in a
  row, up to the longest. A fleet that lost its broker at one moment does not come back at one.
- A connection that stood for a while ends the row. One that is lost at once is a failure too: two
  agents with one identity, or a broker that throws everybody out, are not asked every second.
- MQTT 5 first. A broker that says it does not speak it is asked in 3.1.1 at once. One that closes
  without a word, as some old ones do, is asked in 3.1.1 after the second time; if that is met with
  silence too, it was not the version, and MQTT 5 is tried again.
- Whenever a connection that stood is lost, MQTT 5 is tried first again: a broker that is updated
  restarts, so this is when it may have learned it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from random import Random

from device_agent.protocol.values import dataclass

MQTT_5 = 5
MQTT_311 = 4
"""As the version stands in a CONNECT packet."""
SILENCES = 2
"""How often in a row a broker closes without a word before it is asked in 3.1.1."""
MOST_DOUBLINGS = 30


class Ended(str, Enum):
    """How an attempt to connect, or a connection, ended."""

    UNREACHABLE = "unreachable"
    """No connection to the broker's port."""
    SILENT = "silent"
    """The broker took the connection and closed it without an answer."""
    UNSUPPORTED = "unsupported"
    """The broker does not speak this version of MQTT."""
    REFUSED = "refused"
    """The broker said no for another reason."""
    LOST = "lost"
    """The connection had stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Where a link stands in its attempts.

    Attributes:
        version: of MQTT, to be tried next.
        failures: in a row.
        silences: in a row, in MQTT 5.
        at_once: whether the next attempt follows without a pause.
    """

    version: int = MQTT_5
    failures: int = 0
    silences: int = 0
    at_once: bool = False

    def after(self, ended: Ended, *, stood_s: float = 0.0, stable_s: float) -> Attempts:
        """Return where it stands after one more attempt.

        Args:
            ended: how it ended.
            stood_s: how long the connection had stood.
            stable_s: how long one has to stand to end a row of failures.
        """
        failed = replace(self, failures=self.failures + 1, at_once=False)
        if ended is Ended.LOST:
            return Attempts(failures=0 if stood_s >= stable_s else failed.failures)
        if ended is Ended.UNSUPPORTED and self.version == MQTT_5:
            return replace(self, version=MQTT_311, silences=0, at_once=True)
        if ended is Ended.SILENT and self.version == MQTT_5:
            silences = self.silences + 1
            version = MQTT_311 if silences >= SILENCES else MQTT_5
            return replace(failed, version=version, silences=silences)
        if ended in (Ended.SILENT, Ended.UNSUPPORTED):
            return replace(failed, version=MQTT_5, silences=0)
        return failed

    def longest_pause_s(self, first_s: float, most_s: float) -> float:
        """Return the bound of the pause before the next attempt."""
        if self.at_once:
            return 0.0
        return min(most_s, first_s * 2.0 ** min(self.failures, MOST_DOUBLINGS))

    def pause_s(self, chance: Random, first_s: float, most_s: float) -> float:
        """Return a pause, uniform between 0 and the bound."""
        return chance.uniform(0.0, self.longest_pause_s(first_s, most_s))
