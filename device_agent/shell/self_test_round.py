"""The self-test on command: each active version, one child process after the other.

Nothing that serves is touched: a child loads the artifact once more, and only its verdict is
told. A deployment's own self-test has precedence; two children at once would measure each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from device_agent.core.deployment import Happened
from device_agent.core.states import EventType
from device_agent.protocol.errors import ModelRefused
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import Manifest, Variant
from device_agent.protocol.outcomes import ModelVerdict
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import MAX_DETAIL
from device_agent.protocol.values import dataclass
from device_agent.shell.deployer import Deployer
from device_agent.shell.live import LiveModels
from device_agent.shell.packages import Host
from device_agent.shell.self_test import SelfTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A model's active version; ``package`` is None if it does not serve."""

    model: ModelName
    version: int
    digest: Digest
    package: tuple[Manifest, Variant] | None


def installed_models(deployer: Deployer, live: LiveModels) -> tuple[Installed, ...]:
    """Return the active version of each model of this device."""
    found = []
    for name, record in sorted(deployer.records.items()):
        letter, serving = deployer.active_slot(name), live.get(name)
        if letter is None:
            continue
        slot = record.slots[letter]
        serves = serving is not None and serving.digest == slot.manifest.digest
        package = (serving.manifest, serving.variant) if serving is not None and serves else None
        found.append(
            Installed(
                model=name, version=slot.version, digest=slot.manifest.digest, package=package
            )
        )
    return tuple(found)


def start_self_test(host: Host, manifest: Manifest, variant: Variant) -> SelfTest:
    """Start the child that tests a package, as before its activation but without a parent."""
    return SelfTest(host=host, manifest=manifest, variant=variant, parent=None)


class SelfTestRound:
    """One round at a time; the loop looks at it with ``poll`` and never waits for it."""

    def __init__(self, start: Callable[[Manifest, Variant], SelfTest]) -> None:
        """Take what starts a child. The thread that calls ``begin`` must call ``poll``."""
        self._start = start
        self._waiting: deque[Installed] = deque()
        self._under_test: tuple[Installed, SelfTest] | None = None
        self._verdicts: list[ModelVerdict] = []
        self.running = False

    def begin(self, models: Sequence[Installed]) -> None:
        """Begin a round over these models."""
        self._waiting = deque(models)
        self._verdicts = []
        self.running = True

    def poll(self) -> tuple[ModelVerdict, ...] | None:
        """Return all verdicts once the round is over, None while it runs (or none does)."""
        if not self.running:
            return None
        if self._under_test is not None:
            each, test = self._under_test
            happened = test.poll()
            if happened is None:
                return None
            self._under_test = None
            self._verdicts.append(_verdict(each, happened))
        if self._waiting:
            self._test(self._waiting.popleft())
            return None
        self.running = False
        return tuple(self._verdicts)

    def stop(self) -> None:
        """End the round and its child."""
        if self._under_test is not None:
            self._under_test[1].kill()
            self._under_test = None
        self._waiting.clear()
        self.running = False

    def _test(self, each: Installed) -> None:
        if each.package is None:
            self._verdicts.append(
                _verdict(each, _refused(Reason.LOAD_FAILED, "it does not serve: see the log"))
            )
            return
        try:
            self._under_test = each, self._start(*each.package)
        except ModelRefused as error:
            self._verdicts.append(_verdict(each, _refused(error.reason, str(error))))


def _refused(reason: Reason, detail: str) -> Happened:
    return Happened(type=EventType.REFUSED, reason=reason, detail=detail)


def _verdict(each: Installed, happened: Happened) -> ModelVerdict:
    return ModelVerdict(
        model=each.model,
        version=each.version,
        digest=each.digest,
        reason=happened.reason.value if happened.reason is not None else None,
        detail=happened.detail[:MAX_DETAIL],
        evidence=happened.evidence,
    )
