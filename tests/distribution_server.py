"""An OCI registry for tests: the distribution API 1.1 as its specification says it, and strict.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

It refuses what a lenient registry lets pass: blobs whose bytes do not have the digest, uploads
that nobody began, a second use of one, manifests before their blobs, whoever has not said who he
is. It knows nothing of edgeops.

``DistributionServer.tamper`` makes it lie: it is shown each answer and may give another one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, quote, urlsplit

NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes.

    ``endless`` repeats the body for ever, ``drip_s`` pauses before each of its bytes, ``raw`` is
    sent as it is, instead.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: bool = False
    drip_s: float = 0.0
    raw: bytes = b""


Tamper = Callable[[Request, Answer], Answer]


@dataclass(kw_only=True)
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)


class DistributionServer:
    """A registry on a free port of this machine, in a thread.

    Attributes:
        user: (name, password) that it wants; None lets everybody in.
        auth: how it asks: ``basic`` or ``bearer``.
        location: how it names an upload: ``absolute``, ``relative`` or ``state`` (with a query).
        storage: the address of another server that it redirects to for blobs.
        page: tags on a page.
        requests: all that came.
        tokens: (scopes) of each token that it gave.
    """

    def __init__(
        self,
        *,
        user: tuple[str, str] | None = None,
        auth: str = "basic",
        location: str = "absolute",
        storage: str = "",
        page: int = 100,
        tamper: Tamper | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "",
    ) -> None:
        self.user, self.auth, self.location, self.storage = user, auth, location, storage
        self.page, self.tamper = page, tamper
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.tokens: dict[str, tuple[str, ...]] = {}
        self._lock, self._numbers = threading.Lock(), 0
        # 0.0.0.0 is this machine too, but not by a name that is taken for local.
        self._name = name or ("0.0.0.0" if tls else "127.0.0.1")
        self._scheme = "https" if tls else "http"
        self._http = _Quiet(("127.0.0.1", 0), _handler(self))
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> DistributionServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def host(self) -> str:
        return f"{self._name}:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def sent(self, method: str) -> list[str]:
        """Return the paths that were asked by a method, in order."""
        return [each.path for each in self.requests if each.method == method]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            answer = self._token(request) if request.path == "/token" else self._guarded(request)
        return self.tamper(request, answer) if self.tamper else answer

    # ---- who may

    def _guarded(self, request: Request) -> Answer:
        if self.user is None or self._may(request):
            return self._route(request)
        name = (re.match(rf"/v2/({NAME})/(?:blobs|manifests|tags)/", request.path) or [0, "?"])[1]
        action = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        asked = (
            'Basic realm="tests"'
            if self.auth == "basic"
            else f'Bearer realm="{self.url}/token",service="tests",'
            f'scope="repository:{name}:{action}"'
        )
        return _error(401, "UNAUTHORIZED", "who are you?", {"WWW-Authenticate": asked})

    def _may(self, request: Request) -> bool:
        if self.auth == "basic":
            return request.authorization == _basic(self.user)
        scopes = self.tokens.get(request.authorization.removeprefix("Bearer "), ())
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        return any(
            request.path.startswith(f"/v2/{scope.split(':')[1]}/")
            and action in scope.split(":")[2].split(",")
            for scope in scopes
        )

    def _token(self, request: Request) -> Answer:
        if request.authorization != _basic(self.user) or request.query.get("service") != "tests":
            return _error(401, "UNAUTHORIZED", "no such user")
        token = f"t{len(self.tokens)}"
        self.tokens[token] = tuple(request.query["scope"].split(" "))
        return Answer(status=200, body=json.dumps({"token": token}).encode())

    # ---- the specification's endpoints

    def _route(self, request: Request) -> Answer:
        if request.path in ("/v2", "/v2/"):
            return Answer(status=200, body=b"{}")
        for pattern, act in (
            (rf"/v2/({NAME})/blobs/uploads/", self._begin),
            (rf"/v2/({NAME})/blobs/uploads/([a-z0-9]+)", self._upload),
            (rf"/v2/({NAME})/blobs/([^/]+)", self._blob),
            (rf"/v2/({NAME})/manifests/([^/]+)", self._manifest),
            (rf"/v2/({NAME})/tags/list", self._tags),
        ):
            match = re.fullmatch(pattern, request.path)
            if match:
                return act(request, *match.groups())
        return _error(404, "NAME_INVALID", request.path)

    def _begin(self, request: Request, name: str) -> Answer:
        if request.method != "POST" or request.body:
            return _error(405, "UNSUPPORTED", "begin with an empty POST")
        self._numbers += 1
        upload = f"u{self._numbers}"
        self.repositories.setdefault(name, Repository()).uploads.add(upload)
        path = f"/v2/{name}/blobs/uploads/{upload}"
        if self.location == "state":
            path += f"?_state={quote('a+b/c==', safe='')}"
        where = path if self.location == "relative" else f"{self.url}{path}"
        return Answer(status=202, headers={"Location": where})

    def _upload(self, request: Request, name: str, upload: str) -> Answer:
        repository = self.repositories.get(name, Repository())
        if request.method != "PUT" or upload not in repository.uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN", upload)
        if self.location == "state" and request.query.get("_state") != "a+b/c==":
            return _error(400, "BLOB_UPLOAD_INVALID", "the state was lost")
        repository.uploads.discard(upload)
        digest = request.query.get("digest", "")
        if request.headers.get("content-length") != str(len(request.body)):
            return _error(400, "SIZE_INVALID", "no length")
        if digest != _digest(request.body):
            return _error(400, "DIGEST_INVALID", digest)
        repository.blobs[digest] = request.body
        return Answer(status=201, headers={"Location": f"/v2/{name}/blobs/{digest}"})

    def _blob(self, request: Request, name: str, digest: str) -> Answer:
        data = self.repositories.get(name, Repository()).blobs.get(digest)
        if data is None or request.method not in ("GET", "HEAD"):
            return _error(404, "BLOB_UNKNOWN", digest)
        if self.storage and request.method == "GET":
            return Answer(status=307, headers={"Location": f"{self.storage}{request.path}"})
        return Answer(status=200, body=data, headers={"Docker-Content-Digest": digest})

    def _manifest(self, request: Request, name: str, reference: str) -> Answer:
        if request.method == "PUT":
            return self._put_manifest(request, name, reference)
        repository = self.repositories.get(name, Repository())
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests:
            return _error(404, "MANIFEST_UNKNOWN", f"unknown: {reference}")
        media_type, data = repository.manifests[digest]
        accepted = [each.strip() for each in request.headers.get("accept", "*/*").split(",")]
        if media_type not in accepted and "*/*" not in accepted:
            return _error(404, "MANIFEST_UNKNOWN", f"it is {media_type}")
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return Answer(status=200, body=data, headers=headers)

    def _put_manifest(self, request: Request, name: str, reference: str) -> Answer:
        repository = self.repositories.setdefault(name, Repository())
        document, digest = json.loads(request.body), _digest(request.body)
        media_type = request.headers.get("content-type", "")
        if media_type != document.get("mediaType", media_type):
            return _error(400, "MANIFEST_INVALID", "it says another type than the header")
        for each in (document["config"], *document["layers"]):
            if len(repository.blobs.get(each["digest"], b"")) != each["size"]:
                return _error(404, "MANIFEST_BLOB_UNKNOWN", each["digest"])
        if ":" in reference and reference != digest:
            return _error(400, "DIGEST_INVALID", reference)
        repository.manifests[digest] = (media_type, request.body)
        if ":" not in reference:
            repository.tags[reference] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Answer(status=201, headers=headers)

    def _tags(self, request: Request, name: str) -> Answer:
        if name not in self.repositories:
            return _error(404, "NAME_UNKNOWN", name)
        later = [
            each
            for each in sorted(self.repositories[name].tags)
            if each > request.query.get("last", "")
        ]
        page = later[: self.page]
        headers = {}
        if len(later) > len(page):
            headers["Link"] = f'</v2/{name}/tags/list?n={self.page}&last={page[-1]}>; rel="next"'
        return Answer(
            status=200, body=json.dumps({"name": name, "tags": page}).encode(), headers=headers
        )


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may leave at any time."""


