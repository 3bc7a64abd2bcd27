"""Images: resized and recoloured as other libraries do it, and documents that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from device_agent.processing.prepare import prepare_row, prepare_rows
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.image import MAX_SIDE, ImageStep
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.preprocessing import Preprocessing

F32 = np.float32
PICTURE = np.random.default_rng(3).integers(0, 256, (13, 17, 3)).astype(np.uint8)
SIZES = [(13, 17), (26, 34), (20, 30), (5, 6), (6, 40), (1, 1), (4, 17)]


def read(document: object) -> Preprocessing:
    return Preprocessing.from_fields(Fields(document, "preprocessing"))


def made(picture: np.ndarray, **image: Any) -> np.ndarray:
    """Return what the step makes of a picture, before any scaling."""
    step = Preprocessing(shape=picture.shape, image=ImageStep(**image))
    return prepare_rows(picture[np.newaxis], step)[0]


def onnx_resized(picture: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Return what ONNX Runtime's Resize makes of it, with half-pixel centres."""
    node = helper.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        mode=mode,
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil",
    )
    height, width, channels = picture.shape
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, *size])],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, channels, *size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    fed = picture.astype(F32).transpose(2, 0, 1)[np.newaxis]
    return session.run(None, {"x": fed})[0][0].transpose(1, 2, 0)


# ---- values


def test_two_pixels_become_four_by_hand() -> None:
    pair = np.array([[[0.0], [8.0]]], F32)
    assert made(pair, resize=(1, 4)).ravel().tolist() == [0.0, 2.0, 6.0, 8.0]
    assert made(pair, resize=(1, 4), method="nearest").ravel().tolist() == [0, 0, 8, 8]
    column = pair.reshape(2, 1, 1)
    assert made(column, resize=(4, 1)).ravel().tolist() == [0.0, 2.0, 6.0, 8.0]


def test_four_pixels_become_two_without_smoothing_by_hand() -> None:
    line = np.array([[[0.0], [4.0], [100.0], [8.0]]], F32)
    # Output 0 looks at 0.5: half of pixel 0 and half of pixel 1; output 1 at 2.5.
    assert made(line, resize=(1, 2)).ravel().tolist() == [2.0, 54.0]
    # A point between two pixels lies in the later one: floor((i + 0.5) * 2) = 1, 3.
    assert made(line, resize=(1, 2), method="nearest").ravel().tolist() == [4.0, 8.0]


@pytest.mark.parametrize("size", SIZES)
def test_bilinear_is_that_of_onnx(size: tuple[int, int]) -> None:
    wanted = onnx_resized(PICTURE, size, "linear")
    np.testing.assert_allclose(made(PICTURE, resize=size), wanted, atol=2e-3)


