"""What ``Agent.infer`` answers: made once an inference, by the model that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Prediction(NamedTuple):
    """One answer of one version of one model. A tuple: it is made in half the time.

    Attributes:
        model: name of the model.
        version: number of the version that answered.
        digest: digest of its manifest: the name of its package.
        outputs: every output as a numpy array, by name, with a batch dimension of 1.
        class_index: predicted class, None for a model without scores and for a prediction below
            the package's threshold.
        label: name of the predicted class, None without one or if the package has no labels.
        confidence: 0 to 1, of the likeliest class; also where it is below its threshold.
        latency_ms: milliseconds in the runtime.
        sample: ticket of the row if it was chosen as a sample, None otherwise.
    """

    model: str
    version: int
    digest: str
    outputs: Mapping[str, Any]
    class_index: int | None
    label: str | None
    confidence: float
    latency_ms: float
    sample: int | None = None
