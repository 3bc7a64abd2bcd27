"""Keys: Ed25519 signing keys, and the folder that holds one of each role.

The three roles are Uptane's split (see ``device_agent.protocol.root``): *root* names the others,
*targets* signs packages and stays with those who make them, *director* signs orders and lives
in the hub. A hub needs only ``director.key`` and ``root.json`` of the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from device_agent.protocol.envelope import (
    PAYLOAD_ROOT,
    Signature,
    key_id,
    pre_authentication,
    seal,
)
from device_agent.protocol.errors import AgentError
from device_agent.protocol.root import ROLES, Root, pinned_root
from edgeops.domain.errors import Conflict, InvalidInput, NotFound, NotTrusted, StoreFailed

ROOT_FILE = "root.json"
PRIVATE_FILE_MODE = 0o600


class SigningKey:
    """An Ed25519 private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take over a key."""
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()
        self.keyid: str = key_id(self.public)

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Read a PKCS8 PEM without a passphrase.

        Raises:
            InvalidInput: not such a key.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"not a private key in PEM form: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInput("the private key is not an Ed25519 key")
        return cls(private)

    def to_pem(self) -> bytes:
        """Return the key as PKCS8 PEM, unencrypted."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> Signature:
        """Sign a message; the same message always gives the same signature (RFC 8032)."""
        return Signature(keyid=self.keyid, value=self._private.sign(message))


def verify_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` over ``message`` is by the raw Ed25519 key ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class KeyFolder:
    """``root.key``, ``targets.key``, ``director.key`` and the signed ``root.json``."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.path = path

    def init(self) -> Root:
        """Make new keys and version 1 of the root; all of it, or nothing.

        The folder has mode 0700, the files 0600.

        Raises:
            Conflict: there is something in the folder: keys are never overwritten.
            StoreFailed: the disk said no.
        """
        keys = {role: SigningKey.generate() for role in ROLES}
        root = Root(version=1, roles={role: {key.keyid: key.public} for role, key in keys.items()})
        files = {f"{role}.key": key.to_pem() for role, key in keys.items()}
        files[ROOT_FILE] = _seal_root(keys["root"], root)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise self._taken()
        try:
            self._place(files)
        except OSError as error:
            if self.path.is_dir() and any(self.path.iterdir()):
                raise self._taken() from error  # somebody else was faster
            raise StoreFailed(
                f"cannot make keys in {self.path}: {error.strerror or error}",
                next_step="choose a folder that this user may write",
            ) from error
        return root

    def targets(self) -> SigningKey:
        """Return the key that signs packages."""
        return self._key("targets")

    def director(self) -> SigningKey:
        """Return the key that signs desired states and commands."""
        return self._key("director")

    def root_envelope(self) -> bytes:
        """Return the signed root as devices are enrolled with it.

        Raises:
            NotFound: there is none; StoreFailed: it cannot be read.
        """
        return self._read(ROOT_FILE)

    def root(self) -> Root:
        """Return the root after checking its own signature.

        Raises:
            NotFound: there is none; StoreFailed: it cannot be read.
            NotTrusted: it is not signed by its own root key, or is no root at all.
        """
        try:
            return pinned_root(self.root_envelope(), verify_signature)
        except AgentError as error:
            raise NotTrusted(
                f"{self.path / ROOT_FILE} is no root of trust: {error}",
                next_step="restore the folder from a backup: devices trust only the old root",
            ) from error

    def _key(self, role: str) -> SigningKey:
        try:
            return SigningKey.from_pem(self._read(f"{role}.key"))
        except InvalidInput as error:
            raise InvalidInput(
                f"{self.path / role}.key: {error}",
                next_step="restore the folder from a backup",
            ) from error

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no {name} in {self.path}",
                next_step="make keys with: edgeops keys init",
            ) from error
        except OSError as error:
            raise StoreFailed(
                f"cannot read {self.path / name}: {error.strerror or error}",
                next_step="run this as the user who made the keys",
            ) from error

    def _place(self, files: dict[str, bytes]) -> None:
        """Write a folder beside the real one, then rename it: never half a set of keys."""
        target = self.path.absolute()
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            for name, data in files.items():
                with open(partial / name, "xb", opener=_private) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _taken(self) -> Conflict:
        return Conflict(
            f"{self.path} is not an empty folder; keys are never overwritten",
            next_step="use another folder, or the keys that are there",
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE_MODE)


def _seal_root(key: SigningKey, root: Root) -> bytes:
    payload = root.to_bytes()
    return seal(PAYLOAD_ROOT, payload, [key.sign(pre_authentication(PAYLOAD_ROOT, payload))])
