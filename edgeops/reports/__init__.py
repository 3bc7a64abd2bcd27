"""Reports: one model's life in a fleet as one page of HTML. Facts in, text out; pure.

Importing this room imports neither jinja2 nor matplotlib: ``render`` does.
"""

from edgeops.reports.render import render

__all__ = ["render"]
