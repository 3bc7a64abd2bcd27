"""What goes wrong with an OCI registry.

::

    EdgeopsError
    ├── RegistryUnreachable  try later: it does not answer, or says that it cannot now
    └── RegistryRefused      it answered, and not with what the distribution API says

Beside them the shared ones: ``NotFound``, ``NotAuthorized`` (no password, or a wrong one),
``Forbidden`` (the user may not), ``NotTrusted`` (other bytes than were asked for).
"""

from __future__ import annotations

from edgeops.domain.errors import EdgeopsError


class RegistryUnreachable(EdgeopsError):
    """The OCI registry does not answer, or is overloaded."""


class RegistryRefused(EdgeopsError):
    """The OCI registry answered something that the distribution API does not know."""
