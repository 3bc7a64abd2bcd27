"""The reported state: everything that is said of a device at one moment, and its will."""

from __future__ import annotations

from device_agent import __version__
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.values import dataclass
from device_agent.shell.deployer import Deployer
from device_agent.shell.packages import Host
from device_agent.shell.reporter import Reporter, reported_model
from device_agent.shell.storage import Storage


@dataclass(slots=True, kw_only=True)
class StateReport:
    """Builds the reported state.

    Attributes:
        storage: the disk, for the room that is left.
        host: this device.
        deployer: how each model stands.
        reporter: puts it on the wire.
        instance: names this process, see ``protocol.reports.instance_of``.
        heartbeat_s: longest pause between two reported states.
        said: topic and payload of what was said last.
    """

    storage: Storage
    host: Host
    deployer: Deployer
    reporter: Reporter
    instance: str
    heartbeat_s: float
    said: tuple[str, bytes] | None = None

    def message(self, session: int, generation: int, *, online: bool) -> tuple[str, bytes]:
        """Return topic and payload.

        Raises:
            StorageFailed: the disk does not even say how much is free.
        """
        deployer = self.deployer
        models = {
            name: reported_model(
                record,
                deployer.serving_slot(name),
                deployer.acquisition.progress(name),
                deployer.acts.waits(record),
            )
            for name, record in list(deployer.records.items())
        }
        facts: dict[str, object] = {
            "agent": __version__,
            "profile": self.host.profile,
            "runtimes": tuple(sorted(self.host.machine.runtimes)),
            "heartbeat_s": self.heartbeat_s,
            "disk_free_bytes": self.storage.free_bytes(),
            "safe_mode": deployer.is_in_safe_mode,
        }
        self.said = self.reporter.reported(
            session,
            self.instance,
            online=online,
            generation=generation,
            models=models,
            facts=facts,
        )
        return self.said

    def will(self, session: int, generation: int) -> tuple[str, bytes]:
        """Return topic and payload of what the broker says when that connection is lost.

        Made of what was said last: the link's thread asks for it, and must not look at what the
        loop's thread is changing.
        """
        topic, payload = self.said or self.message(session, generation, online=False)
        return topic, encode({**decode(payload), "session": session, "online": False})
