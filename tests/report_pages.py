"""Pages of reports as tests read them, and facts in which every text is hostile."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

HOSTILE = "</style><script>alert(1)</script>\" onload='x' &amp; $\\frac$ _^ \x1b\u202e\ud800 è漢"


class Page(HTMLParser):
    """The tags, ids, references and text of a page; no tag may be left open."""

    VOID = frozenset({"meta", "path", "use", "rect"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def ids(self) -> list[str]:
        return [value or "" for name, value in self.attributes if name == "id"]

    @property
    def references(self) -> set[str]:
        values = [value or "" for _, value in self.attributes]
        found = {match for value in values for match in re.findall(r"url\(#([^)]+)\)", value)}
        return found | {
            value[1:] for name, value in self.attributes if name == "href" and value is not None
        }


def text_of(page: str) -> str:
    return " ".join(" ".join(Page(page).text).split())


def hostile(value: Any, text: str = HOSTILE) -> Any:
    """Return facts in which every text is hostile."""
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(hostile(each, text) for each in value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: hostile(getattr(value, name), text) for name in names})
    return value
