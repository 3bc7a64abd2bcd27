"""Anatomy: what an artifact is made of, operator by operator.

It is read from the file by a child (``convert.examine``), for no runtime tells it: which operators,
with which weights, how many multiplications, and how many bytes are alive at each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from edgeops.domain.errors import InvalidInput

MAX_OPERATIONS = 20_000
MAX_ANATOMY_BYTES = 32 * 1024 * 1024
MAX_NAME = 8192
MAX_TENSORS = 4096
"""Inputs or outputs of one operation."""
MAX_COUNT = 1 << 53
QUANTIZED_DTYPES = ("int8", "uint8", "int4", "uint4", "int16", "uint16")
NONE = ""
"""Stands for a dtype where there are no weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operator in a file, with a batch of one row.

    Attributes:
        type: as the format calls it: ``CONV_2D``, ``Conv``.
        name: of its first output.
        inputs: names of the values that it takes, without constants.
        outputs: names of the values that it makes.
        weights: elements of its constants of rank 2 or more.
        weight_dtype: theirs as they are stored, empty without weights.
        activation_dtype: of its first input as it is computed with, empty if that is unknown.
        constant_bytes: bytes of all its constants.
        output_bytes: bytes of what it makes.
        macs: multiplications with accumulation; 0 for operators that have none to speak of.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: int = 0
    weight_dtype: str = NONE
    activation_dtype: str = NONE
    constant_bytes: int = 0
    output_bytes: int = 0
    macs: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "type": self.type,
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "weights": self.weights,
            "weight_dtype": self.weight_dtype,
            "activation_dtype": self.activation_dtype,
            "constant_bytes": self.constant_bytes,
            "output_bytes": self.output_bytes,
            "macs": self.macs,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Operation:
        """Read the JSON form."""
        return cls(
            type=fields.text("type"),
            name=fields.text("name", max_length=MAX_NAME),
            inputs=fields.texts("inputs", max_items=MAX_TENSORS, max_length=MAX_NAME),
            outputs=fields.texts("outputs", max_items=MAX_TENSORS, max_length=MAX_NAME),
            weights=fields.integer("weights"),
            weight_dtype=fields.text("weight_dtype"),
            activation_dtype=fields.text("activation_dtype"),
            constant_bytes=fields.integer("constant_bytes"),
            output_bytes=fields.integer("output_bytes"),
            macs=fields.integer("macs", maximum=MAX_COUNT),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What one file is made of.

    Attributes:
        format: ``tflite`` or ``onnx``.
        operations: in the order in which they are computed.
        live_bytes: of inputs, outputs and inner values that exist while each operation runs: a
            lower bound of what a runtime must hold beside the weights.
        opset: version of the default operator set; 0 for ``.tflite``.
    """

    format: str
    operations: tuple[Operation, ...]
    live_bytes: tuple[int, ...]
    opset: int = 0

    @property
    def weights(self) -> Mapping[str, int]:
        """Elements of weights by the dtype that they are stored in."""
        counts: Counter[str] = Counter()
        for each in self.operations:
            if each.weights:
                counts[each.weight_dtype] += each.weights
        return dict(sorted(counts.items()))

    @property
    def activations(self) -> Mapping[str, int]:
        """Operations with weights, by the dtype of what they take."""
        weighted = (each.activation_dtype for each in self.operations if each.weights)
        return dict(sorted(Counter(weighted).items()))

    @property
    def operators(self) -> Mapping[str, int]:
        """How many operations there are of each type."""
        return dict(sorted(Counter(each.type for each in self.operations).items()))

    @property
    def macs(self) -> int:
        """Multiplications with accumulation for one row."""
        return sum(each.macs for each in self.operations)

    @property
    def peak_bytes(self) -> int:
        """Most bytes of values that exist at once."""
        return max(self.live_bytes, default=0)

    @property
    def quantized(self) -> str:
        """The dtype that most of the quantized weights have, empty if there are none."""
        found = {dtype: n for dtype, n in self.weights.items() if dtype in QUANTIZED_DTYPES}
        return max(found, key=lambda dtype: found[dtype], default=NONE)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "format": self.format,
            "operations": [each.to_document() for each in self.operations],
            "live_bytes": list(self.live_bytes),
            "opset": self.opset,
        }

    def to_bytes(self) -> bytes:
        """Return the JSON form as bytes."""
        return encode(self.to_document())

    @classmethod
    def from_fields(cls, fields: Fields) -> Anatomy:
        """Read the JSON form."""
        fields.check_schema()
        return cls(
            format=fields.text("format"),
            operations=fields.list_of(
                "operations", Operation.from_fields, max_items=MAX_OPERATIONS
            ),
            live_bytes=fields.integers("live_bytes", max_items=MAX_OPERATIONS),
            opset=fields.integer("opset"),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Anatomy:
        """Read what a child wrote.

        Raises:
            InvalidInput: it is no anatomy.
        """
        try:
            document = decode(data, max_bytes=MAX_ANATOMY_BYTES)
            return cls.from_fields(Fields(document, "anatomy"))
        except ProtocolError as error:
            raise InvalidInput(
                f"no anatomy: {error}",
                next_step="remove the cache, which is made again: HOME/cache",
            ) from error


def live_bytes(
    operations: tuple[Operation, ...],
    sizes: Mapping[str, int],
    outputs: tuple[str, ...],
) -> tuple[int, ...]:
    """Return the bytes of the values that exist while each operation runs.

    A value exists from the operation that makes it, or from the beginning, to the last one that
    takes it; outputs of the model exist to the end.

    Args:
        operations: in their order.
        sizes: bytes by the value's name.
        outputs: names of the model's outputs.
    """
    end = len(operations) - 1
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, each in enumerate(operations):
        for name in each.inputs:
            first.setdefault(name, 0)
            last[name] = at
        for name in each.outputs:
            first.setdefault(name, at)
            last[name] = max(last.get(name, at), at)
    last.update({name: end for name in outputs if name in first})
    changes = [0] * (len(operations) + 1)
    for name, begin in first.items():
        changes[begin] += sizes.get(name, 0)
        changes[last[name] + 1] -= sizes.get(name, 0)
    alive, found = 0, []
    for change in changes[:-1]:
        alive += change
        found.append(alive)
    return tuple(found)
