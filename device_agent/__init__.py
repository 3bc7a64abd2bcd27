"""edgeops device agent: keeps one working model of each kind on a device, come what may.

The public surface is small: ``Agent`` (start, ``infer``, ``report_label``, stop) and the
values that it returns. Everything else is a room of the house described in
``docs/architecture.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from device_agent.serving.api import Agent
    from device_agent.serving.prediction import Prediction

__all__ = ["Agent", "Prediction", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that reading the version costs nothing."""
    if name == "Agent":
        from device_agent.serving.api import Agent

        return Agent
    if name == "Prediction":
        from device_agent.serving.prediction import Prediction

        return Prediction
    raise AttributeError(f"module 'device_agent' has no attribute {name!r}")
