"""Packages of simulated models: truly signed, with an artifact that says how the model behaves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.envelope import PAYLOAD_ROOT, Signature, pre_authentication, seal
from device_agent.protocol.ids import Digest, ModelName, digest_of
from device_agent.protocol.manifest import Manifest, TensorSpec, Variant
from device_agent.protocol.root import ROLES, Root
from edgeops.packaging.package import chunked
from edgeops.trust.keys import SigningKey

PROFILE = "x86-64-generic"
RUNTIME = "litert"
CHUNK_BYTES = 1024
ARTIFACT_BYTES = 6000
INPUTS = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)
OUTPUTS = (TensorSpec(name="scores", dtype="float32", shape=(1, 2)),)
TOLERANCE = 1e-3


class Behaviour(StrEnum):
    """What a simulated model does."""

    GOOD = "good"
    LOAD_FAILED = "load_failed"
    GOLDEN_MISMATCH = "golden_mismatch"
    SELF_TEST_HANGS = "self_test_hangs"
    SELF_TEST_CRASHES = "self_test_crashes"
    NONFINITE = "nonfinite"
    """NaN on real inferences."""
    FAILS = "fails"
    """An error on real inferences."""
    SHIFTED = "shifted"
    """Always the same class."""
    SLOW = "slow"
    KILLS = "kills"
    """Ends the agent's process whenever it is loaded there, though not in the self-test."""
    KILLS_AGAIN = "kills_again"
    """Is loaded once; when the agent loads it again, after a restart, the process ends."""


BAD = tuple(each for each in Behaviour if each is not Behaviour.GOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A root of trust, and the keys that it names."""

    targets: SigningKey
    director: SigningKey
    root: Root
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPackage:
    """A signed package."""

    manifest: Manifest
    data: bytes
    signature: Signature
    blobs: dict[Digest, bytes]
    behaviour: Behaviour

    @property
    def digest(self) -> Digest:
        """The package's name."""
        return digest_of(self.data)

    @property
    def ref(self) -> BlobRef:
        """The manifest as a blob."""
        return BlobRef(digest=self.digest, size_bytes=len(self.data), chunk_bytes=CHUNK_BYTES)


def make_keys(make: Callable[[], SigningKey]) -> Keys:
    """Make a key for each role, and the root that names them."""
    keys = {role: make() for role in ROLES}
    root = Root(version=1, roles={role: {key.keyid: key.public} for role, key in keys.items()})
    payload = root.to_bytes()
    signature = keys["root"].sign(pre_authentication(PAYLOAD_ROOT, payload))
    return Keys(
        targets=keys["targets"],
        director=keys["director"],
        root=root,
        envelope=seal(PAYLOAD_ROOT, payload, [signature]),
    )


def seeded_key(chance: random.Random) -> SigningKey:
    """Return a key that is the same for the same chance."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)))


def make_package(
    keys: Keys,
    chance: random.Random,
    model: ModelName,
    number: int,
    behaviour: Behaviour,
    *,
    reference: bytes = b"",
) -> SimulatedPackage:
    """Make and sign a package whose model behaves in this way.

    Args:
        keys: who signs.
        chance: makes the bytes of the artifact.
        model: its name.
        number: its version.
        behaviour: what it does.
        reference: bytes of a reference profile; with one the hub watches what devices count.
    """
    said = json.dumps({"model": model, "number": number, "behaviour": behaviour.value})
    artifact = said.encode() + b"\n" + chance.randbytes(ARTIFACT_BYTES)
    variant = Variant(
        profiles=(PROFILE,),
        runtime=RUNTIME,
        artifact=chunked(artifact, CHUNK_BYTES),
        golden=None,
        reference=chunked(reference, CHUNK_BYTES) if reference else None,
        inputs=INPUTS,
        outputs=OUTPUTS,
        scores=OUTPUTS[0].name,
        tolerance=TOLERANCE,
        golden_accuracy=None,
    )
    manifest = Manifest(
        model=model,
        version=number,
        min_agent="0.1.0",
        labels=("no", "yes"),
        variants=(variant,),
        min_accuracy=None,
        waivers=(),
        lineage={"run": f"run-{number}"},
    )
    data = manifest.to_bytes()
    return SimulatedPackage(
        manifest=manifest,
        data=data,
        signature=keys.targets.sign(data),
        blobs={digest_of(blob): blob for blob in (artifact, reference) if blob},
        behaviour=behaviour,
    )


def behaviour_of(artifact: bytes) -> Behaviour | None:
    """Return how the model of an artifact behaves, None if it is none."""
    try:
        return Behaviour(json.loads(artifact.partition(b"\n")[0])["behaviour"])
    except (ValueError, KeyError, TypeError):
        return None
