"""Rows as a device will prepare them: what a model of a package with preprocessing is trained on.

    python prepare_rows.py preprocessing/sound.json ROWS.npz PREPARED.npz

``ROWS.npz`` holds raw ``x`` and perhaps ``y``. Train on ``PREPARED.npz``, then package the model
with the same file and raw rows: edgeops package MODEL --preprocessing preprocessing/sound.json …
"""

import sys
from pathlib import Path

import numpy as np

from device_agent.processing.prepare import prepare_rows
from edgeops.packaging.rows.preprocessing import read_preprocessing

preprocessing, rows, prepared = map(Path, sys.argv[1:])
with np.load(rows) as raw:
    made = prepare_rows(raw["x"], read_preprocessing(preprocessing))
    np.savez(prepared, x=made, **{name: raw[name] for name in raw.files if name != "x"})
print(f"{len(made)} rows of shape {list(made.shape[1:])}")
