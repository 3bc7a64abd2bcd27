"""``python -m tests.outbox_writer PATH FIRST``: a device that puts, merges, sends and forgets until
it is killed.

Window n counts one prediction of class n, so that a sum tells which windows are in it. Every
fourth number brings an event too, an outcome or a step. What was accepted is said (``kept N``)
after it was; messages are said as they go on the wire (``sent TOPIC PAYLOAD``), and a line of
acknowledgements is waited for.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Ack
from device_agent.shell.outbox import Outbox, OutboxOptions
from device_agent.shell.outbox_room import Bound
from device_agent.shell.reporter import Reporter
from tests.agent_values import event, window

SMALL = Bound(items=34, size_bytes=10**6)
OPTIONS = OutboxOptions(telemetry=SMALL, events=SMALL, burst_bytes=10**9)
"""So small that soon everything that arrives has something give way."""
SEND_EVERY = 12


def counted(number: int) -> bytes:
    """Return a window in which one row was answered, by class ``number``."""
    each = replace(
        window(),
        inferences=1,
        nonfinite=0,
        classes=(*(0,) * number, 1),
        started_s=60.0 * number,
        ended_s=60.0 * (number + 1),
    )
    return encode(each.to_document())


def happened(number: int) -> bytes:
    """Return an event: an outcome for every eighth number, a step otherwise."""
    state = "fetch" if number % 8 else "committed"
    return encode(replace(event(), generation=number, state=state).to_document())


def live(outbox: Outbox, first: int) -> None:
    """Put without end; send now and then, and forget what is acknowledged."""
    reporter = Reporter(DeviceId("cam-1"), outbox)
    number = first
    while True:
        outbox.put("telemetry", counted(number))
        if number % 4 == 0:
            outbox.put("event", happened(number))
        print("kept", number, flush=True)
        if number % SEND_EVERY == 0:
            outbox.resend_all()
            for topic, payload in reporter.due(0.0):
                print("sent", topic, payload.hex(), flush=True)
            print("over", flush=True)
            for text in sys.stdin.readline().split():
                ack = Ack.from_document(decode(bytes.fromhex(text)))
                outbox.acknowledge(ack.stream, ack.sequence)
        number += 1


if __name__ == "__main__":
    live(Outbox(Path(sys.argv[1]), options=OPTIONS), int(sys.argv[2]))
