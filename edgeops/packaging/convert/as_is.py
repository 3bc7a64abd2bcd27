"""Looking at a file that is packaged as it is: in a child, with bounds, before anything runs it.

Its bytes stay what they are. What would be refused of a model to convert is refused here too.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert import tools
from edgeops.packaging.convert.errors import ConverterMissing
from edgeops.packaging.convert.job import Job, Task
from edgeops.packaging.convert.process import Limits, run_job
from edgeops.packaging.convert.source import Source, SourceKind
from edgeops.packaging.recipes import RECIPES

LIMITS = Limits(timeout_s=120.0, memory_mib=4096)


def check_as_is(source: Source, progress: Callable[[str], None], limits: Limits = LIMITS) -> None:
    """Refuse an artifact that is hostile, damaged, or that no device could run.

    Args:
        source: of a kind that is an artifact.
        progress: told if the packages that look into it are missing.
        limits: time and memory.

    Raises:
        InvalidModel: what is wrong, and the remedy.
        ConversionFailed: looking at it crashed, hung or took too much memory.
        StoreFailed: the system gives no process.
    """
    form = source.kind.value
    try:
        tools.versions(tools.CHECKING[form], f"a look into {source.path}")
    except ConverterMissing as error:
        progress(f"warning: {source.path} is not looked into: {error} ({error.next_step})")
        return
    job = Job(
        task=Task.CHECK,
        source=str(source.path.absolute()),
        digest=source.digest,
        kind=source.kind,
        target="",
        recipe=RECIPES[f"{form}-float32"],
        calibration=None,
        trust_code=False,
        memory_mib=limits.memory_mib,
    )
    try:
        run_job(job, limits)
    except InvalidModel as error:
        raise InvalidModel(f"{source.path}: {error}", next_step=error.next_step) from error


def try_out(data: bytes, kind: SourceKind) -> None:
    """Look at an artifact, and run it once on zeros; in the child only.

    Raises:
        InvalidModel: what is wrong.
    """
    if kind is SourceKind.TFLITE:
        from edgeops.packaging.convert.tflite_checks import checked

        checked(data)
    else:
        from edgeops.packaging.convert.onnx_file import parse
        from edgeops.packaging.convert.onnx_float import run_once

        parse(data)
        run_once(data)
