"""TOML gone wrong: values of every kind under every key."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.fuzz.spoil_bytes import ROUNDS, spoil_text

VALUES = (
    *("1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "nan", "inf", "-inf", "1e999", "true"),
    *("0x" + "f" * 6000, "9" * 5000, "-1", "0", "1_000", '""', "''", '"""x"""', "[]", "[[]]"),
    *("{}", "{ a = 1 }", "{ a.b.c = {} }", "[1, 'x', 1979-05-27]", '"\\u0000"', '"\\ud800"'),
    *(
        "[" * 2000 + "]" * 2000,
        "{a=" * 1500 + "1" + "}" * 1500,
        "[" * 30_000,
        "'" + "x" * 9000 + "'",
    ),
)
LINES = (
    *("[budget]", "[[budget]]", "[a]", "[a.b.c]", '["".x]', "x = 1", "x.y = 1", "# comment", "\t"),
    *("[" + "a." * 2000 + "a]", "a." * 2000 + "a = 1", "=", "x", "[", "]]"),
)


def spoil_toml(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a TOML file with lines or values spoiled.

    Args:
        data: a valid file.
        chance: decides all.
        others: files to take lines from.
    """
    lines = data.decode().splitlines()
    for _ in range(chance.choice(ROUNDS)):
        at = chance.randrange(len(lines) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(lines):
            del lines[at]
        elif kind == 1:
            lines.insert(at, chance.choice((*LINES, *lines)))
        elif kind == 2:
            lines.insert(at, chance.choice(chance.choice(others).decode().splitlines()))
        elif at < len(lines) and "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {chance.choice(VALUES)}"
    written = "\n".join(lines).encode()
    return spoil_text(written, chance, others) if chance.random() < 0.3 else written
