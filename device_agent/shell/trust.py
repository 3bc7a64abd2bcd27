"""What this device trusts: the pinned root and the signatures that follow from it."""

from __future__ import annotations

import logging

from device_agent.core.admission import check_addressee
from device_agent.protocol import envelope
from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ModelRefused, NotTrusted, ProtocolError, StorageFailed
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Command, Desired, DesiredModel
from device_agent.protocol.reasons import Reason
from device_agent.protocol.root import Root, next_root, pinned_root
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

ROOT_PATH = "trust/root.json"


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` over ``message`` is by the raw Ed25519 ``public_key``."""
    # Here: it takes longest of all to import, and a model answers before anything is verified.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read_root(storage: Storage) -> bytes | None:
    try:
        return storage.read(ROOT_PATH)
    except StorageFailed as error:
        logger.warning("root.damaged", extra={"path": ROOT_PATH, "cause": str(error)})
        return None


def _stored_root(stored: bytes) -> Root | None:
    try:
        return pinned_root(stored, verify_ed25519)
    except (NotTrusted, ProtocolError) as error:
        logger.warning("root.damaged", extra={"path": ROOT_PATH, "cause": str(error)})
        return None


class Trust:
    """The root of trust of one device, kept in its state folder."""

    def __init__(self, storage: Storage, enrolled_root: bytes) -> None:
        """Take the stored root, or pin the one of the enrolment.

        That is on the first start, and when a worn-out disk has spoiled the stored one.

        Raises:
            NotTrusted, ProtocolError: the enrolment's root is not signed by its own keys. With a
                stored root it is ``root`` that raises it: verifying can wait, an answer cannot.
        """
        self._storage = storage
        self._enrolled = enrolled_root
        stored = _read_root(storage)
        self._root: Root | bytes = self._pinned() if stored is None else stored

    @property
    def root(self) -> Root:
        """The root; a stored one is verified when it is first asked for."""
        if isinstance(self._root, bytes):
            self._root = _stored_root(self._root) or self._pinned()
        return self._root

    def _pinned(self) -> Root:
        try:
            root = pinned_root(self._enrolled, verify_ed25519)
        except NotTrusted as error:
            raise NotTrusted(
                error.reason,
                f"{error}: the root of trust of the enrolment",
                next_step="enroll the device again, and start it with the new file (--enrolment)",
            ) from error
        try:
            self._storage.replace(ROOT_PATH, self._enrolled)
        except StorageFailed as error:  # then it is pinned again at the next start
            logger.warning("root.not_stored", extra={"cause": str(error)})
        return root

    def follow(self, root_envelope: bytes) -> bool:
        """Move to the next root version; False if this one is already known.

        Raises:
            NotTrusted, ProtocolError: not signed by the old and the new keys, or not the next.
        """
        offered = Root.from_bytes(envelope.read(root_envelope, envelope.PAYLOAD_ROOT)[0])
        if offered.version <= self.root.version:
            return False
        successor = next_root(self.root, root_envelope, verify_ed25519)
        self._storage.replace(ROOT_PATH, root_envelope)
        self._root = successor
        return True

    def open_desired(self, data: bytes, device: DeviceId) -> Desired:
        """Return a desired state that a director signed for this device.

        Raises:
            ProtocolError: malformed.
            NotTrusted: unsigned, foreign key, or for another device.
        """
        payload = envelope.unseal(
            data, envelope.PAYLOAD_DESIRED, self.root.keys_of("director"), verify_ed25519
        )
        desired = Desired.from_document(decode(payload))
        check_addressee(desired, device)
        return desired

    def open_command(self, data: bytes, device: DeviceId) -> Command:
        """Return a command that a director signed for this device."""
        payload = envelope.unseal(
            data, envelope.PAYLOAD_COMMAND, self.root.keys_of("director"), verify_ed25519
        )
        command = Command.from_document(decode(payload))
        if command.device != device:
            raise NotTrusted(
                Reason.WRONG_DEVICE, f"command is for {command.device}, this is {device}"
            )
        return command

    def check_package(self, manifest: bytes, order: DesiredModel) -> None:
        """Refuse a manifest that no targets key signed.

        Raises:
            ModelRefused: ``unsigned_package`` (no key of ours) or ``altered_package`` (our key,
                other bytes).
        """
        key = self.root.keys_of("targets").get(order.signature.keyid)
        if key is None:
            raise ModelRefused(
                Reason.UNSIGNED_PACKAGE,
                f"package is not signed by a key of root version {self.root.version}",
                next_step="sign it with the targets key that devices were enrolled with",
            )
        if not verify_ed25519(key, order.signature.value, manifest):
            raise ModelRefused(
                Reason.ALTERED_PACKAGE, "signature does not fit the manifest's bytes"
            )
