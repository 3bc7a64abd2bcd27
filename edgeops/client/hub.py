"""The client's calls, one for each route."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import Digest
from edgeops.client.answers import document_of, error_of, no_hub
from edgeops.domain import errors
from edgeops.domain.errors import HubUnreachable

Json = dict[str, Any]

TIMEOUT_S = 30.0
PATIENCE_S = 60.0
"""How long a hub that is being restarted is waited for."""
UPLOAD_TIMEOUT_S = 600.0
REPORT_TIMEOUT_S = 120.0
"""Thousands of windows are read for a report."""
ENDED = frozenset({"completed", "rolled_back", "aborted"})
NO_OUTCOME = frozenset({"waiting", "unanswered"})


class Client:
    """A connection to a hub. Not thread-safe; make one a thread."""

    def __init__(
        self, url: str, *, token: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        """Keep address and token; nothing is sent yet.

        Raises:
            InvalidInput: an address or a token that cannot be one.
        """
        self.url = url.rstrip("/")
        if not token.isascii() or not token.isprintable():
            raise errors.InvalidInput(
                "the token has characters that no token has",
                next_step="check --token, EDGEOPS_TOKEN or the home folder's token file",
            )
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=TIMEOUT_S, transport=transport
            )
        except httpx.InvalidURL as error:
            raise errors.InvalidInput(
                f"{self.url!r} is no address: {error}",
                next_step="write it as http://HOST:PORT",
            ) from error

    # ---- the hub

    def health(self) -> Json:
        """Return whether the hub works; needs no token."""
        return self._json("GET", "/healthz")

    def hub(self) -> Json:
        """Return the hub's state: broker, counters, versions."""
        return self._json("GET", "/v1/hub")

    def delivery(self) -> Json:
        """Return what was published of each blob since the hub started."""
        return self._json("GET", "/v1/delivery")

    def root(self) -> Json:
        """Return the root of trust."""
        return self._json("GET", "/v1/root")

    # ---- packages

    def has_blob(self, digest: Digest) -> bool:
        """Tell whether the hub has a blob."""
        return self._send("HEAD", f"/v1/blobs/{_q(digest)}", allow=(404,)).status_code == 200

    def put_blob(self, digest: Digest, data: bytes) -> None:
        """Upload a blob."""
        self._send("PUT", f"/v1/blobs/{_q(digest)}", content=data, timeout=UPLOAD_TIMEOUT_S)

    def get_blob(self, digest: str) -> bytes:
        """Download a blob."""
        path = f"/v1/blobs/{_q(digest)}"
        return self._send("GET", path, timeout=UPLOAD_TIMEOUT_S).content

    def publish(self, manifest: Digest, signature: Signature) -> Json:
        """Publish a package whose blobs were uploaded; return the version."""
        body = {"manifest": manifest, "signature": signature.to_document()}
        return self._json("POST", "/v1/versions", json=body)

    def models(self) -> list[Json]:
        """Return every model."""
        return self._list("GET", "/v1/models")

    def model(self, name: str) -> Json:
        """Return a model's versions and aliases."""
        return self._json("GET", f"/v1/models/{_q(name)}")

    def next_number(self, name: str) -> int:
        """Return the number that the next version of a model takes."""
        number = self._json("GET", f"/v1/models/{_q(name)}/next").get("version")
        if not isinstance(number, int):
            raise no_hub(self.url, "with no number")
        return number

    def version(self, reference: str) -> Json:
        """Return a version with its manifest."""
        return self._json("GET", f"/v1/versions/{_q(reference)}")

    def set_alias(
        self, model: str, alias: str, version: int, expected_revision: int | None = None
    ) -> Json:
        """Point an alias at a version."""
        body = {"version": version, "expected_revision": expected_revision}
        return self._json("PUT", f"/v1/models/{_q(model)}/aliases/{_q(alias)}", json=body)

    # ---- devices

    def enroll(self, name: str, profile: str, labels: Mapping[str, str] | None = None) -> Json:
        """Enroll a device; the answer's ``enrolment`` is the text of its file."""
        body = {"name": name, "profile": profile, "labels": dict(labels or {})}
        return self._json("POST", "/v1/devices", json=body)

    def devices(self, selector: str = "all") -> list[Json]:
        """Return the devices that a selector gives."""
        return self._list("GET", "/v1/devices", params={"selector": selector})

    def device(self, name: str) -> Json:
        """Return a device: desired, reported, and why it is not converged."""
        return self._json("GET", f"/v1/devices/{_q(name)}")

    def label(self, name: str, labels: list[str]) -> Json:
        """Set (``site=oslo``) and remove (``site=``) labels."""
        return self._json("PATCH", f"/v1/devices/{_q(name)}", json={"labels": labels})

    def remove_device(self, name: str) -> None:
        """Forget a device."""
        self._send("DELETE", f"/v1/devices/{_q(name)}")

    def give_command(self, name: str, kind: str, *, expires_in_s: float | None = None) -> Json:
        """Command a device: ``announce``, ``collect_logs``, ``restart`` or ``self_test``."""
        life: Json = {} if expires_in_s is None else {"expires_in_s": expires_in_s}
        return self._json("POST", f"/v1/devices/{_q(name)}/commands", json={"kind": kind, **life})

    def commands(self, name: str) -> list[Json]:
        """Return the newest commands of a device, newest first, without their logs."""
        return self._list("GET", f"/v1/devices/{_q(name)}/commands")

    def command(self, name: str, command_id: str) -> Json:
        """Return a command and everything that its device told of it."""
        return self._json("GET", f"/v1/devices/{_q(name)}/commands/{_q(command_id)}")

    def wait_for_command(
        self, name: str, command_id: str, *, timeout_s: float, interval_s: float = 0.2
    ) -> Json:
        """Wait for the outcome of a command; return it as ``command`` does.

        Raises:
            TimeoutError: it has none after ``timeout_s``.
        """
        end_s = time.monotonic() + timeout_s
        while (shown := self.command(name, command_id))["state"] in NO_OUTCOME:
            if time.monotonic() >= end_s:
                raise TimeoutError(f"{name} has told no outcome after {timeout_s:g} s")
            time.sleep(interval_s)
        return shown

    def telemetry(self, model: str, device: str | None = None, limit: int = 100) -> list[Json]:
        """Return the newest telemetry windows of a model."""
        params: dict[str, str | int] = {"limit": limit}
        if device is not None:
            params["device"] = device
        return self._list("GET", f"/v1/telemetry/{_q(model)}", params=params)

    # ---- rollouts

    def create_rollout(self, version: str, **options: Any) -> Json:
        """Begin a rollout; options are the fields of the route's body (selector, canary, …)."""
        return self._json("POST", "/v1/rollouts", json={"version": version, **options})

    def rollouts(self) -> list[Json]:
        """Return every rollout, oldest first."""
        return self._list("GET", "/v1/rollouts")

    def rollout(self, rollout: str) -> Json:
        """Return a rollout with its members."""
        return self._json("GET", f"/v1/rollouts/{_q(rollout)}")

    def steer(self, rollout: str, trigger: str, why: str = "") -> Json:
        """Pause, resume, abort or roll back (``rollback``) a rollout."""
        return self._json("POST", f"/v1/rollouts/{_q(rollout)}/{_q(trigger)}", json={"why": why})

    def watch_rollout(
        self, rollout: str, *, interval_s: float = 0.5, patience_s: float = PATIENCE_S
    ) -> Iterator[Json]:
        """Yield a rollout again and again until it has ended; the last one is the end.

        A hub that cannot be reached for ``patience_s`` at most (it is being restarted) is
        waited for.

        Raises:
            HubUnreachable: it stayed away longer.
        """
        lost_s: float | None = None
        while True:
            try:
                seen = self.rollout(rollout)
                lost_s = None
            except HubUnreachable:
                lost_s = lost_s if lost_s is not None else time.monotonic()
                if time.monotonic() - lost_s > patience_s:
                    raise
            else:
                yield seen
                if seen["state"] in ENDED:
                    return
            time.sleep(interval_s)

    def wait_for_rollout(
        self,
        rollout: str,
        *,
        timeout_s: float | None = None,
        on_change: Callable[[Json], None] | None = None,
    ) -> Json:
        """Return a rollout when it has ended.

        Raises:
            TimeoutError: it has not within ``timeout_s``.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        last: Json = {}
        patience_s = PATIENCE_S if timeout_s is None else min(PATIENCE_S, timeout_s)
        for last in self.watch_rollout(rollout, patience_s=patience_s):
            if on_change is not None:
                on_change(last)
            if last["state"] not in ENDED and end_s is not None and time.monotonic() > end_s:
                raise TimeoutError(f"rollout {rollout} is {last['state']} after {timeout_s:g} s")
        return last

    # ---- drift

    def alarms(self, *, only_open: bool = False) -> list[Json]:
        """Return the alarms, oldest first."""
        return self._list("GET", "/v1/alarms", params={"state": "open" if only_open else "all"})

    def alarm(self, alarm: str) -> Json:
        """Return one alarm: devices, cohort, features, since when."""
        return self._json("GET", f"/v1/alarms/{_q(alarm)}")

    def close_alarm(self, alarm: str, why: str = "") -> Json:
        """Close an alarm."""
        return self._json("POST", f"/v1/alarms/{_q(alarm)}/close", json={"why": why})

    def drift(self, reference: str) -> list[Json]:
        """Return how the devices of a version stand against its reference."""
        return self._list("GET", f"/v1/drift/{_q(reference)}")

    # ---- data sets and retraining

    def data(self) -> list[Json]:
        """Return every version of every data set."""
        return self._list("GET", "/v1/data")

    def data_set(self, reference: str) -> Json:
        """Return a version of a data set: ``rows:2``, or ``rows`` for the newest."""
        return self._json("GET", f"/v1/data/{_q(reference)}")

    def add_data(self, name: str, data: bytes, file: str = "") -> Json:
        """Add a version of a data set from an ``.npz``."""
        path = f"/v1/data/{_q(name)}"
        params = {"file": file}
        return self._json("PUT", path, content=data, params=params, timeout=UPLOAD_TIMEOUT_S)

    def add_samples(self, name: str, model: str) -> Json:
        """Add a version of a data set from the labelled samples of a model."""
        return self._json("POST", f"/v1/data/{_q(name)}", json={"samples": model})

    def samples(self, model: str) -> Json:
        """Return how many samples of a model the hub has."""
        return self._json("GET", f"/v1/samples/{_q(model)}")

    def set_retrain_policy(self, model: str, policy: Mapping[str, Any]) -> Json:
        """Set the retraining policy of a model."""
        return self._json("PUT", f"/v1/retrain-policies/{_q(model)}", json=dict(policy))

    def retrain_policy(self, model: str) -> Json:
        """Return the retraining policy of a model."""
        return self._json("GET", f"/v1/retrain-policies/{_q(model)}")

    def retrainings(self) -> list[Json]:
        """Return every retraining, oldest first."""
        return self._list("GET", "/v1/retrainings")

    def retraining(self, retraining: str) -> Json:
        """Return one retraining."""
        return self._json("GET", f"/v1/retrainings/{_q(retraining)}")

    def request_retraining(self, model: str, alarm: str = "") -> Json:
        """Ask for a retraining; its data are frozen now."""
        return self._json("POST", "/v1/retrainings", json={"model": model, "alarm": alarm})

    def move_retraining(self, retraining: str, step: str, found: Mapping[str, Any]) -> Json:
        """Take a step of a retraining, with what was found."""
        path = f"/v1/retrainings/{_q(retraining)}/{_q(step)}"
        return self._json("POST", path, json=dict(found))

    def report(self, model: str) -> Json:
        """Return the facts of a model's report, as ``edgeops.reports.exchange`` reads them."""
        return self._json("GET", f"/v1/models/{_q(model)}/report", timeout=REPORT_TIMEOUT_S)

    def lineage(self, reference: str) -> Json:
        """Return where a version comes from and where it went."""
        return self._json("GET", f"/v1/versions/{_q(reference)}/lineage")

    # ---- access

    def tokens(self) -> list[Json]:
        """Return every token, never its text."""
        return self._list("GET", "/v1/tokens")

    def create_token(self, name: str, role: str, days: float | None = None) -> Json:
        """Make a token; its text is in the answer's ``token``."""
        return self._json("POST", "/v1/tokens", json={"name": name, "role": role, "days": days})

    def revoke_token(self, token_id: str) -> None:
        """End a token."""
        self._send("DELETE", f"/v1/tokens/{_q(token_id)}")

    def audit(self, *, after: int = 0, limit: int = 100) -> list[Json]:
        """Return audit entries in order."""
        return self._list("GET", "/v1/audit", params={"after": after, "limit": limit})

    def verify_audit(self) -> Json:
        """Have the hub walk the audit's chain."""
        return self._json("GET", "/v1/audit/verify")

    # ---- plumbing

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _json(self, method: str, path: str, **options: Any) -> Json:
        document = document_of(self._send(method, path, **options))
        if not isinstance(document, dict):
            raise no_hub(self.url, "with no object")
        return document

    def _list(self, method: str, path: str, **options: Any) -> list[Json]:
        documents = document_of(self._send(method, path, **options))
        if not isinstance(documents, list):
            raise no_hub(self.url, "with no list")
        return documents

    def _send(
        self, method: str, path: str, *, allow: tuple[int, ...] = (), **options: Any
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HubUnreachable(
                f"no hub answers at {self.url}: {error}",
                next_step="start one with: edgeops up, or name it with --hub URL",
            ) from error
        except ValueError as error:
            raise errors.InvalidInput(
                f"this cannot be sent: {error}", next_step="use finite numbers and plain text"
            ) from error
        if response.is_success or response.status_code in allow:
            return response
        raise error_of(response)


def _q(name: str) -> str:
    """Quote a part of a path: a name never reaches into another route."""
    return quote(name, safe="")
