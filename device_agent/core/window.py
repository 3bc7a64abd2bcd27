"""Whether a maintenance window is open now, by the device's own zone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from device_agent.protocol.activation import DAYS, Activation, MaintenanceWindow

EARLIEST_WALL_S = 1_767_225_600.0
"""2026-01-01 UTC. A clock before it was never set: by it no window is known to be open."""
LOOKS_BACK_DAYS = 2
"""A window is up to 24 hours long: after a local day of 23 the one of two days ago may be open."""


def reason_to_wait(activation: Activation, wall_s: float, zone: tzinfo) -> str:
    """Return what a staged version waits for, empty if it may be activated now.

    Args:
        activation: of the order.
        wall_s: seconds since the epoch by the device's wall clock.
        zone: the device's own.
    """
    if activation.hold:
        return "waits to be let go"
    window = activation.window
    if window is None or is_open(window, wall_s, zone):
        return ""
    unset = "; the clock was never set" if wall_s < EARLIEST_WALL_S else ""
    return f"waits for its window, {window.text} local time{unset}"


def is_open(window: MaintenanceWindow, wall_s: float, zone: tzinfo) -> bool:
    """Tell whether a window is open.

    It opens at its start in local time and stays open for its length in real time, whatever the
    zone does with its clocks meanwhile: where they jump over the start it opens after the jump, by
    as much later as it was meant to be after it, and where they show the start twice it opens
    at the first. So it opens on each of its days, and never shorter.
    """
    if wall_s < EARLIEST_WALL_S:
        return False
    now = datetime.fromtimestamp(wall_s, timezone.utc)
    today = now.astimezone(zone).date()
    for days_ago in range(LOOKS_BACK_DAYS + 1):
        day = today - timedelta(days=days_ago)
        if DAYS[day.weekday()] not in window.days:
            continue
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        # Adding within a zone is adding to what its clock shows; only then is it an instant.
        opens = (midnight + timedelta(minutes=window.start)).astimezone(timezone.utc)
        if opens <= now < opens + timedelta(minutes=window.length):
            return True
    return False
