"""From a scikit-learn model saved by skops to a float ``.onnx`` with a free batch.

Runs in a child only. skops builds objects of types that it knows to be harmless; others run code,
or are C code that trusts what it is given, and are taken only if the file is trusted. What comes
out is run beside the model that went in.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import; see device_agent.runtimes

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import skops.io
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.tree._tree import TREE_LEAF, Tree

from device_agent.runtimes.refusals import one_line
from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error
from edgeops.packaging.convert.job import Report
from edgeops.packaging.convert.onnx_file import OPSET, canonical, number_anew
from edgeops.packaging.convert.skops_archive import AGAIN

INPUT = "x"
SCORES = "probabilities"
OPSETS = {"": OPSET, "ai.onnx.ml": 3}
HARMLESS = (
    "sklearn.tree._tree.Tree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
"""Types that skops does not trust, and that are taken all the same: it names trees because their
C code follows any index, so ``_check_trees`` looks at each; the optimizers only hold numbers."""

COMPARED_ROWS = 64
COMPARED_SCALES = (1.0, 10.0, 100.0)
"""Rows to compare on are drawn between 0 and one of these: nothing tells the real range."""
MAX_ERROR = 1e-3
"""Largest relative error against the model, which computes in float64."""
MIN_SAME_CLASS = 0.9
"""Share of rows of which the largest score is of the class that the model predicts. Less than all
is usual for support vector machines, whose probabilities are fitted apart."""
MAX_SHOWN = 5
_SEED = 0


def convert_sklearn_model(source: Path, target: Path, *, trust_code: bool) -> Report:
    """Write the float ``.onnx`` of a ``.skops`` file.

    It has one input, ``x``: float32 ``[n, features]``. A classifier has one output,
    ``probabilities``: float32 ``[n, classes]``; its label is the largest of them, and is left out,
    since near ties would make runtimes disagree.

    Args:
        source: the model; ``read_source`` has looked at it.
        target: the file to write.
        trust_code: take types that may run code.

    Raises:
        InvalidModel: damaged, of types that are not trusted, not fitted, or with a part that
            ONNX cannot express.
        ConversionFailed: the result does not answer as the model does.
    """
    model, notes = _load(source, trust_code=trust_code)
    features = getattr(model, "n_features_in_", None)
    if not isinstance(features, int | np.integer) or features < 1:
        raise InvalidModel(
            f"{source} holds a {type(model).__name__} that takes no rows of numbers, or was not "
            "fitted",
            next_step="fit it on an array [n, features], then save it again",
        )
    converted = _convert(model, int(features))
    if is_classifier(model):
        _keep_output(converted.graph, SCORES)
        notes += _class_notes(model)
    number_anew(converted)
    data = canonical(converted)
    target.write_bytes(data)
    return Report(notes=(*notes, *_check_same(model, data, int(features))))


def _load(source: Path, *, trust_code: bool) -> tuple[Any, list[str]]:
    try:
        untrusted = skops.io.get_untrusted_types(file=source)
        unknown = [name for name in untrusted if name not in HARMLESS]
        if unknown and not trust_code:
            more = f" and {len(unknown) - MAX_SHOWN} more" if len(unknown) > MAX_SHOWN else ""
            raise InvalidModel(
                f"{source} needs types that may run code: {', '.join(unknown[:MAX_SHOWN])}{more}",
                next_step="if you trust whoever made it, give --trust-code",
            )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InconsistentVersionWarning)
            model = skops.io.load(source, trusted=untrusted)
    except InvalidModel:
        raise
    except Exception as error:  # it builds whatever the file says: anything may be missing
        raise InvalidModel(
            f"skops cannot load {source}: {type(error).__name__}: {one_line(error)}",
            next_step=AGAIN,
        ) from error
    _check_trees(model, source)
    other = [each.message for each in said if isinstance(each.message, InconsistentVersionWarning)]
    notes = [
        f"saved by scikit-learn {each.original_sklearn_version}, read by "
        f"{each.current_sklearn_version}"
        for each in other[:1]
    ]
    return model, notes


def _check_trees(model: Any, source: Path) -> None:
    """Refuse trees whose nodes lead anywhere but further down the tree."""
    for tree in _trees(model):
        left, right, feature = tree.children_left, tree.children_right, tree.feature
        inner = left != TREE_LEAF
        above = np.arange(tree.node_count)[inner]
        children = np.stack([left[inner], right[inner]])
        is_sound = (children > above).all() and (children < tree.node_count).all()
        is_known = (feature[inner] >= 0).all() and (feature[inner] < tree.n_features).all()
        if not is_sound or not is_known or not tree.node_count:
            raise InvalidModel(
                f"{source} has a decision tree whose nodes lead out of it", next_step=AGAIN
            )


def _trees(model: Any) -> Iterator[Tree]:
    """Yield the trees within a model."""
    waiting, seen = [model], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tree):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set) or (
            isinstance(value, np.ndarray) and value.dtype == object
        ):
            waiting += list(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            waiting += vars(value).values()


def _convert(model: Any, features: int) -> Any:
    arguments = {
        "name": "model",  # a random one would change the bytes
        "initial_types": [(INPUT, FloatTensorType([None, features]))],
        "target_opset": OPSETS,
    }
    try:
        if not is_classifier(model):
            return convert_sklearn(model, **arguments)
        try:
            return convert_sklearn(model, **arguments, options={"zipmap": False})
        except NameError:  # some classifiers have no such option, and no such map either
            return convert_sklearn(model, **arguments)
    except Exception as error:  # converters of a hundred estimators, each with its own errors
        raise InvalidModel(
            f"skl2onnx cannot convert {type(model).__name__}: {one_line(error)}",
            next_step="replace that part, name columns by number, or give an .onnx of your own",
        ) from error


def _keep_output(graph: Any, name: str) -> None:
    """Drop the other outputs; what only they need goes when the nodes are sorted."""
    others = [each for each in graph.output if each.name != name]
    if len(others) == len(graph.output):
        raise InvalidModel(
            f"the classifier has no output {name!r}, only {', '.join(e.name for e in others)}",
            next_step="give one with predict_proba and one label for each row",
        )
    for each in others:
        graph.output.remove(each)


def _class_notes(model: Any) -> list[str]:
    classes = getattr(model, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise InvalidModel(
            f"{type(model).__name__} tells no classes of one kind",
            next_step="give a classifier with one label for each row",
        )
    if np.array_equal(classes, np.arange(len(classes))):
        return []
    shown = ",".join(str(each) for each in classes)
    return [f"scores are in the order of the classes {shown}: number y so, and give --labels"]


def _check_same(model: Any, data: bytes, features: int) -> list[str]:
    chance = np.random.default_rng(_SEED)
    scales = np.resize(COMPARED_SCALES, (COMPARED_ROWS, 1))
    rows = (chance.random((COMPARED_ROWS, features)) * scales).astype(np.float32)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    given = np.asarray(session.run(None, {INPUT: rows})[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of feature names, and of logarithms of zero
        try:
            expected = _answers(model, rows)
            predicted = model.predict(rows) if is_classifier(model) else None
        except Exception as error:  # noqa: BLE001 - any estimator, on rows that it never saw
            return [f"not compared with the model: {one_line(error)}"]
    if expected is not None:
        if not np.isfinite(expected).all():
            raise InvalidModel(
                "the model answers NaN or infinity to rows between 0 and 100",
                next_step="check its training: were there NaN or constant features?",
            )
        off = relative_error(given.reshape(expected.shape), expected)
        if off > MAX_ERROR:
            raise ConversionFailed(
                f"the .onnx answers something else than the model: it is {off:.2g} off",
                next_step="another estimator, or another version of skl2onnx",
            )
    return [] if predicted is None else _check_classes(model, given, predicted)


def _answers(model: Any, rows: NDArray[Any]) -> NDArray[Any] | None:
    """Return what the first output must be; None for scores that only rank the classes."""
    if is_classifier(model):
        return np.asarray(model.predict_proba(rows)) if hasattr(model, "predict_proba") else None
    act = model.predict if hasattr(model, "predict") else model.transform
    return np.asarray(act(rows), np.float64)


def _check_classes(model: Any, scores: NDArray[Any], predicted: NDArray[Any]) -> list[str]:
    same = 0.0
    if scores.ndim == 2 and scores.shape[1] == len(model.classes_):
        same = float(np.mean(model.classes_[scores.argmax(axis=1)] == predicted))
    if same < MIN_SAME_CLASS:
        raise ConversionFailed(
            f"the scores of {type(model).__name__} do not tell the class that it predicts",
            next_step="give a classifier with predict_proba, for example CalibratedClassifierCV "
            "around it",
        )
    if same < 1.0:
        share = f"{1 - same:.0%} of random rows"
        return [f"on {share} the largest score is not of the predicted class: devices go by it"]
    return []
