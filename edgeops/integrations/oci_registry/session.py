"""HTTP with an OCI registry: one request at a time, asked again where that helps.

What every request goes through, in this order:

1. An address that the registry named (an upload, a redirect, a token's realm) is HTTP only if
   the registry is; HTTPS is never left.
2. The registry's own host alone is told who we are, and only after it asked (401). A token is
   fetched from the realm that it named; to other hosts go requests without a word of it.
3. 429, 5xx and broken connections are tried again, a few times, with growing pauses.
4. An answer is read as it is on the wire (no compression), to its bound and within its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import httpx

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from edgeops import __version__
from edgeops.domain.errors import EdgeopsError, Forbidden, InvalidInput, NotAuthorized, NotFound
from edgeops.integrations.oci_registry.address import Address
from edgeops.integrations.oci_registry.challenge import parse_challenges, wanted_scopes
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.errors import RegistryRefused, RegistryUnreachable
from edgeops.integrations.oci_registry.limits import RegistryLimits

T = TypeVar("T")
LATER = frozenset({429, 500, 502, 503, 504})
"""Answers after which the same request may work."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SHOWN = 300
_HEADERS = {"user-agent": f"edgeops/{__version__}", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request.

    Attributes:
        method: of HTTP.
        url: whole address.
        expected: the answers that are no error.
        headers: beside those that every request has.
        body: makes the bytes anew for each try; None sends none.
        follows: whether a redirect is followed.
    """

    method: str
    url: str
    expected: tuple[int, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Iterable[bytes]] | None = None
    follows: bool = False


class Session:
    """Talks to one repository of one OCI registry. Not thread-safe."""

    def __init__(
        self,
        address: Address,
        *,
        actions: str,
        credentials: Credentials,
        plain_http: bool,
        limits: RegistryLimits,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep what is needed; nothing is sent yet.

        Args:
            address: the repository.
            actions: what a token must allow: ``pull`` or ``pull,push``.
            credentials: told when the registry asks.
            plain_http: speak HTTP; on this machine that is always so.
            limits: bounds.
            say: takes a line for people.
            sleep: waits, in seconds.
        """
        self.address, self.limits, self.say = address, limits, say
        self._actions, self._credentials, self._sleep = actions, credentials, sleep
        self._scheme = "http" if plain_http or address.is_local else "https"
        self._home = _home(self._scheme, address)
        self._authorization = ""
        self._http = httpx.Client(headers=_HEADERS, timeout=limits.timeout_s)

    def __enter__(self) -> Session:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http.close()

    def url(self, path: str) -> str:
        """Return the address of something in the repository, e.g. ``blobs/uploads/``."""
        return f"{self._home}/v2/{self.address.repository}/{path}"

    def patiently(self, act: Callable[[], T]) -> T:
        """Return what ``act`` returns, trying again what may work later.

        Raises:
            RegistryUnreachable: not even the last try worked.
        """
        attempt = 1
        while True:
            try:
                return act()
            except _Later as later:
                if attempt == self.limits.attempts:
                    raise RegistryUnreachable(
                        f"{later} ({attempt} tries)",
                        next_step="check the address and the network, then try again",
                    ) from later
                pause_s = self.limits.pause_s(attempt, later.asked)
                self.say(f"{later}; trying again in {pause_s:g} s")
                self._sleep(pause_s)
                attempt += 1

    def once(self, ask: Ask, read: Callable[[httpx.Response], T]) -> T:
        """Send a request and return what ``read`` makes of an expected answer.

        Raises:
            EdgeopsError: NotFound, NotAuthorized, Forbidden or RegistryRefused.
        """
        url, hops, asked_who = ask.url, 0, False
        while True:
            with self._answer(ask, url) as response:
                if response.status_code == 401 and self._is_home(response.url) and not asked_who:
                    self._introduce(response)
                    asked_who = True
                    continue
                if ask.follows and response.status_code in REDIRECTS:
                    url, hops = self.named(response), hops + 1
                    if hops > self.limits.max_redirects:
                        raise RegistryRefused(f"{self._who} redirects without end ({hops} times)")
                    continue
                if response.status_code not in ask.expected:
                    raise self._refusal(response)
                found = read(response)
                if not response.is_stream_consumed:
                    self.body(response)  # read to its end, so that the connection is kept
                return found

    def named(self, response: httpx.Response) -> str:
        """Return the address that an answer names in ``Location``.

        Raises:
            RegistryRefused: none, or one that must not be followed.
        """
        location = response.headers.get("location", "")
        if not location:
            raise RegistryRefused(f"{self._who} does not say where to go on (no Location)")
        return self.joined(response, location)

    def joined(self, response: httpx.Response, address: str) -> str:
        """Return an address that an answer names, which may be relative to what was asked.

        Raises:
            RegistryRefused: it must not be followed.
        """
        try:
            url = response.url.join(address.partition("#")[0])
        except (httpx.InvalidURL, ValueError) as error:
            raise RegistryRefused(f"{self._who} names no address: {error}") from error
        return self._checked(url)

    def body(self, response: httpx.Response) -> bytes:
        """Return a small body.

        Raises:
            RegistryRefused: it is larger than the bound.
        """
        return b"".join(self.stream(response, self.limits.max_body_bytes))

    def stream(self, response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
        """Yield a body as it is on the wire.

        Raises:
            RegistryRefused: more than ``max_bytes``, compressed, or far too slow.
        """
        if response.headers.get("content-encoding", "identity") != "identity":
            raise RegistryRefused(f"{self._who} sends compressed what was asked for as it is")
        end_s = time.monotonic() + self.limits.patience_s(max_bytes)
        count = 0
        for piece in response.iter_raw():
            count += len(piece)
            if count > max_bytes:
                raise RegistryRefused(f"{self._who} sends more than {max_bytes} bytes")
            if time.monotonic() > end_s:
                raise RegistryRefused(f"{self._who} sends too slowly: {count} bytes until now")
            yield piece

    @property
    def _who(self) -> str:
        return f"the registry {self.address.host}"

    @contextmanager
    def _answer(self, ask: Ask, url: str, **options: Any) -> Iterator[httpx.Response]:
        """Send once. What may work later is a ``_Later``."""
        headers = dict(ask.headers)
        try:
            if self._authorization and self._is_home(httpx.URL(url)):
                headers.setdefault("authorization", self._authorization)
            content = ask.body() if ask.body is not None else None
            with self._http.stream(
                ask.method, url, headers=headers, content=content, **options
            ) as response:
                if response.status_code in LATER:
                    raise _Later(
                        f"{self._who} answered {response.status_code}",
                        asked=response.headers.get("retry-after", ""),
                    )
                yield response
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise _Later(f"{self._who} cannot be reached: {why}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RegistryRefused(f"{self._who} cannot be asked: {error}") from error

    def _is_home(self, url: httpx.URL) -> bool:
        """Tell whether an address is the registry's own: scheme, host and port."""
        return _origin(url) == _origin(self._home)

    def _checked(self, url: httpx.URL) -> str:
        allowed = ("https", "http") if self._scheme == "http" else ("https",)
        if url.scheme not in allowed or not url.host or url.userinfo:
            raise RegistryRefused(
                f"{self._who} sends us to {str(url)[:SHOWN]!r}, which is not {allowed[0]}",
                next_step="its own address is set up wrongly, if it is behind a proxy",
            )
        return str(url)

    # ---- who we are

    def _introduce(self, response: httpx.Response) -> None:
        """Prepare to say who we are, in the way that a 401 asks for.

        Raises:
            NotAuthorized: there is nothing to say, or it was said and is not enough.
        """
        asked = {
            each.scheme: each.parameters
            for each in parse_challenges(response.headers.get_list("www-authenticate"))
        }
        if "bearer" in asked:
            self._authorization = f"Bearer {self._token(asked['bearer'])}"
        elif "basic" in asked and self._credentials:
            self._authorization = self._credentials.basic()
        else:
            raise self._unknown(f"{self._who} asks for a user and a password")

    def _token(self, asked: Mapping[str, str]) -> str:
        scopes = wanted_scopes(asked.get("scope", ""), self.address.repository, self._actions)
        query = {"service": asked.get("service", ""), "scope": scopes}
        try:
            realm = httpx.URL(asked.get("realm", "")).copy_merge_params(query)
        except (httpx.InvalidURL, ValueError) as error:
            raise RegistryRefused(f"{self._who} names no address for tokens: {error}") from error
        headers = {"authorization": self._credentials.basic()} if self._credentials else {}
        ask = Ask(method="GET", url=self._checked(realm), expected=(200,), headers=headers)
        with self._answer(ask, ask.url) as response:
            if response.status_code in (401, 403):
                raise self._unknown(f"{realm.host} gives no token for {self.address.repository}")
            if response.status_code != 200:
                raise RegistryRefused(f"{realm.host} answered {response.status_code} for a token")
            return self._token_in(self.body(response))

    def _token_in(self, data: bytes) -> str:
        try:
            document = decode(data, max_bytes=self.limits.max_body_bytes)
        except ProtocolError as error:
            raise RegistryRefused(f"{self._who}: its token is none: {error}") from error
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryRefused(f"{self._who}: its token is none")
        return token

    def _unknown(self, cause: str) -> NotAuthorized:
        hint = f" ({self._credentials.hint})" if self._credentials.hint else ""
        if self._credentials:
            return NotAuthorized(
                f"{cause}: not for user {self._credentials.username!r} with this password",
                next_step="check them, and what this user may do there",
            )
        return NotAuthorized(
            f"{cause}{hint}", next_step="give --username and --password-stdin, or docker login"
        )

    def _refusal(self, response: httpx.Response) -> EdgeopsError:
        code, url = response.status_code, response.url
        said = self._complaint(response)
        cause = f"{url.host} answered {code} to {response.request.method} {url.path}{said}"
        if code == 401:
            return self._unknown(cause)
        if code == 403:
            return Forbidden(cause, next_step="ask who runs the registry for the right")
        if code == 404:
            return NotFound(cause, next_step="check the repository and the tag")
        return RegistryRefused(cause, next_step="is this the address of an OCI registry?")

    def _complaint(self, response: httpx.Response) -> str:
        """Return what the registry says of an error, in one line of bounded length."""
        try:
            first = decode(self.body(response), max_bytes=self.limits.max_body_bytes)["errors"][0]
            text = f": {first.get('code', '')} {first.get('message', '')}"
        except (EdgeopsError, ProtocolError, LookupError, TypeError, AttributeError):
            return ""
        return " ".join(text.split())[:SHOWN]


class _Later(Exception):
    """What may work later.

    Attributes:
        asked: the pause that the registry asked for: its Retry-After.
    """

    def __init__(self, cause: str, *, asked: str = "") -> None:
        super().__init__(cause)
        self.asked = asked


def _home(scheme: str, address: Address) -> httpx.URL:
    try:
        return httpx.URL(f"{scheme}://{address.host}")
    except httpx.InvalidURL as error:
        raise InvalidInput(
            f"{address.host!r} is no host: {error}", next_step="check the address"
        ) from error


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, port
