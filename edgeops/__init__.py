"""edgeops: the edge half of MLOps.

Packages, verifies and signs models, brings them to fleets of devices in gated rollouts, and
watches what they do there. See ``docs/architecture.md`` for the house and its rooms.
"""

from device_agent import __version__

__all__ = ["__version__"]
