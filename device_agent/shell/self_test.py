"""The self-test: a child process loads and runs the candidate; the core judges its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.core.deployment import Happened
from device_agent.core.states import EventType
from device_agent.protocol.manifest import Manifest, Variant
from device_agent.protocol.reasons import Reason
from device_agent.shell.blobs import blob_path
from device_agent.shell.packages import Host

if TYPE_CHECKING:
    from device_agent.core.self_test import SelfTestBar
    from device_agent.runtimes.probe_report import ProbeReport


class SelfTest:
    """A running self-test. The loop looks at it with ``poll`` and never waits for it."""

    def __init__(
        self,
        *,
        host: Host,
        manifest: Manifest,
        variant: Variant,
        parent: Variant | None,
    ) -> None:
        """Start the child.

        Args:
            host: this device; after its time for self-tests the child is killed and the
                candidate refused.
            manifest: the candidate's manifest.
            variant: its variant for this device.
            parent: what serves now; its labelled golden rows are held against the candidate.

        Raises:
            ModelRefused: ``storage_failed``, the system gives no process.
        """
        from device_agent.core.self_test import SelfTestBar  # here: few starts install anything
        from device_agent.runtimes.probe_report import ProbeSpec

        self._variant = variant
        self._bar = SelfTestBar(
            tolerance=variant.tolerance,
            waived=manifest.is_waived("golden"),
            min_accuracy=manifest.min_accuracy,
            parent_accuracy=parent.golden_accuracy if parent is not None else None,
            budget=variant.budget,
        )
        spec = ProbeSpec(
            runtime=variant.runtime,
            artifact=str(host.root / blob_path(variant.artifact.ref.digest)),
            golden=_golden_path(host.root, variant),
            parent_golden=_golden_path(host.root, parent) if parent is not None else None,
            scores=variant.scores,
            preprocessing=manifest.preprocessing,
            thresholds=manifest.thresholds,
            threads=host.threads,
            memory_mib=host.self_test_memory_mib,
        )
        self._probe = host.machine.start_probe(spec, host.self_test_timeout_s)

    def poll(self) -> Happened | None:
        """Return what came of it, None while the child runs."""
        report = self._probe.poll()
        return None if report is None else _judge(report, self._variant, self._bar)

    def kill(self) -> None:
        """End the child."""
        self._probe.kill()


def _golden_path(root: Path, variant: Variant) -> str | None:
    return str(root / blob_path(variant.golden.ref.digest)) if variant.golden else None


def _judge(report: ProbeReport, variant: Variant, bar: SelfTestBar) -> Happened:
    from device_agent.core.self_test import SelfTestFacts, judge

    if report.reason is not None:
        return Happened(type=EventType.REFUSED, reason=report.reason, detail=report.cause)
    if (report.inputs, report.outputs) != (variant.inputs, variant.outputs):
        return Happened(
            type=EventType.REFUSED,
            reason=Reason.MALFORMED_MANIFEST,
            detail="the manifest describes other inputs or outputs than the model has",
        )
    facts = SelfTestFacts(
        nonfinite=report.nonfinite,
        max_abs_difference=report.max_abs_difference,
        label_mismatches=report.label_mismatches,
        accuracy=report.accuracy,
        parent_accuracy=report.parent_accuracy,
        latency_ms_p95=report.latency_ms_p95,
        memory_mib=report.memory_mib,
    )
    return judge(facts, bar)
