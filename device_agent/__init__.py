"""edgeops device agent: keeps one working model of each kind on a device, come what may.

The public surface is small: ``Agent`` (start, ``infer``, ``report_label``, stop) and the
values that it returns. Everything else is a room of the house described in
``docs/architecture.md``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from device_agent.monitor.samples import SampleOptions
    from device_agent.protocol.errors import AgentError, BadInput, InferenceFailed, NoModel
    from device_agent.serving.api import Agent
    from device_agent.shell.options import AgentOptions
    from device_agent.shell.prediction import Prediction
    from device_agent.shell.supervisor import Supervisor

__all__ = [
    "Agent",
    "AgentError",
    "AgentOptions",
    "BadInput",
    "InferenceFailed",
    "NoModel",
    "Prediction",
    "SampleOptions",
    "Supervisor",
    "__version__",
]

_PUBLIC = {
    "Agent": "device_agent.serving.api",
    "AgentError": "device_agent.protocol.errors",
    "AgentOptions": "device_agent.shell.options",
    "BadInput": "device_agent.protocol.errors",
    "InferenceFailed": "device_agent.protocol.errors",
    "NoModel": "device_agent.protocol.errors",
    "Prediction": "device_agent.shell.prediction",
    "SampleOptions": "device_agent.monitor.samples",
    "Supervisor": "device_agent.shell.supervisor",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that reading the version costs nothing."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'device_agent' has no attribute {name!r}")
