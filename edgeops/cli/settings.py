"""Where the command line finds things: the home folder, the hub, the token."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from edgeops.client import Client
from edgeops.domain.errors import NotFound

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the global options and the environment say."""

    home: Path
    hub: str | None
    token: str | None

    @property
    def keys(self) -> Path:
        """The key folder."""
        return self.home / "keys"

    def hub_url(self) -> str | None:
        """Return the hub's address: ``--hub``, ``EDGEOPS_HUB``, or the home folder's hub."""
        if self.hub:
            return self.hub
        try:
            url = json.loads((self.home / "hub.json").read_text())["url"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(url)

    def token_text(self) -> str:
        """Return the token: ``--token``, ``EDGEOPS_TOKEN``, or the home folder's."""
        if self.token:
            return self.token
        try:
            return (self.home / "token").read_text().strip()
        except OSError:
            return ""

    def client(self) -> Client:
        """Return a client of the hub.

        Raises:
            NotFound: nothing says where the hub is.
        """
        url = self.hub_url()
        if url is None:
            raise NotFound(
                f"no hub is known ({self.home}/hub.json does not exist)",
                next_step="start one with: edgeops up, or name it with --hub URL",
            )
        return Client(url, token=self.token_text())


def default_home() -> Path:
    """Return ``EDGEOPS_HOME`` or ``~/.edgeops``."""
    return Path(os.environ.get("EDGEOPS_HOME") or Path.home() / ".edgeops")
