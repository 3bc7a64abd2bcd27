"""Presence: who is there, by birth and will, and when one identity is used twice.

A device counts its sessions and names a random instance for each process. So:

- a death counts only for the instance that is known to be alive, and not for an older session of
  it (a late will of a half-open connection never marks a live device dead);
- sessions of one state folder only grow, over all its processes: what names a lower one than is
  known of that folder is late, however late, and changes nothing;
- another instance is a restart, in another folder (a new card with the same enrolment) also with a
  lower session;
- but if the instance of *before* connects anew after the new one was seen, both are alive: two
  agents share one identity, a card was cloned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from device_agent.protocol.reports import Reported, folder_of
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
    same = presence.instance in ("", reported.instance)
    if not reported.online:
        if not same or reported.session < presence.session:
            return Seen(presence=presence, is_current=False)
        gone = replace(presence, online=False, session=reported.session)
        return Seen(presence=gone, is_current=True)
    if same and reported.session < presence.session:
        return Seen(presence=presence, is_current=False)
    was_before = not same and reported.instance == presence.previous_instance
    if was_before and reported.session <= presence.previous_session:
        return Seen(presence=presence, is_current=False)
    if _is_late(presence, reported):
        return Seen(presence=presence, is_current=False)
    alive = replace(
        presence,
        online=True,
        session=reported.session,
        instance=reported.instance,
        previous_instance=presence.previous_instance if same else presence.instance,
        previous_session=presence.previous_session if same else presence.session,
        last_seen_s=now_s,
        clock_offset_s=reported.clock_s - now_s,
        duplicate=presence.duplicate or was_before,
    )
    return Seen(presence=alive, is_current=True, is_duplicate=was_before and not presence.duplicate)


def _is_late(presence: Presence, reported: Reported) -> bool:
    """Tell whether a birth is of an earlier life of a folder that is known."""
    folder = folder_of(reported.instance)
    if not folder:
        return False
    if folder == folder_of(presence.instance):
        return reported.session < presence.session
    return (
        folder == folder_of(presence.previous_instance)
        and reported.session <= presence.previous_session
    )
