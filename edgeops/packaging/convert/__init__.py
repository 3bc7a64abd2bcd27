"""Converting and quantizing: the only importers of tensorflow, onnx and the quantizers.

``convert`` is the one door. Converters are native code that crashes, and TensorFlow's import
takes seconds: so each conversion runs in a child process (``child``), and is cached.
"""

from edgeops.packaging.convert.process import Limits
from edgeops.packaging.convert.steps import Converted, convert

__all__ = ["Converted", "Limits", "convert"]
