"""Sizes as people write them."""

from __future__ import annotations

import pytest

from edgeops.cli.packages import parse_size
from edgeops.domain.errors import InvalidInput


@pytest.mark.parametrize(("text", "size_bytes"), [("4096", 4096), ("60k", 61440), ("1K", 1024)])
def test_a_size_is_bytes_or_kib(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5", "²", "٣", "9" * 5000, "4 k"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no size"):
        parse_size(text)
