"""The errors that the rooms of the control plane share, grouped by what the caller can do.

::

    EdgeopsError
    ├── InvalidInput         fix the input: a name, a number or a combination that cannot be
    │   ├── InvalidModel     … a model file that cannot be packaged
    │   ├── InvalidGolden    … golden rows that do not fit, or are no rows
    │   └── InvalidPackage   … a folder that holds no (whole) package
    ├── NotFound             fix the input: there is no such thing; the next step lists what is
    │   └── UnknownProfile   … no class of board of that id
    ├── GateFailed           the evidence is not good enough: another model, or a waiver
    ├── NotTrusted           not trusted: a signature or digest is missing, foreign or wrong
    ├── Conflict             state moved, read again: it exists already, or another was first
    ├── NotAuthorized        not trusted: no token, a wrong one, or one that has expired
    ├── Forbidden            not trusted: the token is good, its role may not do this
    ├── AuditBroken          not trusted: the audit's chain was edited outside this program
    ├── MigrationNeeded      update: database and program are of different versions
    ├── HubUnreachable       try later: nothing that speaks the hub's API answers
    └── StoreFailed          try later: disk or database said no (full, locked, broken)

A room with errors of its own keeps them in its ``errors`` module, below ``EdgeopsError``.
"""


class EdgeopsError(Exception):
    """An error that a person can act on.

    `str(error)` is the cause in one line, `next_step` says in one line what to do.
    """

    def __init__(self, cause: str, *, next_step: str = "") -> None:
        """Keep the cause as the message and the next step beside it."""
        super().__init__(cause)
        self.next_step = next_step


class InvalidInput(EdgeopsError):
    """What was given cannot be right, whatever the state is."""


class InvalidModel(InvalidInput):
    """A model file is empty, damaged, of another kind, or fits no profile."""


class InvalidGolden(InvalidInput):
    """The golden rows cannot be read, or are not for this model."""


class InvalidPackage(InvalidInput):
    """A folder is no OCI layout, or its package is not whole."""


class NotFound(EdgeopsError):
    """There is nothing under that name."""


class UnknownProfile(NotFound):
    """No profile file on the search path has that id."""


class GateFailed(EdgeopsError):
    """The measured evidence misses a gate that nobody waived."""


class NotTrusted(EdgeopsError):
    """Bytes are not what a trusted key signed."""


class Conflict(EdgeopsError):
    """The state is not the one that the caller read: read it again, then decide."""


class NotAuthorized(EdgeopsError):
    """The token is missing, unknown, revoked or expired."""


class Forbidden(EdgeopsError):
    """The token is good, but its role does not include this act."""


class AuditBroken(EdgeopsError):
    """The audit log is not the one that this program wrote."""


class MigrationNeeded(EdgeopsError):
    """The database has another schema version than this program."""


class HubUnreachable(EdgeopsError):
    """Nothing that speaks the hub's API answers at that address."""


class StoreFailed(EdgeopsError):
    """The disk or the database refused; nothing was half-written."""
