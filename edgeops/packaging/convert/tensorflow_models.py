"""From Keras, HDF5 and SavedModel to float ``.tflite`` and ``.onnx``, with batch 1.

Runs in a child only: importing TensorFlow takes seconds and half a gigabyte. What comes out is
run beside the model that went in, since converters have silently lost all weights (variables
that nothing tracks become uninitialized memory).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.keras_archive import check_keras_config
from edgeops.packaging.convert.source import SourceKind

OPSET = 17
COMPARED_ROWS = 4
MAX_ERROR = 1e-3
"""Largest relative error between the model and its float conversion: other orders of sums."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in TensorFlow.

    Attributes:
        specs: a ``tf.TensorSpec`` for each input, with batch 1, named.
        call: from tensors in the order of ``specs`` to a dict of outputs.
        track: what owns the variables.
        is_keras3: whether only Keras itself can save it whole.
    """

    specs: list[Any]
    call: Callable[..., dict[str, Any]]
    track: Any
    is_keras3: bool


def convert_tensorflow(
    source: Path, kind: SourceKind, target: Path, form: str, *, trust_code: bool
) -> Report:
    """Write the float model of a format.

    Args:
        source: the model; ``read_source`` has looked at it.
        kind: what it is.
        target: the file to write.
        form: ``tflite`` (with a signature) or ``onnx`` (opset 17).
        trust_code: let Keras load code.

    Raises:
        InvalidModel: TensorFlow cannot load it, it holds code, or has an input that rows of
            one shape cannot feed.
        ConversionFailed: the result does not answer as the model does.
    """
    if kind is SourceKind.HDF5:
        _check_hdf5(source, trust_code=trust_code)
    logging.disable(logging.WARNING)
    loaded, notes = _load(source, kind, trust_code=trust_code)
    data = _to_tflite(loaded) if form == "tflite" else _to_onnx(loaded)
    target.write_bytes(data)
    _check_same(loaded, target, form)
    return Report(notes=tuple(notes))


def _check_hdf5(source: Path, *, trust_code: bool) -> None:
    try:
        with h5py.File(source, "r") as file:
            config = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as error:
        raise InvalidModel(
            f"{source} is a damaged HDF5 file: {one_line(error)}", next_step="save it again"
        ) from error
    if config is None:
        raise InvalidModel(
            f"{source} holds weights, but no model",
            next_step="save the whole model: model.save('model.keras')",
        )
    if not trust_code:
        check_keras_config(config, str(source))


def _load(source: Path, kind: SourceKind, *, trust_code: bool) -> tuple[Loaded, list[str]]:
    if kind is SourceKind.SAVED_MODEL:
        return _load_saved_model(source), []
    import keras

    path = source
    with tempfile.TemporaryDirectory(prefix="edgeops-keras-") as folder:
        # Keras goes by the name, we by the bytes.
        suffix = ".keras" if kind is SourceKind.KERAS else ".h5"
        if source.suffix != suffix:
            path = Path(folder) / f"model{suffix}"
            path.symlink_to(source)
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=not trust_code)
        except Exception as error:  # noqa: BLE001 - tf_keras may read it
            model = _load_old_keras(source, path, error, trust_code=trust_code)
            note = f"loaded by tf_keras {metadata.version('tf_keras')}: Keras 3 refuses this file"
            return _keras(model, is_keras3=False), [note]
        return _keras(model, is_keras3=True), []


def _load_old_keras(source: Path, path: Path, refusal: Exception, *, trust_code: bool) -> Any:
    try:
        import tf_keras
    except ImportError:
        error = _unloadable(source, refusal)
        error.next_step = "it may be from Keras 2: pip install tf_keras, then try again"
        raise error from refusal
    try:
        return tf_keras.models.load_model(path, compile=False, safe_mode=not trust_code)
    except Exception as error:
        raise _unloadable(source, refusal) from error


def _unloadable(source: Path, error: Exception) -> InvalidModel:
    return InvalidModel(
        f"Keras cannot load {source}: {one_line(error)}",
        next_step="save it again with a current Keras, or export it as a SavedModel",
    )


def _keras(model: Any, *, is_keras3: bool) -> Loaded:
    import tensorflow as tf

    if not getattr(model, "built", True) or not model.inputs:
        raise InvalidModel("the Keras model was never built", next_step="call it once, save again")
    names = [str(each.name).split(":")[0] for each in model.inputs]
    specs = [
        _spec(name, list(each.shape), each.dtype)
        for name, each in zip(names, model.inputs, strict=True)
    ]

    def call(*tensors: Any) -> dict[str, Any]:
        out = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        return {f"output_{at}": each for at, each in enumerate(tf.nest.flatten(out))}

    return Loaded(specs, call, model, is_keras3)


def _load_saved_model(source: Path) -> Loaded:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(source))
        serve = model.signatures["serving_default"]
    except KeyError as error:
        raise InvalidModel(
            f"{source} has no signature serving_default",
            next_step="export it with model.export(), or give it signatures",
        ) from error
    except Exception as error:
        raise InvalidModel(
            f"TensorFlow cannot load {source}: {one_line(error)}", next_step="export it again"
        ) from error
    inputs = sorted(serve.structured_input_signature[1].items())
    specs = [_spec(name, each.shape.as_list(), each.dtype) for name, each in inputs]

    def call(*tensors: Any) -> dict[str, Any]:
        named = {name: each for (name, _), each in zip(inputs, tensors, strict=True)}
        return dict(serve(**named))

    return Loaded(specs, call, model, is_keras3=False)


def _spec(name: str, shape: list[int | None], dtype: Any) -> Any:
    import tensorflow as tf

    if not shape or None in shape[1:]:
        raise InvalidModel(
            f"input {name!r} has the free shape {shape}: devices run one row of one shape",
            next_step="build the model with a fixed input shape, then save it again",
        )
    return tf.TensorSpec([1, *shape[1:]], dtype, name=name)


def _to_tflite(loaded: Loaded) -> bytes:
    import tensorflow as tf

    from edgeops.packaging.convert.tflite_file import name_by_signature, pack, unpack

    with tempfile.TemporaryDirectory(prefix="edgeops-tf-") as folder:
        if loaded.is_keras3:
            import keras

            archive = keras.export.ExportArchive()
            archive.track(loaded.track)
            archive.add_endpoint("serve", loaded.call, input_signature=loaded.specs)
            archive.write_out(folder, verbose=False)
        else:
            module = tf.Module()
            module.model = loaded.track  # what owns no variables is saved without them
            module.serve = tf.function(loaded.call, input_signature=loaded.specs)
            concrete = module.serve.get_concrete_function()
            tf.saved_model.save(module, folder, signatures={"serving_default": concrete})
        try:
            data = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except Exception as error:
            raise InvalidModel(
                f"TensorFlow cannot convert it to .tflite: {one_line(error)}",
                next_step="replace the operators that it names, or make .onnx",
            ) from error
    model = unpack(bytes(data))
    name_by_signature(model)
    return pack(model)


def _to_onnx(loaded: Loaded) -> bytes:
    import tensorflow as tf
    import tf2onnx

    from edgeops.packaging.convert.onnx_file import canonical, number_anew

    function = tf.function(loaded.call)
    try:
        model, _ = tf2onnx.convert.from_function(
            function, input_signature=loaded.specs, opset=OPSET
        )
    except Exception as error:
        raise InvalidModel(
            f"tf2onnx cannot convert it to .onnx: {one_line(error)}",
            next_step="replace the operators that it names, or make .tflite",
        ) from error
    _hold_captured(model, function.get_concrete_function(*loaded.specs))
    number_anew(model)
    return canonical(model)


def _hold_captured(model: Any, concrete: Any) -> None:
    """Make weights of what a function captures as plain tensors: tf2onnx makes them inputs.

    Keras' layer Normalization keeps mean and variance so.
    """
    import onnx

    captured = {inner.name: outer for outer, inner in concrete.graph.captures}
    for given in [each for each in model.graph.input if each.name in captured]:
        value = np.asarray(captured[given.name])
        model.graph.input.remove(given)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, given.name))


def _check_same(loaded: Loaded, target: Path, form: str) -> None:
    chance = np.random.default_rng(_SEED)
    run = _tflite_runner(target) if form == "tflite" else _onnx_runner(target)
    for _ in range(COMPARED_ROWS):
        row = {spec.name: _random(chance, spec) for spec in loaded.specs}
        expected = {name: np.asarray(each) for name, each in loaded.call(*row.values()).items()}
        given = run(row)
        for name, value in expected.items():
            if not np.isfinite(value).all():
                raise InvalidModel(
                    f"the model answers NaN or infinity in {name!r} to a row between 0 and 1",
                    next_step="check its weights: was the training stable?",
                )
            error = relative_error(given[name].reshape(value.shape), value)
            if error > MAX_ERROR:
                raise ConversionFailed(
                    f"the .{form} answers something else than the model: output {name!r} is "
                    f"{error:.2g} off",
                    next_step="another format, or another version of TensorFlow",
                )


def _random(chance: np.random.Generator, spec: Any) -> NDArray[Any]:
    dtype, shape = np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape.as_list())
    if dtype.kind == "f":
        return np.asarray(chance.random(shape), dtype)
    return np.asarray(chance.integers(0, 2, shape), dtype)


Named: TypeAlias = dict[str, NDArray[Any]]


def _tflite_runner(path: Path) -> Callable[[Named], Named]:
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return lambda row: dict(runner(**row))


def _onnx_runner(path: Path) -> Callable[[Named], Named]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [each.name for each in session.get_outputs()]
    return lambda row: dict(zip(outputs, session.run(None, row), strict=True))
