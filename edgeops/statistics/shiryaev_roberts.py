"""The Shiryaev-Roberts recursion that all e-detectors here share, its state and its threshold.

Each of D features holds a family of alternatives. For every alternative a window of counts gives
an e-value e: a number whose mean is at most 1 as long as nothing has changed. Then

    R = (R + 1) e

sums, over all windows at which a change may have begun, the evidence for it. Without change the
mean of R after t windows is at most t, hence (Shin, Ramdas, Rinaldo: E-detectors, 2022) the mean
run until R >= A is at least A windows. A weighted mean of such R over alternatives and features is
again one, whatever the dependence between the features: no correction for their number is needed.

The state is a value. R is kept as a whole number of ten-thousandths of a nat, rounded down in every
step, so that a state that was stored goes on exactly as one that was not; rounding down only
loses evidence, so that the bound holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PER_NAT = 10_000
_FLOOR = -10 * _PER_NAT
"""log R at or below -10 nats is taken for R = 0."""
_CEILING = 460 * _PER_NAT
"""About 1e200: R grows no further, which only loses evidence."""


def alarm_threshold(
    windows_per_day: float,
    false_alarms_per_1000_device_days: float = 1.0,
    *,
    share: float = 1.0,
) -> float:
    """Return the threshold A on the mean R that keeps a budget of false alarms.

    A = windows per day x 1,000 / budget; by the run-length bound there are then at most that many
    false alarms in 1,000 device-days on average, if the detector starts anew after each.

    Args:
        windows_per_day: windows that one device closes in a day.
        false_alarms_per_1000_device_days: the budget.
        share: the part of the budget that this detector gets, where several watch one device.

    Raises:
        ValueError: a number that is not positive, or a share above 1.
    """
    if windows_per_day <= 0 or false_alarms_per_1000_device_days <= 0 or not 0 < share <= 1:
        raise ValueError("windows, budget and share must be positive, the share at most 1")
    return windows_per_day * 1000.0 / false_alarms_per_1000_device_days / share


@dataclass(frozen=True, slots=True, eq=False)
class DetectorState:
    """What an e-detector remembers between windows. Immutable; store it by ``to_document``.

    Attributes:
        windows: windows seen so far.
        log_r: (D, A) int32, log R of each feature and alternative in 1/10,000 nat.
        since: (D, A) int32, number of windows seen when that R was last below 1: the index,
            counted from 0, of the first window of the change that it argues for.
    """

    windows: int
    log_r: NDArray[np.int32]
    since: NDArray[np.int32]

    @classmethod
    def start(cls, features: int, alternatives: int) -> DetectorState:
        """Return the state before the first window: all R are 0."""
        shape = (features, alternatives)
        return cls(0, _frozen(np.full(shape, _FLOOR)), _frozen(np.zeros(shape)))

    @property
    def r(self) -> NDArray[np.float64]:
        """(D, A) the values of R."""
        values: NDArray[np.float64] = np.where(
            self.log_r > _FLOOR, np.exp(self.log_r / _PER_NAT), 0.0
        )
        return values

    def to_document(self) -> dict[str, Any]:
        """Return whole numbers and lists of them; about 8 bytes of JSON per alternative.

        ``since`` is written as its age in windows, mostly 0.
        """
        return {
            "windows": self.windows,
            "log_r": self.log_r.tolist(),
            "age": (self.windows - self.since).tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DetectorState:
        """Return the state that gave this document, exactly.

        Raises:
            ValueError: not such a document.
        """
        try:
            windows = int(document["windows"])
            log_r = _whole(document["log_r"])
            age = _whole(document["age"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError("this is no state of an e-detector") from error
        if log_r.ndim != 2 or log_r.shape != age.shape or windows < 0:
            raise ValueError("this is no state of an e-detector")
        if log_r.size and (age.min() < 0 or age.max() > windows or log_r.max() > _CEILING):
            raise ValueError("the state of an e-detector is out of its range")
        return cls(windows, _frozen(np.maximum(log_r, _FLOOR)), _frozen(windows - age))

    def advance(
        self, log_e: NDArray[np.float64], fed: NDArray[np.bool_], *, cap: float
    ) -> DetectorState:
        """Return the state after one window.

        Args:
            log_e: (D, A) logarithms of the window's e-values.
            fed: (D,) which features had rows; the others keep their R, without the + 1.
            cap: log e is cut at this many nats, so that no single window decides for ever;
                cutting from above leaves an e-value an e-value.
        """
        grown = (np.log1p(self.r) + np.minimum(log_e, cap)) * _PER_NAT
        log_r = np.floor(np.clip(grown, _FLOOR, _CEILING))
        log_r = np.where(fed[:, None], log_r, self.log_r)
        windows = self.windows + 1
        since = np.where(log_r < 0, windows, self.since)
        return DetectorState(windows, _frozen(log_r), _frozen(since))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """What the windows so far say against "nothing has changed".

    Attributes:
        value: mean R over features: what is held against ``alarm_threshold``.
        per_feature: (D,) R of each feature; ``value`` is their mean.
        leading_feature: index of the feature with the largest R.
        leading: name of the direction that leads in it, e.g. ``location+``.
        since: index, from 0, of the first window of the change that this direction argues for,
            an estimate; equal to ``windows`` where no R is above 1.
        windows: windows seen.
        directions: (D,) name of the leading direction of each feature.
        since_per_feature: (D,) as ``since``, for the leading direction of each feature.
    """

    value: float
    per_feature: NDArray[np.float64]
    leading_feature: int
    leading: str
    since: int
    windows: int
    directions: tuple[str, ...]
    since_per_feature: NDArray[np.int32]

    def alarms(self, threshold: float) -> bool:
        """Tell whether the evidence has reached the threshold."""
        return self.value >= threshold


def evidence_of(
    state: DetectorState, weights: NDArray[np.float64], names: Sequence[Sequence[str]]
) -> Evidence:
    """Return what a state says.

    Args:
        state: of D features with A alternatives.
        weights: (D, A) weights of the alternatives, each row with the sum 1.
        names: for each feature the names of its directions, alternative by alternative.
    """
    r = state.r
    weighted = r * weights
    per_feature = weighted.sum(axis=1)
    leads = weighted.argmax(axis=1)
    since = state.since[np.arange(len(leads)), leads]
    first = int(per_feature.argmax())
    directions = tuple(names[d][int(lead)] for d, lead in enumerate(leads))
    return Evidence(
        value=float(per_feature.mean()),
        per_feature=per_feature,
        leading_feature=first,
        leading=directions[first],
        since=int(since[first]),
        windows=state.windows,
        directions=directions,
        since_per_feature=since,
    )


def _whole(values: Any) -> NDArray[np.int64]:
    array = np.array(values)
    if array.dtype.kind != "i":
        raise ValueError("the state of an e-detector holds whole numbers only")
    return array.astype(np.int64)


def _frozen(values: NDArray[Any]) -> NDArray[np.int32]:
    array = values.astype(np.int32)
    array.setflags(write=False)
    return array
