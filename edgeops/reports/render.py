"""The public doors: facts in, HTML out."""

from __future__ import annotations

import importlib

from edgeops.reports.errors import ReportToolsMissing
from edgeops.reports.facts import ReportFacts
from edgeops.reports.package_facts import PackageFacts


def render(facts: ReportFacts) -> str:
    """Return the report on a model's life as one HTML document that needs nothing else.

    No script, no font, no picture from elsewhere: it can be mailed, printed and kept. Every text
    in the facts is escaped. Equal facts give an equal document, with the same matplotlib.

    Raises:
        ReportToolsMissing: jinja2 or matplotlib is not installed.
    """
    _check_tools()
    from edgeops.reports.page import write  # after the check: it imports both

    return write(facts)


def render_package(facts: PackageFacts) -> str:
    """Return the report on one package, a document as ``render`` gives it.

    Raises:
        ReportToolsMissing: jinja2 or matplotlib is not installed.
    """
    _check_tools()
    from edgeops.reports.package_page import write  # after the check: it imports both

    return write(facts)


def _check_tools() -> None:
    for tool in ("jinja2", "matplotlib"):
        try:
            importlib.import_module(tool)
        except ImportError as error:
            raise ReportToolsMissing(
                f"{tool} is not installed, and reports need it",
                next_step="pip install 'edgeops[reports]'",
            ) from error
