"""The errors of this room.

::

    EdgeopsError
    └── ReportToolsMissing   install the extra: jinja2 or matplotlib is not there
"""

from edgeops.domain.errors import EdgeopsError


class ReportToolsMissing(EdgeopsError):
    """What a report is written and drawn with is not installed."""
