"""What a report is made of: sections of blocks. Chapters make them, the template shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    ``tone`` is ``good``, ``bad``, ``quiet``, ``long`` (breaks anywhere) or empty, ``is_code`` a
    name.
    """

    text: str
    tone: str = ""
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table; figures stand to the right."""

    title: str
    is_figure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns, with a line below that says how to read them."""

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG that this room drew, with its caption."""

    kind: ClassVar[str] = "picture"
    svg: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside a section, with an optional quieter part after it."""

    kind: ClassVar[str] = "heading"
    text: str
    aside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A paragraph; ``tone`` as in a cell, or ``outcome`` for the one to remember."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A few numbers that say most: ``(number, what it counts, remark)``.

    ``is_dense``: numbers have units, so they are set smaller.
    """

    kind: ClassVar[str] = "figures"
    items: tuple[tuple[str, str, str], ...]
    is_dense: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened, in order: ``(moment, sentence, tone)``."""

    kind: ClassVar[str] = "story"
    events: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Names and what stands behind each."""

    kind: ClassVar[str] = "terms"
    items: tuple[tuple[str, str], ...]


Block: TypeAlias = Table | Picture | Heading | Paragraph | Figures | Story | Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section: what one sees in it and how to read it, then its blocks; none: nothing yet."""

    anchor: str
    title: str
    lead: str
    blocks: tuple[Block, ...]
