"""The real models that are measured, and where people get them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quantizers import rows
from benchmarks.quantizers.rows import Rows

VARIABLE = "EDGEOPS_BENCH_MODELS"
WHERE = f"""\
This benchmark wants models that are not part of the project. Put them into a folder, and name it
with ARGS='--models FOLDER' or in {VARIABLE}:

  FOLDER/mlperf_tiny   from github.com/mlcommons/tiny at commit 1afd2c9820f7 (Apache-2.0), out of
                       benchmark/training/*/trained_models: kws_ref_model (folder),
                       kws_ref_model.tflite, pretrainedResnet.h5, pretrainedResnet_quant.tflite,
                       vww_96.h5, vww_96_int8.tflite, ad01.h5, ad01_int8.tflite
  FOLDER/tflm          from github.com/tensorflow/tflite-micro at commit 90b983c2b3f1 (Apache-2.0),
                       out of tensorflow/lite/micro/examples: hello_world_float.tflite,
                       hello_world_int8.tflite, micro_speech_quantized.tflite,
                       trained_lstm.tflite, trained_lstm_int8.tflite

Magika comes with the package magika, and is fetched like all tools."""

EVALUATION_ROWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of the models of MLPerf Tiny.

    Attributes:
        name: short name.
        file: what its trainer left, inside ``mlperf_tiny``.
        rows: gives its inputs.
        classes: whether its answers are classes; the autoencoder's are not.
    """

    name: str
    file: str
    rows: Callable[[], Rows]
    classes: bool = True


MLPERF_TINY = (
    Model(name="kws", file="kws_ref_model", rows=lambda: rows.keywords(EVALUATION_ROWS)),
    Model(
        name="resnet8",
        file="pretrainedResnet.h5",
        rows=lambda: rows.photographs(32, 1.0, EVALUATION_ROWS),
    ),
    Model(name="vww", file="vww_96.h5", rows=lambda: rows.people(EVALUATION_ROWS)),
    Model(name="ad01", file="ad01.h5", rows=lambda: rows.machines(EVALUATION_ROWS), classes=False),
)
MAGIKA = "magika"
NAMES = (*(each.name for each in MLPERF_TINY), MAGIKA)


def models_folder(given: Path | None) -> Path | None:
    """Return the folder with the models, None if there is none."""
    named = given or Path(os.environ.get(VARIABLE, "/nowhere"))
    folder = named.absolute()
    return folder if (folder / "mlperf_tiny").is_dir() and (folder / "tflm").is_dir() else None
