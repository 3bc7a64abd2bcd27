"""Which rows are counted, of a model that answers more often than counting each would tell."""

from __future__ import annotations

from random import Random

FULL_ROWS = 512
"""Rows between two ``close`` that are all counted. A minute is the usual time between them, and
drift is looked for in windows of some hundred rows."""


class Thinning:
    """Chooses every row, or one of ``every`` on average: by chance, for rows may have a rhythm.

    ``every`` is a power of two. At a steady rate it is the same between two ``close``, and about
    ``FULL_ROWS`` to twice as many rows are chosen, all if there are fewer. It follows the rate of
    before (about what was offered); one that leaps doubles it at once. The first row is always
    chosen.
    """

    def __init__(self) -> None:
        """Begin with every row."""
        self.every = 1
        self._chance = Random(0)  # noqa: S311 - no secret, and a test's rows are always the same
        self._passing = 0
        self._chosen = self._offered = 0
        self._is_over = False

    def chooses(self) -> bool:
        """Say whether the row that is offered now is one to count."""
        if self._passing > 0:  # another thread may close in between: then it is -1 now
            self._passing -= 1
            return False
        if self._is_over:
            self._begin_anew()
        if self.every > 1:
            self._passing = self._chance.randrange(2 * self.every - 1)
        self._offered += self.every
        self._chosen += 1
        if self._chosen == 2 * FULL_ROWS:
            self.every *= 2
            self._chosen = 0
        return True

    def close(self) -> None:
        """Begin anew with the row that is offered next; another thread than its own may say so."""
        self._is_over = True
        self._passing = 0

    def _begin_anew(self) -> None:
        """Follow the rate of before."""
        self._is_over = False
        self.every = 1 << max(0, (self._offered // FULL_ROWS).bit_length() - 1)
        self._chosen = self._offered = 0
