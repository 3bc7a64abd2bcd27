"""Reports: one model's life in a fleet, or one package, as one page of HTML. Facts in, text out.

Importing this room imports neither jinja2 nor matplotlib: ``render`` and ``render_package`` do.
"""

from edgeops.reports.render import render, render_package

__all__ = ["render", "render_package"]
