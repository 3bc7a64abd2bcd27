"""What is done to a row is said in one line."""

from __future__ import annotations

import pytest

from device_agent.protocol.preprocessing import Preprocessing
from edgeops.cli.formula import formula
from tests.agent_values import PREPROCESSINGS


@pytest.mark.parametrize(
    ("preprocessing", "line"),
    [
        (Preprocessing(), "row * 1, as-is"),
        (
            Preprocessing(scale=0.5, mean=(1.0,) * 6, std=(2.0,), shape=(6,)),
            "(row * 0.5 - [1, 1, 1, 1, … (2 more)]) / [2], shape [6], as-is",
        ),
        (PREPROCESSINGS["images"], "nearest [2, 2] rgb-to-grey * 1, shape [4, 4, 3], as-is"),
        (
            PREPROCESSINGS["sound"],
            "2 MFCCs of 4 htk bins, frames of 32 each 16 at 16000 Hz * 1, shape [64], as-is",
        ),
        (PREPROCESSINGS["table rows"], "2 features * 1, as-is"),
    ],
)
def test_it_says_the_step_of_the_row_and_the_formula(
    preprocessing: Preprocessing, line: str
) -> None:
    assert formula(preprocessing.to_document()) == line
