"""What native code says on standard error: some runtimes give their reasons nowhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WORDS_BYTES = 64 * 1024


@contextmanager
def native_words() -> Iterator[list[str]]:
    """Keep back what is written to descriptor 2 meanwhile; the list has its lines afterwards.

    The descriptor is the whole process's: what other threads write meanwhile is kept back too.
    A process without it, or without a place for the words, hears nothing.
    """
    lines: list[str] = []
    try:
        real = os.dup(2)
    except OSError:
        yield lines
        return
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(real, 2)
                file.seek(0)
                said = file.read(MAX_WORDS_BYTES).decode(errors="replace")
                lines += [" ".join(line.split()) for line in said.split("\n") if line.strip()]
    finally:
        os.close(real)
