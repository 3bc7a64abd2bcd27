"""SVG as matplotlib writes it, made fit to stand among others in one page.

Rules:

1. Only tags are touched, never text: in what matplotlib writes, ``<`` and ``>`` stand nowhere else.
2. Ids that something refers to get the figure's prefix, so that no two figures share one; the
   others are dropped.
3. Nothing names a font or a size in points: the page's style sheet does, and scales the drawing.
4. Coordinates have two decimals: a hundredth of a point cannot be seen.
"""

from __future__ import annotations

import html
import re

from edgeops.reports.wording import visible

_PREAMBLE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_DROPPED = re.compile(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", re.DOTALL)
_EMPTY = re.compile(r"<defs>\s*</defs>")
_TAG = re.compile(r"<(/?[\w:]+)([^<>]*?)(/?)>")
_ATTRIBUTE = re.compile(r'([\w:.-]+)="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(|href=")#([\w.-]+)')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT_FAMILY = re.compile(r"font-family:[^;]*;?\s*")
_BETWEEN_TAGS = re.compile(r">\s+<")
_COORDINATES = frozenset({"d", "x", "y", "width", "height"})
_OF_THE_FILE = frozenset({"xmlns", "xmlns:xlink", "version", "width", "height"})


def inlined(written: str, *, prefix: str, title: str) -> str:
    """Return an SVG document as an element of a page.

    Args:
        written: by matplotlib, with text as text.
        prefix: of ids, unlike that of every other drawing in the page.
        title: what a reader who cannot see it is told.
    """
    body = _EMPTY.sub("", _DROPPED.sub("", _PREAMBLE.sub("", written, count=1)))
    referred = set(_REFERENCE.findall("".join(match[0] for match in _TAG.finditer(body))))

    def tag(match: re.Match[str]) -> str:
        name, attributes, end = match.groups()
        kept = "".join(_attribute(name, *each, prefix, referred) for each in _pairs(attributes))
        if name == "svg":
            kept += f' role="img" aria-label="{html.escape(visible(title))}"'
        return f"<{name}{kept}{end}>"

    return _BETWEEN_TAGS.sub("><", _TAG.sub(tag, body)).strip()


def _pairs(attributes: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in _ATTRIBUTE.finditer(attributes)]


def _attribute(tag: str, name: str, value: str, prefix: str, referred: set[str]) -> str:
    if _is_dropped(tag, name, value, referred):
        return ""
    if name == "id":
        value = f"{prefix}-{value}"
    elif name in _COORDINATES:
        value = " ".join(_LONG_NUMBER.sub(_shortened, value).split())
    elif name == "style":
        value = _FONT_FAMILY.sub("", value).strip()
    elif name in ("xlink:href", "href"):
        name, value = "href", value.replace("#", f"#{prefix}-", 1)
    value = value.replace("url(#", f"url(#{prefix}-")
    return f' {name}="{value}"'


def _is_dropped(tag: str, name: str, value: str, referred: set[str]) -> bool:
    if name == "id":
        return value not in referred
    if name == "transform":
        return value.startswith(("rotate(-0 ", "rotate(0 "))
    return tag == "svg" and name in _OF_THE_FILE


def _shortened(number: re.Match[str]) -> str:
    short = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short
