"""What can go wrong with the managed broker.

EdgeopsError
└── BrokerError
    ├── BrokerUnavailable     no broker here that can do what was asked
    ├── BrokerPortInUse       another program listens on the port
    ├── BrokerHomeInUse       another running hub has its broker in this folder
    ├── BrokerHomeUnusable    the broker's folder cannot be written
    ├── BrokerStartFailed     it was started and did not answer
    └── BrokerAccountRefused  a username that could widen or break the access rules
"""

from edgeops.domain.errors import EdgeopsError


class BrokerError(EdgeopsError):
    """Anything that the managed broker refuses or fails at."""


class BrokerUnavailable(BrokerError):
    """No broker is installed that can do what was asked."""


class BrokerPortInUse(BrokerError):
    """Another program already listens on the broker's port."""


class BrokerHomeInUse(BrokerError):
    """Another running process has its broker in this folder."""


class BrokerHomeUnusable(BrokerError):
    """The broker's folder cannot be created or written."""


class BrokerStartFailed(BrokerError):
    """The broker ended or did not answer in time; the cause ends with its last log lines."""


class BrokerAccountRefused(BrokerError):
    """A username or hash that must not be written into the broker's password file."""
