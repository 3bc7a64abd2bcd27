"""Which artifact is for which profiles, and in which order a device looks at them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from device_agent.protocol.manifest import FORMAT_OF_RUNTIME
from edgeops.domain.errors import InvalidModel
from edgeops.domain.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVariant:
    """One variant to make: an artifact run by ``runtime``, for ``profiles``."""

    runtime: str
    profiles: tuple[Profile, ...]

    @property
    def format(self) -> str:
        """The format of its artifact."""
        return FORMAT_OF_RUNTIME[self.runtime]


def plan_variants(
    profiles: Sequence[Profile], formats: Collection[str]
) -> tuple[PlannedVariant, ...]:
    """Plan the variants of a package.

    A device takes the first variant that names its profile and whose runtime it has. So for
    each profile the variants come in the order of its runtimes. Profiles share the variant of
    an artifact, unless their orders contradict each other: then the artifact has two.

    Args:
        profiles: the classes of board, each once.
        formats: those of which there is an artifact.

    Raises:
        InvalidModel: a profile runs none of them; the message names the format that it needs.
    """
    waiting = {profile: _runnable(profile, formats) for profile in profiles}
    planned: list[PlannedVariant] = []
    while any(waiting.values()):
        runtime = _next_runtime(list(waiting.values()))
        takers = tuple(each for each in profiles if waiting[each][:1] == [runtime])
        planned.append(PlannedVariant(runtime=runtime, profiles=takers))
        for taker in takers:
            waiting[taker] = waiting[taker][1:]
    return tuple(planned)


def _next_runtime(queues: Sequence[Sequence[str]]) -> str:
    """Return a runtime that is first wherever it still waits, or just the first one."""
    heads = [queue[0] for queue in queues if queue]
    for head in heads:
        if all(head not in queue[1:] for queue in queues):
            return head
    return heads[0]


def _runnable(profile: Profile, formats: Collection[str]) -> list[str]:
    runnable = [each for each in profile.runtimes if FORMAT_OF_RUNTIME[each] in formats]
    if not runnable:
        needs = " or ".join(f".{FORMAT_OF_RUNTIME[each]}" for each in profile.runtimes)
        raise InvalidModel(
            f"no file is for profile {profile.id}: it runs {', '.join(profile.runtimes)}",
            next_step=f"add a {needs} file of this model, or leave the profile out",
        )
    return runnable