def _handler(server: DistributionServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("content-length", "0"))
            request = Request(
                method=self.command,
                path=address.path,
                query={key: " ".join(each) for key, each in parse_qs(address.query).items()},
                headers={key.lower(): value for key, value in self.headers.items()},
                body=self.rfile.read(length),
            )
            answer = server.answer(request)
            try:
                self.send(answer, with_body=self.command != "HEAD")
            except OSError:  # the client has had enough of it
                self.close_connection = True

        def send(self, answer: Answer, *, with_body: bool) -> None:
            if answer.raw:
                self.close_connection = True
                self.wfile.write(answer.raw)
                return
            self.send_response(answer.status)
            headers = {} if answer.endless else {"Content-Length": str(len(answer.body))}
            for key, value in (headers | answer.headers).items():
                self.send_header(key, value)
            if answer.endless:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while answer.endless:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(answer.body), answer.body))
            for byte in answer.body if answer.drip_s else b"":
                time.sleep(answer.drip_s)
                self.wfile.write(bytes((byte,)))
            if with_body and not answer.drip_s:
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: tests look at ``requests``."""

    return Handler


def another(answer: Answer, **changes: object) -> Answer:
    """Return an answer with changes."""
    return replace(answer, **changes)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _basic(user: tuple[str, str] | None) -> str:
    return "Basic " + base64.b64encode(":".join(user or ()).encode()).decode()


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status=status, body=body, headers=headers or {})
