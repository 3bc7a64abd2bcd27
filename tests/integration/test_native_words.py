"""What native code says is kept for the error, and standard error is as it was afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.runtimes.native_words import MAX_WORDS_BYTES, native_words

ROOT = Path(__file__).parent.parent.parent


def test_lines_are_kept_in_their_order_and_empty_ones_are_none() -> None:
    with native_words() as said:
        os.write(2, b"first  line\n\n  second\xff\n")
        assert said == []
    assert said == ["first line", "second\ufffd"]


def test_standard_error_is_the_old_one_afterwards_also_after_an_error() -> None:
    before = os.fstat(2)
    with pytest.raises(ValueError), native_words() as said:
        os.write(2, b"why\n")
        raise ValueError
    assert said == ["why"]
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (before.st_dev, before.st_ino)


def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with native_words():
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_kept_is_bounded() -> None:
    with native_words() as said:
        os.write(2, b"x" * (MAX_WORDS_BYTES + 100))
    assert [len(line) for line in said] == [MAX_WORDS_BYTES]


def test_a_process_without_standard_error_hears_nothing() -> None:
    program = (
        "import os\n"
        "from device_agent.runtimes.native_words import native_words\n"
        "os.close(2)\n"
        "with native_words() as said: pass\n"
        "print(said)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
