"""Models for tests: three versions of one reader of handwritten digits, in two formats.

==========  ==========================================  ===================================
version     what it is                                  what tests show with it
==========  ==========================================  ===================================
1           logistic regression on 150 rows, about 90 % a first version that works
2           neural network on all 900 rows, about 97 %  an update that is worth its bytes
3           version 2 with its weights shuffled         loads and answers, but nonsense
==========  ==========================================  ===================================

The rows are scikit-learn's 1,797 scans of real handwriting. One fixed permutation parts them
into 900 rows that may train and 897 held-out rows, whatever the seed: the committed ``.tflite``
twins were trained once, on the former only, and so every seed's golden and streamed rows are
new to every model. (The data set does not say who wrote a row: a writer can be on both sides.)

Deterministic: on one machine with the same package versions, a seed gives the same bytes.
scikit-learn and skl2onnx are imported on use, so that importing this module costs little.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeops.demo.network import (
    HIDDEN_UNITS,
    shuffle_weights,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

VERSIONS = (1, 2, 3)
PIXEL_MAX = 16.0
ROW_COUNT = 1797
TRAIN_ROWS = 900
FIRST_TRAIN_ROWS = 150
GOLDEN_ROWS = 64

_PARTITION_SEED = 1797  # the number of rows: not picked for its accuracy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DigitsSplit:
    """Disjoint rows of the data set for one seed.

    Every ``*_x`` is float32 of shape ``(n, 64)`` with values 0..16 (an 8x8 image, row by row),
    every ``*_y`` is int64 of shape ``(n,)`` with values 0..9.

    Attributes:
        seed: what the split was drawn with; training reuses it.
        train_x: 900 rows, the same set for every seed, in the seed's order.
        train_y: their labels.
        golden_x: 64 held-out rows, five to seven of each class.
        golden_y: their labels.
        stream_x: the other 833 held-out rows, in the seed's order.
        stream_y: their labels.
    """

    seed: int
    train_x: Floats
    train_y: Ints
    golden_x: Floats
    golden_y: Ints
    stream_x: Floats
    stream_y: Ints


def partition() -> tuple[Ints, Ints]:
    """Part the data set's row numbers, the same for every seed.

    Returns:
        900 row numbers that may train and 897 that never do: int64, together a permutation.
    """
    rows = np.random.default_rng(_PARTITION_SEED).permutation(ROW_COUNT).astype(np.int64)
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS:]


def digits(seed: int) -> DigitsSplit:
    """Draw the rows of one demo run.

    Args:
        seed: decides which held-out rows are golden, and the order of all rows.

    Returns:
        The split; equal seeds give equal arrays.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, y = x.astype(np.float32), y.astype(np.int64)
    train, held_out = partition()
    train = np.random.default_rng(seed).permutation(train)
    golden, stream = train_test_split(
        held_out, train_size=GOLDEN_ROWS, stratify=y[held_out], random_state=seed
    )
    return DigitsSplit(
        seed=seed,
        train_x=x[train],
        train_y=y[train],
        golden_x=x[golden],
        golden_y=y[golden],
        stream_x=x[stream],
        stream_y=y[stream],
    )


def train_first(split: DigitsSplit) -> Pipeline:
    """Train version 1: logistic regression on few rows, about 90 % right.

    Args:
        split: only its training rows are read.

    Returns:
        A fitted pipeline from float32 ``(n, 64)`` in 0..16 to ten classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    few_x, _, few_y, _ = train_test_split(
        split.train_x,
        split.train_y,
        train_size=FIRST_TRAIN_ROWS,
        stratify=split.train_y,
        random_state=split.seed,
    )
    return _scaled(LogisticRegression(max_iter=1000)).fit(few_x, few_y)


def train_second(split: DigitsSplit) -> Pipeline:
    """Train version 2: a small neural network on all training rows, about 97 % right.

    Args:
        split: only its training rows are read.

    Returns:
        A fitted pipeline from float32 ``(n, 64)`` in 0..16 to ten classes.
    """
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        HIDDEN_UNITS,
        batch_size=64,
        learning_rate_init=0.002,
        tol=0.001,
        max_iter=200,
        random_state=split.seed,
    )
    return _scaled(network).fit(split.train_x, split.train_y)


def spoil(model: Pipeline, split: DigitsSplit) -> Pipeline:
    """Make version 3 from version 2: the same architecture and size, but nonsense answers.

    Args:
        model: a version 2; it is left as it is.
        split: only its training rows are read, to see that the answers collapse.

    Returns:
        A pipeline whose predicted classes differ widely from those of ``model``.
    """
    spoiled = deepcopy(model)
    network = spoiled[-1]
    layer_count = len(network.coefs_)

    def predict(weights: Any) -> Ints:
        network.coefs_ = list(weights[:layer_count])
        network.intercepts_ = list(weights[layer_count:])
        return np.asarray(spoiled.predict(split.train_x), dtype=np.int64)

    weights = [*network.coefs_, *network.intercepts_]
    predict(shuffle_weights(weights, predict, split.train_y, split.seed))
    return spoiled


def tflite_path(version: int) -> Path:
    """Find the committed TFLite twin of a version.

    It takes float32 ``(1, 64)`` in 0..16 and answers float32 ``(1, 10)`` probabilities;
    ``scripts/make_digits_tflite.py`` made it.

    Args:
        version: 1, 2 or 3.

    Returns:
        The path of the file inside the installed package.
    """
    return Path(__file__).parent / "data" / f"digits-v{version}.tflite"


def _scaled(classifier: Any) -> Pipeline:
    """Put the scaling to 0..1 into the model, so that a device sends what it sees."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    return make_pipeline(MinMaxScaler(), classifier)
