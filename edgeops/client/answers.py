"""What a hub answers, told from what something else at its address does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from edgeops.domain import errors
from edgeops.domain.errors import EdgeopsError, HubUnreachable

_WITHOUT_BODY: Mapping[int, tuple[type[EdgeopsError], str]] = {
    401: (errors.NotAuthorized, "the token is missing, unknown, revoked or expired"),
    403: (errors.Forbidden, "the token's role may not do this"),
}
"""What the answer to a HEAD means, which has no body to say it."""


def error_of(response: httpx.Response) -> EdgeopsError:
    """Return the error that an answer tells of, as the kind that it was in the hub."""
    if response.request.method == "HEAD" and response.status_code in _WITHOUT_BODY:
        kind, cause = _WITHOUT_BODY[response.status_code]
        return kind(cause, next_step="ask an admin for a token: edgeops token create")
    try:
        body = response.json()["error"]
        kind = getattr(errors, str(body["type"]), EdgeopsError)
        cause, next_step = str(body["cause"]), str(body["next_step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return no_hub(str(response.request.url), str(response.status_code))
    if isinstance(kind, type) and issubclass(kind, EdgeopsError):
        return kind(cause, next_step=next_step)
    return EdgeopsError(cause, next_step=next_step)


def document_of(response: httpx.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        HubUnreachable: it is none.
    """
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        raise no_hub(str(response.request.url), "with no JSON") from error


def no_hub(url: str, answered: str) -> HubUnreachable:
    """Return the error for an address at which something else than a hub answers."""
    return HubUnreachable(
        f"{url} answered {answered} and not as a hub does",
        next_step="check --hub, EDGEOPS_HUB: is this address a hub's?",
    )
