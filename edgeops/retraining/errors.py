"""Errors of retraining, below ``EdgeopsError``."""

from __future__ import annotations

from edgeops.domain.errors import EdgeopsError


class TrainingFailed(EdgeopsError):
    """The training script gave no model: it crashed, hung, or wrote nothing that counts."""
