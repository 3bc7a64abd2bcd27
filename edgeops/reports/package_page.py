"""The page of a package: chapters in their order; those that have nothing to tell are left out."""

from __future__ import annotations

from collections.abc import Callable

from edgeops.reports.document import Section
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.package_chapters.errors import errors
from edgeops.reports.package_chapters.graph import graph
from edgeops.reports.package_chapters.memory import memory
from edgeops.reports.package_chapters.operators import operators
from edgeops.reports.package_chapters.origin import origin
from edgeops.reports.package_chapters.quantization import quantization
from edgeops.reports.package_chapters.search import search
from edgeops.reports.package_chapters.sensitivity import sensitivity
from edgeops.reports.package_chapters.summary import summary
from edgeops.reports.package_facts import PackageFacts
from edgeops.reports.template import shown

CHAPTERS: tuple[Callable[[PackageFacts, Canvas], Section | None], ...] = (
    summary,
    quantization,
    search,
    sensitivity,
    errors,
    memory,
    operators,
    graph,
    origin,
)


def write(facts: PackageFacts) -> str:
    """Return the document."""
    canvas = Canvas()
    sections = [chapter(facts, canvas) for chapter in CHAPTERS]
    return shown(
        title=f"{facts.model}:{facts.number}",
        above=f"Report on a package of the model {facts.model}",
        below=f"Digest {facts.digest[:26]}…, signature {facts.signature}.",
        sections=[each for each in sections if each is not None],
    )
