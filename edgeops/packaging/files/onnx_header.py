"""What is read of an ``.onnx`` without ONNX: its versions, and the files that its weights are in.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.protobuf import NotProtobuf, fields, messages

OLDEST_RUNTIME = "1.20"
"""The oldest onnxruntime that the agent takes (its extra in ``device_agent/pyproject.toml``)."""
NEWEST_IR = 10
NEWEST_OPSETS = {"": 21, "ai.onnx.ml": 5}
"""The newest that ``OLDEST_RUNTIME`` takes, by domain; seen with its 1.20.0 wheel, which refuses
IR 11, opset 22 and ai.onnx.ml 6, and as in its table:
https://onnxruntime.ai/docs/reference/compatibility.html"""

_IR_VERSION, _GRAPH, _OPSET = 1, 7, 8
_DOMAIN, _VERSION = 1, 2
_INITIALIZER, _EXTERNAL = 5, 13
_KEY, _VALUE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxHeader:
    """What an ``.onnx`` says of itself.

    Attributes:
        ir_version: of the format.
        opsets: version by domain; the default domain is ``""``.
        locations: where weights are that are not in the file: paths beside it, as written.
    """

    ir_version: int
    opsets: dict[str, int]
    locations: tuple[str, ...]

    @property
    def too_new(self) -> str | None:
        """What of it ``OLDEST_RUNTIME`` does not take, or None."""
        for domain, newest in NEWEST_OPSETS.items():
            version = self.opsets.get(domain, 0)
            if version > newest:
                return f"{domain or 'opset'} {version} ({newest} at most)"
        if self.ir_version > NEWEST_IR:
            return f"IR {self.ir_version} ({NEWEST_IR} at most)"
        return None


def read_onnx_header(data: bytes, name: str) -> OnnxHeader:
    """Read what an ``.onnx`` says of itself.

    Args:
        data: the file.
        name: how errors name it.

    Raises:
        InvalidModel: it is damaged.
    """
    ir_version, opsets = 0, dict[str, int]()
    locations: dict[str, None] = {}
    try:
        for number, value in fields(data):
            if number == _IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == _OPSET and isinstance(value, memoryview):
                domain, version = _opset(value)
                opsets[domain] = max(version, opsets.get(domain, 0))
            elif number == _GRAPH and isinstance(value, memoryview):
                locations.update(dict.fromkeys(_locations(value)))
    except NotProtobuf as error:
        raise InvalidModel(
            f"{name} is no whole ONNX model: {error}", next_step="copy or export it again"
        ) from error
    return OnnxHeader(ir_version=ir_version, opsets=opsets, locations=tuple(locations))


def check_versions(data: bytes, name: str) -> None:
    """Refuse an ``.onnx`` that is newer than the oldest runtime of devices.

    Raises:
        InvalidModel: the message says what of it, and what is taken.
    """
    found = read_onnx_header(data, name).too_new
    if found is not None:
        raise InvalidModel(
            f"{name} is of {found}: devices may have onnxruntime {OLDEST_RUNTIME}",
            next_step="export it with opset 17, or give --recipe float32, which converts it down "
            "where it can",
        )


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in fields(message):
        if number == _DOMAIN and isinstance(value, memoryview):
            domain = _text(value)
        elif number == _VERSION and isinstance(value, int):
            version = value
    return ("" if domain == "ai.onnx" else domain), version


def _locations(graph: memoryview) -> Iterator[str]:
    for initializer in messages(graph, _INITIALIZER):
        for entry in messages(initializer, _EXTERNAL):
            pair = dict(fields(entry))
            key, value = pair.get(_KEY), pair.get(_VALUE)
            is_location = isinstance(key, memoryview) and bytes(key) == b"location"
            if is_location and isinstance(value, memoryview):
                yield _text(value)


def _text(value: memoryview) -> str:
    return bytes(value).decode(errors="replace")
