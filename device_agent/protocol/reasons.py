"""Reason codes: the closed list of why a device refused or failed.

A reason is what operators filter and count by; the sentence beside it (``detail``) is for
people and may change.
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a deployment did not end in a commit, or a message was not obeyed."""

    # admission: the order itself is wrong
    UNTRUSTED_ORDER = "untrusted_order"
    WRONG_DEVICE = "wrong_device"
    UNSIGNED_PACKAGE = "unsigned_package"
    ALTERED_PACKAGE = "altered_package"
    OLDER_THAN_FLOOR = "older_than_floor"
    QUARANTINED = "quarantined"
    AGENT_TOO_OLD = "agent_too_old"
    NO_VARIANT = "no_variant"
    MALFORMED_MANIFEST = "malformed_manifest"
    # delivery and storage
    DOWNLOAD_TIMEOUT = "download_timeout"
    CORRUPT_DOWNLOAD = "corrupt_download"
    DISK_FULL = "disk_full"
    STORAGE_FAILED = "storage_failed"
    # self-test
    LOAD_FAILED = "load_failed"
    SELF_TEST_TIMEOUT = "self_test_timeout"
    SELF_TEST_CRASHED = "self_test_crashed"
    GOLDEN_MISMATCH = "golden_mismatch"
    GOLDEN_ACCURACY = "golden_accuracy"
    PARENT_GOLDEN_ACCURACY = "parent_golden_accuracy"
    NONFINITE_OUTPUT = "nonfinite_output"
    LATENCY_BUDGET = "latency_budget"
    MEMORY_BUDGET = "memory_budget"
    # probation
    PROBATION_FAILURES = "probation_failures"
    PROBATION_NONFINITE = "probation_nonfinite"
    PROBATION_LATENCY = "probation_latency"
    PROBATION_CLASS_SHIFT = "probation_class_shift"
    PROBATION_CONFIDENCE_SHIFT = "probation_confidence_shift"
    PROBATION_LABELS = "probation_labels"
    PROBATION_TIMEOUT = "probation_timeout"
    PROBATION_TRIALS = "probation_trials"
    KILLED_AGENT = "killed_agent"
    # the machine itself
    TOO_MANY_TRANSITIONS = "too_many_transitions"
    SUPERSEDED = "superseded"
