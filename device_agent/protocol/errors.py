"""Every error of the agent wheel, grouped by what the caller can do.

::

    AgentError
    ├── ProtocolError        fix the input: a document or chunk is not what the protocol says
    ├── NotTrusted           not trusted: signature, key, device or generation is wrong
    ├── NoModel              day zero: the device has no working model of that name yet
    ├── BadInput             fix the input: the row does not fit the model
    ├── InferenceFailed      the model failed on this row; the device goes on
    ├── ModelRefused         the device refused a model, with a ``Reason``
    ├── StateFolderBusy      another agent runs on this state folder
    ├── WrongStateFolder     the state folder belongs to another device
    ├── StorageFailed        try later: the disk said no (full, read-only, broken)
    ├── RuntimeMissing       install an extra: the runtime of the model is not there
    └── NotEnrolled          fix the input: no enrolment file and no identity in the folder

Each error says the cause in one line (``str(error)``) and the next step in another.
"""

from __future__ import annotations

from device_agent.protocol.reasons import Reason


class AgentError(Exception):
    """An error with its cause in one line and the next step in another."""

    def __init__(self, cause: str, *, next_step: str = "") -> None:
        """Keep the cause as the message and the next step beside it."""
        super().__init__(cause)
        self.next_step = next_step


class ProtocolError(AgentError):
    """A document or chunk is not what the protocol says; ``str`` names the field."""


class NotTrusted(AgentError):
    """A signature, key, device or generation is not the one that may order this."""

    def __init__(self, reason: Reason, cause: str, *, next_step: str = "") -> None:
        """Keep the reason code that the device reports."""
        super().__init__(cause, next_step=next_step)
        self.reason = reason


class NoModel(AgentError):
    """The device has no working model of that name (yet)."""


class BadInput(AgentError):
    """The row given to ``infer`` does not fit the model's input."""


class InferenceFailed(AgentError):
    """The runtime failed on this row; the model stays loaded."""


class ModelRefused(AgentError):
    """The device refuses a model; ``reason`` is from the closed list."""

    def __init__(self, reason: Reason, cause: str, *, next_step: str = "") -> None:
        """Keep the reason code that the device reports."""
        super().__init__(cause, next_step=next_step)
        self.reason = reason


class StateFolderBusy(AgentError):
    """Another agent holds the lock of this state folder."""


class WrongStateFolder(AgentError):
    """The state folder belongs to another device than the enrolment names."""


class StorageFailed(AgentError):
    """The disk refused a write, or a file that should be there cannot be read."""

    def __init__(self, reason: Reason, cause: str, *, next_step: str = "") -> None:
        """Keep the reason code: ``disk_full`` or ``storage_failed``."""
        super().__init__(cause, next_step=next_step)
        self.reason = reason


class RuntimeMissing(AgentError):
    """The package of a runtime is not installed; ``next_step`` names the extra."""


class NotEnrolled(AgentError):
    """There is neither an enrolment file nor an identity in the state folder."""
