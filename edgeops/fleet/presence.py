"""Presence: who is there, by birth and will, and when one identity is used twice.

A device counts its sessions durably and names a random instance for each process. So:

- a death counts only for the session that is known to be alive (a late will of a half-open
  connection never marks a live device dead);
- a birth whose session does not grow although the instance is another one comes from a second
  agent with the same state: a cloned card.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from device_agent.protocol.reports import Reported
from edgeops.domain.fleet import Presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The presence after a report, and whether the report itself may be believed."""

    presence: Presence
    is_current: bool
    is_duplicate: bool = False


def saw(presence: Presence, reported: Reported, now_s: float) -> Seen:
    """Return what a reported state says about the device's presence.

    Args:
        presence: as known.
        reported: birth, heartbeat (online) or death (the will, or a farewell).
        now_s: seconds since the epoch, by the hub's clock.
    """
    if not reported.online:
        current = reported.session >= presence.session and (
            presence.instance in ("", reported.instance)
        )
        if not current:
            return Seen(presence=presence, is_current=False)
        gone = replace(presence, online=False, session=reported.session)
        return Seen(presence=gone, is_current=True)
    another = presence.instance not in ("", reported.instance)
    duplicate = another and reported.session <= presence.session
    stale = not another and reported.session < presence.session
    if stale:
        return Seen(presence=presence, is_current=False)
    alive = replace(
        presence,
        online=True,
        session=max(presence.session, reported.session),
        instance=reported.instance,
        last_seen_s=now_s,
        clock_offset_s=reported.clock_s - now_s,
        duplicate=presence.duplicate or duplicate,
    )
    return Seen(presence=alive, is_current=True, is_duplicate=duplicate and not presence.duplicate)
