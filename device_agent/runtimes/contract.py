"""What the agent needs of a runtime: load a file, run rows, close."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from device_agent.protocol.manifest import TensorSpec

if TYPE_CHECKING:  # a device without any runtime has no numpy, and still runs the agent
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"


class LoadedModel(Protocol):
    """A model in memory. Not thread-safe: callers hold one lock a model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the order in which ``run`` takes them; -1 is a free dimension."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the order in which ``run`` returns them."""
        ...

    def run(self, inputs: list[Array]) -> list[Array]:
        """Answer one row.

        Args:
            inputs: one array for each of ``inputs``, of exactly its dtype and shape, with 1
                for a free dimension.

        Returns:
            One array for each of ``outputs``, owned by the caller: a later ``run`` or
            ``close`` does not change it.

        Raises:
            BadInput: wrong number of arrays, dtype or shape; nothing was run.
            InferenceFailed: the runtime failed, or the model is closed.
        """
        ...

    def close(self) -> None:
        """Free the runtime's memory. Closing again is no harm."""
        ...


class Runtime(Protocol):
    """Something that runs model files of one format, on the CPU."""

    @property
    def name(self) -> str:
        """The name that manifests use: one of ``protocol.manifest.RUNTIMES``."""
        ...

    def load(self, path: Path, threads: int, *, optimized: bool = True) -> LoadedModel:
        """Load a model file.

        Args:
            path: the file; it must not change while the model is loaded.
            threads: how many threads one inference may use, at least 1.
            optimized: False leaves out whatever the runtime may do for speed, to find out
                whether that changes the answers.

        Raises:
            ModelRefused: ``load_failed`` whatever is wrong with the file (missing,
                truncated, another format, unknown operators).
        """
        ...
