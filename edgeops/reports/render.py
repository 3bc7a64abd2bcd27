"""The public door: facts in, HTML out."""

from __future__ import annotations

import importlib

from edgeops.reports.errors import ReportToolsMissing
from edgeops.reports.facts import ReportFacts


def render(facts: ReportFacts) -> str:
    """Return the report as one HTML document that needs nothing else.

    No script, no font, no picture from elsewhere: it can be mailed, printed and kept. Every text
    in the facts is escaped. Equal facts give an equal document, with the same matplotlib.

    Raises:
        ReportToolsMissing: jinja2 or matplotlib is not installed.
    """
    for tool in ("jinja2", "matplotlib"):
        try:
            importlib.import_module(tool)
        except ImportError as error:
            raise ReportToolsMissing(
                f"{tool} is not installed, and reports need it",
                next_step="pip install 'edgeops[reports]'",
            ) from error
    from edgeops.reports.page import write  # after the check: it imports both

    return write(facts)
