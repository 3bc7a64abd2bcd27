"""Errors of conversions, below ``EdgeopsError``.

::

    EdgeopsError
    ├── ConverterMissing   install the extra that the next step names
    └── ConversionFailed   a converter crashed, hung, or did not do what the recipe promises
"""

from __future__ import annotations

from edgeops.domain.errors import EdgeopsError


class ConverterMissing(EdgeopsError):
    """A package that this conversion needs is not installed."""


class ConversionFailed(EdgeopsError):
    """No artifact came out, or one that is not what the recipe promises."""
