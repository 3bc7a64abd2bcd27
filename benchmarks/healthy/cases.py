"""The list: models that are known to be right, by recipes that do not hurt them.

A gate that rejects one of these cries wolf. Nothing is waived. Where the labels of a model's rows
are its own answers, each that a conversion changes counts as lost, however near both were; and few
rows prove little. Such cases allow a larger drop, as their makers would with ``--max-drop``.
"""

from __future__ import annotations

from dataclasses import dataclass

MODELS, MAGIKA, TENSORFLOW = "models", "magika", "tensorflow"
OLD = "raspberry-pi-32-bit"
LITERT, ONNX = "raspberry-pi-zero-2w", "raspberry-pi-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One package to make.

    Attributes:
        model: which, by its name in ``materials``.
        recipe: empty for a file that is packaged as it is.
        profiles: boards that it is for.
        needs: what it takes besides the project: ``models`` (files of others), ``magika``,
            ``tensorflow``.
        max_drop: the bar of the gate quality.
    """

    model: str
    recipe: str = ""
    profiles: tuple[str, ...]
    needs: tuple[str, ...] = ()
    max_drop: float = 0.02

    @property
    def name(self) -> str:
        """How the list and the tests name it."""
        return f"{self.model} {self.recipe or 'as it is'} for {', '.join(self.profiles)}"


SMALL = (
    Case(model="digits.tflite", profiles=(LITERT, OLD)),
    Case(model="digits.tflite", recipe="int8", profiles=(LITERT, OLD)),
    Case(model="digits.tflite", recipe="float16", profiles=(LITERT,)),
    Case(model="digits.tflite", recipe="int8", profiles=("nucleo-l4r5zi",)),
    Case(model="convolution.tflite", recipe="int8", profiles=(LITERT,), max_drop=0.05),
    Case(model="digits-network.onnx", recipe="int8", profiles=(ONNX,)),
    Case(model="digits-network.onnx", recipe="auto", profiles=(ONNX,)),
    Case(model="digits-forest.onnx", profiles=(ONNX,)),
    Case(model="wine-logistic.onnx", profiles=(ONNX,)),
    Case(model="wine-network.onnx", recipe="int8", profiles=(ONNX,), max_drop=0.1),
    Case(model="cancer-network.onnx", recipe="int8", profiles=("x86-64-generic",), max_drop=0.05),
    Case(model="cancer-forest.onnx", profiles=(ONNX,)),
    Case(model="iris-logistic.onnx", profiles=(ONNX,)),
)
"""What needs nothing but the project: a test makes these too."""

KERAS = (
    Case(model="digits-dense.keras", recipe="int8", profiles=(ONNX, LITERT), needs=(TENSORFLOW,)),
    Case(
        model="digits-convolution.keras",
        recipe="int8",
        profiles=(ONNX, LITERT),
        needs=(TENSORFLOW,),
    ),
    Case(model="iris-dense.keras", profiles=(ONNX, LITERT), needs=(TENSORFLOW,)),
    Case(
        model="wine-dense.keras",
        recipe="auto",
        profiles=(LITERT,),
        needs=(TENSORFLOW,),
        max_drop=0.1,
    ),
    Case(
        model="cancer-dense.keras",
        recipe="int8",
        profiles=(ONNX, LITERT),
        needs=(TENSORFLOW,),
        max_drop=0.05,
    ),
)

_BOTH = (MODELS, TENSORFLOW)
REAL = (
    Case(model="kws", recipe="int8", profiles=(ONNX, LITERT), needs=_BOTH, max_drop=0.05),
    Case(model="kws", recipe="auto", profiles=(LITERT, OLD), needs=_BOTH, max_drop=0.05),
    Case(model="resnet8", recipe="int8", profiles=(LITERT,), needs=_BOTH, max_drop=0.05),
    Case(model="resnet8", recipe="auto", profiles=(ONNX,), needs=_BOTH, max_drop=0.05),
    Case(model="vww", recipe="int8", profiles=(ONNX, LITERT), needs=_BOTH, max_drop=0.05),
    Case(model="vww-int8.tflite", profiles=("nucleo-l4r5zi",), needs=(MODELS,)),
    Case(model="ad01", profiles=(ONNX, LITERT), needs=_BOTH),
    Case(model="ad01-int8.tflite", profiles=("nucleo-l4r5zi", LITERT), needs=(MODELS,)),
    Case(model="hello-world.tflite", profiles=("raspberry-pi-pico-2",), needs=(MODELS,)),
    Case(model="micro-speech-int8.tflite", profiles=("esp32-s3-devkitc-1",), needs=(MODELS,)),
    Case(model="lstm.tflite", profiles=(LITERT,), needs=(MODELS,)),
    Case(model="magika.onnx", recipe="auto", profiles=(ONNX,), needs=(MAGIKA,), max_drop=0.05),
)

CASES = (*SMALL, *KERAS, *REAL)
