"""Presence: who is there, by birth and will, and when one identity is used twice.

A device counts its sessions and names a random instance for each process. So:

- a death counts only for the instance that is known to be alive, and not for an older session of
  it (a late will of a half-open connection never marks a live device dead);
- sessions of one state folder only grow, over all its processes: what names a lower one than is
  known of that folder is late, however late, and changes nothing;
- but who is held for late and goes on talking, while the one that is known is silent, is the
  device: its disk had refused to keep its number, or is a copy of before;
- another instance is a restart, in another folder (a new card with the same enrolment) also with a
  lower session;
- but if the instance of *before* connects anew after the new one was seen, both are alive: two
  agents share one identity, a card was cloned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from device_agent.protocol.reports import Reported, folder_of
from edgeops.domain.fleet import Presence

BELIEVED_AFTER_S = 100.0
"""Longer than a message of an earlier life is on its way, and three heartbeats."""


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
    is_late = _is_late(presence, reported)
    if is_late and not _goes_on(presence, reported, now_s):
        return Seen(presence=_suspected(presence, reported, now_s), is_current=False)
    was_before = not same and not is_late and reported.instance == presence.previous_instance
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
        late_instance="",
        late_since_s=None,
    )
    return Seen(presence=alive, is_current=True, is_duplicate=was_before and not presence.duplicate)


def _is_late(presence: Presence, reported: Reported) -> bool:
    """Tell whether a birth is of an earlier connection or life, as far as its number tells."""
    if presence.instance in ("", reported.instance):
        return reported.session < presence.session
    folder = folder_of(reported.instance)
    same_folder = bool(folder) and folder == folder_of(presence.instance)
    if reported.instance == presence.previous_instance:
        known = max(presence.previous_session, presence.session if same_folder else 0)
        return reported.session <= known
    if same_folder:
        return reported.session < presence.session
    return (
        bool(folder)
        and folder == folder_of(presence.previous_instance)
        and reported.session <= presence.previous_session
    )


def _goes_on(presence: Presence, reported: Reported, now_s: float) -> bool:
    """Tell whether who is held for late has talked for a while; a word that is not ends that."""
    since_s = presence.late_since_s
    return (
        reported.instance == presence.late_instance
        and since_s is not None
        and now_s - since_s >= BELIEVED_AFTER_S
    )


def _suspected(presence: Presence, reported: Reported, now_s: float) -> Presence:
    """Remember since when somebody who is held for late has talked while all others were silent."""
    if reported.instance == presence.late_instance:
        return presence
    return replace(presence, late_instance=reported.instance, late_since_s=now_s)
