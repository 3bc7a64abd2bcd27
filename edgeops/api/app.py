"""The application: its routes, its errors, its OpenAPI description."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from device_agent.protocol.errors import AgentError
from edgeops import __version__
from edgeops.api import (
    access,
    commands,
    drift,
    fleet,
    gate,
    packages,
    reports,
    retraining,
    rollouts,
)
from edgeops.domain.errors import EdgeopsError
from edgeops.hub.process import Hub


def create_app(hub: Hub) -> FastAPI:
    """Return the API of a running hub."""
    app = FastAPI(
        title="edgeops hub",
        version=__version__,
        description="Package, roll out and watch models on edge devices.",
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.hub = hub
    app.add_exception_handler(EdgeopsError, gate.answer_error)
    app.add_exception_handler(AgentError, gate.answer_error)
    app.add_exception_handler(RequestValidationError, gate.answer_invalid)
    for room in (access, packages, fleet, commands, rollouts, drift, reports, retraining):
        app.include_router(room.router)
    return app
