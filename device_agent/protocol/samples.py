"""A sample: one raw input row that left its device because the device's owner allowed it.

Everything else that devices send is counts. Samples are off unless the owner's configuration of
the agent says otherwise; the hub cannot switch them on.
"""

from __future__ import annotations

import base64
import math
import re

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import MAX_RANK
from device_agent.protocol.sketch import MAX_CLASSES
from device_agent.protocol.values import dataclass

MAX_SAMPLE_BYTES = 40 * 1024
"""Bytes of a row: as base64, and with the rest of the message, it stays below 60 KiB."""
_DTYPE = re.compile(r"(?:u?int(?:8|16|32|64)|float(?:16|32|64)|bool)")
_BITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row, what the model answered, and what it should have answered, if that is known.

    Attributes:
        model: name of the model that answered.
        version: its number.
        digest: names its package.
        at_s: when, Unix seconds of the device's wall clock.
        dtype: numpy's name of the row's dtype.
        shape: of the row as the application gave it.
        data: the values, little-endian, C order.
        class_index: predicted class, None without one.
        confidence: of the prediction, 0 to 1.
        label: the true class, None if nobody reported it.
    """

    model: ModelName
    version: int
    digest: Digest
    at_s: float
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    class_index: int | None
    confidence: float
    label: int | None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "at_s": self.at_s,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "data": base64.b64encode(self.data).decode(),
            "class_index": self.class_index,
            "confidence": self.confidence,
            "label": self.label,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Sample:
        """Read the JSON form; the data must be as long as dtype and shape say."""
        has_class, has_label = fields.has("class_index"), fields.has("label")
        sample = cls(
            model=fields.model("model"),
            version=fields.integer("version", minimum=1),
            digest=fields.digest("digest"),
            at_s=fields.number("at_s"),
            dtype=fields.text("dtype", pattern=_DTYPE),
            shape=fields.integers("shape", max_items=MAX_RANK),
            data=fields.data("data", max_bytes=MAX_SAMPLE_BYTES),
            class_index=fields.integer("class_index", maximum=MAX_CLASSES) if has_class else None,
            confidence=fields.number("confidence", maximum=1.0),
            label=fields.integer("label", maximum=MAX_CLASSES) if has_label else None,
        )
        if len(sample.data) != math.prod(sample.shape) * _item_bytes(sample.dtype):
            raise ProtocolError(
                f"{fields.path}.data has {len(sample.data)} bytes, not those of "
                f"{sample.dtype} {list(sample.shape)}"
            )
        return sample


def _item_bytes(dtype: str) -> int:
    bits = _BITS.search(dtype)
    return int(bits.group()) // 8 if bits else 1
