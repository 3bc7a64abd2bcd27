"""The template: sections under a heading, as one HTML document. Every page is shown by it."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeops.reports.document import Section
from edgeops.reports.wording import visible


def shown(*, title: str, above: str, below: str, sections: Sequence[Section]) -> str:
    """Return the document.

    Args:
        title: of the page.
        above: what kind of page it is, a line above the title.
        below: whose and when, a line below the title.
        sections: in their order; they are numbered.
    """
    template = Environment(
        loader=PackageLoader("edgeops.reports"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    return template.render(title=title, above=above, below=below, sections=sections)


def _visible(value: object) -> object:
    return visible(value) if type(value) is str else value