@pytest.mark.parametrize("size", SIZES)
def test_nearest_is_that_of_pillow_and_of_onnx(size: tuple[int, int]) -> None:
    found = made(PICTURE, resize=size, method="nearest")
    pillow = Image.fromarray(PICTURE).resize(size[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(found, np.asarray(pillow).astype(F32))
    np.testing.assert_array_equal(found, onnx_resized(PICTURE, size, "nearest"))


@pytest.mark.parametrize("size", [(13, 17), (26, 34), (20, 30), (13, 40)])
def test_bilinear_is_that_of_pillow_where_it_enlarges(size: tuple[int, int]) -> None:
    found = made(PICTURE[..., :1], resize=size)[..., 0]
    pillow = Image.fromarray(PICTURE[..., 0].astype(F32))
    wanted = np.asarray(pillow.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_pillow_smooths_where_it_makes_smaller_and_we_do_not() -> None:
    line = np.array([[0.0, 4.0, 100.0, 8.0]], F32)
    pillow = np.asarray(Image.fromarray(line).resize((2, 1), Image.Resampling.BILINEAR))
    assert abs(pillow[0, 1] - made(line[..., np.newaxis], resize=(1, 2))[0, 1, 0]) > 5


def test_the_same_size_is_the_same_picture() -> None:
    for method in ("bilinear", "nearest"):
        same = made(PICTURE, resize=(13, 17), method=method)
        np.testing.assert_array_equal(same, PICTURE.astype(F32))
    np.testing.assert_array_equal(made(PICTURE), PICTURE.astype(F32))


def test_channels_are_reversed_or_become_one() -> None:
    pixel = np.array([[[100, 50, 10]]], np.uint8)
    assert made(pixel, channels="rgb-to-bgr").ravel().tolist() == [10, 50, 100]
    grey = made(pixel, channels="rgb-to-grey")
    assert grey.shape == (1, 1, 1)
    assert grey.item() == pytest.approx(0.299 * 100 + 0.587 * 50 + 0.114 * 10, rel=1e-6)
    assert made(pixel, channels="bgr-to-grey").item() == pytest.approx(
        0.114 * 100 + 0.587 * 50 + 0.299 * 10, rel=1e-6
    )


def test_grey_is_that_of_pillow_but_not_rounded() -> None:
    wanted = np.asarray(Image.fromarray(PICTURE).convert("L")).astype(F32)
    found = made(PICTURE, channels="rgb-to-grey")[..., 0]
    assert np.abs(found - wanted).max() <= 1.0


def test_scaling_is_by_the_channels_that_are_made() -> None:
    step = read(
        {
            "shape": [13, 17, 3],
            "image": {"resize": [4, 5], "channels": "rgb-to-bgr"},
            "scale": 1 / 255,
            "mean": [0.4, 0.5, 0.6],
            "std": [0.1, 0.2, 0.3],
            "layout": "hwc-to-chw",
        }
    )
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 3, 4, 5))
    plain = made(PICTURE, resize=(4, 5))[..., ::-1] * F32(1 / 255)
    wanted = (plain - np.array([0.4, 0.5, 0.6], F32)) / np.array([0.1, 0.2, 0.3], F32)
    np.testing.assert_array_equal(prepare_row(PICTURE, step, spec)[0], wanted.transpose(2, 0, 1))


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("channels", ["as-is", "rgb-to-bgr", "rgb-to-grey"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16"])
def test_many_pictures_are_prepared_as_each_by_itself(
    method: str, channels: str, dtype: str
) -> None:
    image = ImageStep(resize=(7, 9), method=method, channels=channels)
    step = Preprocessing(scale=1 / 255, shape=(13, 17, 3), image=image)
    pictures = np.stack([PICTURE, PICTURE[::-1], PICTURE // 3]).astype(dtype)
    spec = TensorSpec(name="x", dtype="float32", shape=(1, *step.made_shape))
    one_by_one = [prepare_row(each, step, spec)[0] for each in pictures]
    np.testing.assert_array_equal(prepare_rows(pictures, step), np.stack(one_by_one))
    flat = prepare_rows(pictures.reshape(3, -1), step)
    np.testing.assert_array_equal(flat, np.stack(one_by_one))


def test_a_picture_is_never_changed_in_place() -> None:
    picture = np.ones((2, 2, 3), F32)
    step = Preprocessing(scale=2.0, mean=(1.0,), shape=(2, 2, 3), image=ImageStep())
    prepare_row(picture, step, TensorSpec(name="x", dtype="float32", shape=(12,)))
    assert picture.ravel().tolist() == [1.0] * 12


def test_a_picture_of_another_size_is_said() -> None:
    step = Preprocessing(shape=(13, 17, 3), image=ImageStep(resize=(4, 4)))
    with pytest.raises(BadInput, match=r"663 elements of shape \[13, 17, 3\]"):
        prepare_row(PICTURE[:-1], step, TensorSpec(name="x", dtype="float32", shape=(48,)))


# ---- documents


def test_what_is_left_out_has_its_default_and_nothing_is_done() -> None:
    step = read({"shape": [4, 4, 3], "image": {}})
    assert step.image == ImageStep(resize=(), method="bilinear", channels="as-is")
    assert (step.made_shape, step.row_shape) == ((4, 4, 3), (4, 4, 3))


def test_a_document_says_it_all_and_one_without_images_says_nothing_of_them() -> None:
    step = Preprocessing(
        shape=(9, 9, 3), image=ImageStep(resize=(4, 5), method="nearest", channels="bgr-to-grey")
    )
    assert read(decode(encode(step.to_document()))) == step
    assert step.made_shape == (4, 5, 1)
    assert set(Preprocessing().to_document()) == {"scale", "mean", "std", "shape", "layout"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"image": {}}, r"image needs a shape of height, width, channels, given: \[\]"),
        ({"image": {}, "shape": [4, 4]}, "image needs a shape"),
        ({"image": [], "shape": [4, 4, 3]}, "image is not an object"),
        ({"image": {"resize": [4]}, "shape": [4, 4, 3]}, r"image\.resize is \[4\]"),
        ({"image": {"resize": [0, 4]}, "shape": [4, 4, 3]}, r"image\.resize"),
        ({"image": {"resize": [4, 4, 4]}, "shape": [4, 4, 3]}, r"image\.resize has more than 2"),
        ({"image": {"resize": [4.0, 4]}, "shape": [4, 4, 3]}, r"image\.resize"),
        ({"image": {"resize": [MAX_SIDE + 1, 1]}, "shape": [4, 4, 3]}, r"image\.resize is"),
        ({"image": {"resize": [1 << 50, 1]}, "shape": [4, 4, 3]}, r"image\.resize is"),
        ({"image": {"resize": [4096, 4096]}, "shape": [1, 1, 1]}, r"image\.resize.*elements"),
        ({"image": {"resize": [8, 8]}, "shape": [1, 1, 1 << 20]}, r"image\.resize.*elements"),
        ({"image": {"method": "cubic"}, "shape": [4, 4, 3]}, r"image\.method is 'cubic'"),
        ({"image": {"method": 1}, "shape": [4, 4, 3]}, r"image\.method"),
        ({"image": {"channels": "grb"}, "shape": [4, 4, 3]}, r"image\.channels is 'grb'"),
        (
            {"image": {"channels": "rgb-to-grey"}, "shape": [4, 4, 1]},
            r"image\.channels rgb-to-grey needs 3 channels",
        ),
        (
            {"image": {"channels": "rgb-to-grey"}, "shape": [4, 4, 3], "mean": [1, 2, 3]},
            r"mean has 3 numbers, the shape \[4, 4, 1\] another count",
        ),
        ({"image": {}, "audio": {}, "shape": [4, 4, 3]}, r"audio\.sample_rate_hz"),
        (
            {"image": {}, "tabular": {"features": [{}]}, "shape": [1, 1, 1]},
            "image and tabular, a row is only one of them",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(document: object, says: str) -> None:
    with pytest.raises(ProtocolError, match=f"preprocessing.*{says}"):
        read(document)
