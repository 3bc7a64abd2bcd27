"""A model file is told by its bytes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.files.inspect import format_of
from tests.models import linear_onnx

ONNX = linear_onnx(np.eye(4, dtype=np.float32))
TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(64)


@pytest.mark.parametrize(("data", "form"), [(ONNX, "onnx"), (TFLITE, "tflite")])
def test_the_format_is_in_the_content_not_in_the_name(data: bytes, form: str) -> None:
    assert format_of(data, "model.bin") == form


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(99), r"HDF5 \(Keras\)"),
        (b"PK\x03\x04" + bytes(99), "zip archive"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
        (b"\x80\x04\x95" + bytes(99), "pickle"),
        (b"GGUF\x03" + bytes(99), "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "HTML"),
        (b'{"layers":[]}', "JSON"),
        (b"\x08\x00\x00\x00ORTM" + bytes(99), r"\.ort"),
        (b"\x93NUMPY\x01\x00", "numpy"),
        (b"\x08\x01\x12\x02ab", "protobuf, but not ONNX"),
        (ONNX[:-10], "ONNX model that is cut off"),
        (ONNX[:1], "neither"),
        (bytes(100), "neither"),
        (b"hello\n" * 20, "neither"),
        (b"\xff" * 100, "neither"),
    ],
)
def test_another_kind_is_named(data: bytes, says: str) -> None:
    with pytest.raises(InvalidModel, match=f"model.onnx.*{says}"):
        format_of(data, "model.onnx")
