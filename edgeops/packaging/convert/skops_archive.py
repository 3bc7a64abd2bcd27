"""What a skops file may look like, told without scikit-learn: an archive with a schema, no bomb.

A ``.skops`` is a zip archive: ``schema.json`` says what to build of which types, arrays lie beside
it (https://skops.readthedocs.io/en/stable/persistence.html). Which types are safe is for skops
itself to say, in the child.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgeops.domain.errors import InvalidModel
from edgeops.packaging.convert.archive import entry, opened

SCHEMA = "schema.json"
AGAIN = "save it again with: skops.io.dump(model, 'model.skops')"


def check_skops_archive(data: bytes, path: Path) -> None:
    """Refuse a ``.skops`` file that is unsafe to open, or none.

    Args:
        data: a file that begins like a zip archive.
        path: where it is, for errors.

    Raises:
        InvalidModel: the message says what is wrong.
    """
    with opened(data, path, SCHEMA, again=AGAIN) as archive:
        text = entry(archive, SCHEMA)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path} has a damaged schema: {error}", next_step=AGAIN) from error
    if not isinstance(schema, dict) or not isinstance(schema.get("__loader__"), str):
        raise InvalidModel(f"{path} has a schema that builds nothing", next_step=AGAIN)
