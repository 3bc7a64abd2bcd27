"""A job is read like anything else that comes from outside."""

from __future__ import annotations

import pytest

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import digest_of
from edgeops.packaging.convert.job import MAX_JOB_BYTES, Job, Task
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.recipes import RECIPES

JOB = Job(
    task=Task.EXAMINE,
    source="/model.tflite",
    digest=digest_of(b""),
    kind=SourceKind.TFLITE,
    target="/anatomy.json",
    recipe=RECIPES["tflite-float32"],
    calibration=None,
    trust_code=False,
    memory_mib=1024,
)


def test_a_job_comes_back_as_it_was() -> None:
    assert Job.from_bytes(JOB.to_bytes()) == JOB


@pytest.mark.parametrize("key", ["task", "kind"])
def test_a_task_or_kind_that_nobody_knows_is_named(key: str) -> None:
    document = decode(JOB.to_bytes(), max_bytes=MAX_JOB_BYTES)
    with pytest.raises(ProtocolError, match=rf"job\.{key}: 'dance'"):
        Job.from_bytes(encode({**document, key: "dance"}))
