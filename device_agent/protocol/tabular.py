"""Table rows as data: what is done to each feature before the model sees it.

For a row of as many numbers as there are ``features``, in float32 and in this order::

    missing (NaN)     becomes ``fill``; without ``fill`` the row is refused
    numbers           are held within ``clip`` [low, high], then become ln(1 + x) with ``log1p``
    categories        become the position of the number among ``categories``, or one 1 among
                      zeros (``one-hot``)

What is made stands in the order of the features. A number that is none of the categories is
unknown: its position is behind all others (``last``), before them (``first``), or it is zeros
alone (``zeros``, only ``one-hot``).
"""

from __future__ import annotations

import math
import struct

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.values import dataclass

ONE_HOT = "one-hot"
INDEX = "index"
ENCODINGS = (ONE_HOT, INDEX)
LAST = "last"
FIRST = "first"
ZEROS = "zeros"
UNKNOWNS = (LAST, FIRST, ZEROS)
MAX_FEATURES = 512
MAX_CATEGORIES = 256
MAX_WIDTH = 4096
"""Numbers that one row may become."""
MAX_NAME = 64
MAX_VALUE = 1e12
MAX_CATEGORY = 2**24 - 1
"""Up to here float32 holds every integer: no other number is taken for one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number of a row, and what is done to it.

    Attributes:
        name: how errors name it; may be empty.
        fill: what a missing one becomes, None if none may be missing.
        clip: lowest and highest; empty leaves it as it is.
        log1p: whether ln(1 + x) is taken.
        categories: the known numbers; empty if it is no category.
        encoding: of categories, ``one-hot`` or ``index``.
        unknown: where a number that is not known goes: ``last``, ``first`` or ``zeros``.
    """

    name: str = ""
    fill: float | None = None
    clip: tuple[float, ...] = ()
    log1p: bool = False
    categories: tuple[float, ...] = ()
    encoding: str = ONE_HOT
    unknown: str = LAST

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        if not self.categories or self.encoding == INDEX:
            return 1
        return len(self.categories) + (self.unknown != ZEROS)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; what is as the default is left out."""
        document: dict[str, object] = {}
        if self.name:
            document["name"] = self.name
        if self.fill is not None:
            document["fill"] = float(self.fill)
        if self.clip:
            document["clip"] = [float(each) for each in self.clip]
        if self.log1p:
            document["log1p"] = True
        if self.categories:
            document["categories"] = [float(each) for each in self.categories]
            document["encoding"] = self.encoding
            document["unknown"] = self.unknown
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> Feature:
        """Read the JSON form; what is left out has its default.

        Raises:
            ProtocolError: a wrong type or range, an unknown word, or steps that exclude each
                other; the message names the field.
        """
        given = set(fields.names())
        feature = cls(
            name=fields.text("name", max_length=MAX_NAME) if "name" in given else "",
            fill=_value(fields, "fill") if "fill" in given else None,
            clip=_clip(fields) if "clip" in given else (),
            log1p=fields.boolean("log1p") if "log1p" in given else False,
            categories=_categories(fields) if "categories" in given else (),
            encoding=fields.word("encoding", ENCODINGS) if "encoding" in given else ONE_HOT,
            unknown=fields.word("unknown", UNKNOWNS) if "unknown" in given else LAST,
        )
        feature._check_together(fields.path, given)
        return feature

    def _check_together(self, path: str, given: set[str]) -> None:
        if self.categories and (self.clip or self.log1p):
            raise ProtocolError(f"{path}.categories cannot be clipped, nor have a logarithm")
        for key in ("encoding", "unknown"):
            if key in given and not self.categories:
                raise ProtocolError(f"{path}.{key} needs categories")
        if self.unknown == ZEROS and self.encoding == INDEX:
            raise ProtocolError(f"{path}.unknown {ZEROS} needs the encoding {ONE_HOT}")
        # What is filled is clipped too: with a clip its lowest is what matters.
        lowest = {"clip": self.clip[0]} if self.clip else {"fill": self.fill}
        for key, value in lowest.items():
            if self.log1p and value is not None and nearest_float32(value) <= -1.0:
                raise ProtocolError(f"{path}.{key} begins at {value:g}, log1p needs more than -1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularStep:
    """What is done to each feature of a row, in the order of the row."""

    features: tuple[Feature, ...]

    def __hash__(self) -> int:
        """Return a cheap hash: it is asked for at each inference, and few steps are compared."""
        return len(self.features)

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        return sum(feature.width for feature in self.features)

    @property
    def filled(self) -> tuple[bool, ...]:
        """For each feature whether it may be missing."""
        return tuple(feature.fill is not None for feature in self.features)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what it makes of a row."""
        del shape  # as many as there are features: that was checked
        return (self.width,)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"features": [feature.to_document() for feature in self.features]}

    @classmethod
    def from_fields(cls, fields: Fields) -> TabularStep:
        """Read the JSON form.

        Raises:
            ProtocolError: no features, too many, or one that cannot be; the message names it.
        """
        step = cls(features=fields.list_of("features", Feature.from_fields, max_items=MAX_FEATURES))
        if not step.features:
            raise ProtocolError(f"{fields.path}.features is empty")
        if step.width > MAX_WIDTH:
            raise ProtocolError(
                f"{fields.path}.features become {step.width} numbers, {MAX_WIDTH} are allowed"
            )
        names = [feature.name for feature in step.features if feature.name]
        for name in names:
            if names.count(name) > 1:
                raise ProtocolError(f"{fields.path}.features has the name {name!r} twice")
        return step

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Refuse rows of another number of elements.

        Raises:
            ProtocolError: which field, and why.
        """
        if math.prod(shape) != len(self.features):
            raise ProtocolError(
                f"{path}.features are {len(self.features)}, the shape {list(shape)} has "
                f"{math.prod(shape)} elements",
                next_step="give one feature for each number of a row; {} leaves it as it is",
            )


def nearest_float32(value: float) -> float:
    """Return the number of single precision that is nearest to ``value``."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _value(fields: Fields, key: str) -> float:
    return fields.number(key, minimum=-MAX_VALUE, maximum=MAX_VALUE)


def _clip(fields: Fields) -> tuple[float, ...]:
    clip = fields.numbers("clip", max_items=2)
    good = all(abs(value) <= MAX_VALUE for value in clip)
    if not good or (clip and (len(clip) != 2 or clip[0] > clip[1])):
        raise ProtocolError(
            f"{fields.path}.clip is {list(clip)}, not [low, high] within ±{MAX_VALUE:g}"
        )
    return clip


def _categories(fields: Fields) -> tuple[float, ...]:
    categories = fields.numbers("categories", max_items=MAX_CATEGORIES)
    for value in categories:
        if not abs(value) <= MAX_CATEGORY:
            raise ProtocolError(
                f"{fields.path}.categories has {value:g}, not within ±{MAX_CATEGORY}",
                next_step="number the categories in the application, for example from 0",
            )
    # Rows are compared in float32: there -0.0 is 0.0, and what is very near is the same.
    distinct = {nearest_float32(value) + 0.0 for value in categories}
    if len(distinct) != len(categories):
        raise ProtocolError(f"{fields.path}.categories has a number twice (in float32)")
    return categories
