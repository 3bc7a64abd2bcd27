"""The rules of probation: what a newly activated model must show on real inferences.

A value of the protocol, since a rollout may tighten or widen each rule for its devices; the
decision that uses it is ``device_agent.core.probation``.
"""

from __future__ import annotations

import dataclasses

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbationRules:
    """Every rule of probation with its default.

    The comparisons need a *parent*: the version that was active before, as counted on this very
    device. Without a parent (a first model), or before the parent has ``min_inferences`` of its
    own, only the absolute rules hold.
    """

    min_inferences: int = 100
    """Inferences that must be seen before probation can be passed."""
    min_duration_s: float = 0.0
    """Seconds that must pass before probation can be passed."""
    timeout_s: float = 3600.0
    """Seconds after which a probation that saw too few inferences is rolled back."""
    max_trials: int = 3
    """Loads of the model during probation (power cuts, crashes) before it is rolled back."""
    max_failures: int = 3
    """Inferences that raised an error; one more rolls back at once."""
    max_nonfinite: int = 0
    """Inferences with NaN or infinity in an output; one more rolls back at once."""
    max_latency_ratio: float = 3.0
    """Largest ratio of the median latency to the parent's median latency."""
    min_latency_rise_ms: float = 1.0
    """Smallest rise of the median latency that counts: less is what a busy processor does."""
    max_class_shift: float = 0.35
    """Largest total variation distance (0 to 1) between the shares of predicted classes and the
    parent's, beyond what chance explains at these counts."""
    max_confidence_shift: float = 0.30
    """Largest total variation distance (0 to 1) between coarse confidence histograms and the
    parent's, beyond what chance explains at these counts, when confidence *falls*."""
    max_label_drop: float = 0.15
    """Largest drop of accuracy on labelled inferences against the parent, if both have
    ``min_labels``."""
    min_labels: int = 30
    """Labelled inferences that both versions need before accuracy is compared."""

    def to_document(self) -> dict[str, object]:
        """Return the JSON form: every rule by its name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_fields(cls, fields: Fields) -> ProbationRules:
        """Read overrides; a rule that is absent keeps its default.

        Raises:
            ProtocolError: a rule of the wrong type or below zero.
        """
        values: dict[str, int | float] = {}
        for rule in dataclasses.fields(cls):
            if fields.has(rule.name):
                values[rule.name] = (
                    fields.integer(rule.name) if rule.type == "int" else fields.number(rule.name)
                )
        return cls(**values)  # type: ignore[arg-type]  # checked by name and type just above

    @classmethod
    def from_texts(cls, overrides: dict[str, str]) -> ProbationRules:
        """Read overrides typed by a person, e.g. ``{"min_inferences": "40"}``.

        Raises:
            ProtocolError: an unknown rule, a value that is no number, or no trial at all.
        """
        known = {rule.name: rule.type for rule in dataclasses.fields(cls)}
        document: dict[str, int | float] = {}
        for name, text in overrides.items():
            if name not in known:
                raise ProtocolError(
                    f"{name!r} is no probation rule", next_step="known: " + ", ".join(known)
                )
            try:
                document[name] = int(text) if known[name] == "int" else float(text)
            except ValueError as error:
                raise ProtocolError(f"{name}={text!r} is not a number") from error
        rules = cls.from_fields(Fields(document, "probation"))
        if rules.max_trials < 1:
            raise ProtocolError(
                "max_trials=0 would let no device load the version", next_step="give 1 or more"
            )
        return rules
