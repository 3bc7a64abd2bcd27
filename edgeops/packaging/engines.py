"""Engines: what a file is run on, each in the environment that it can live in.

Most runtimes are installed beside this package. tflite-runtime 2.14, the only one
for 32-bit ARM, cannot be: its wheels need NumPy 1 and an old Python. TensorFlow Lite Micro, which
microcontrollers run, has wheels of daily builds only. What is packaged for such boards is run on
exactly one of these, in a virtual environment that is made on demand and kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.protocol.errors import RuntimeMissing
from device_agent.runtimes.available import available_runtimes, runtime_package
from edgeops.domain.errors import EdgeopsError, StoreFailed

INSTALL_TIMEOUT_S = 600.0
_WITHOUT_OPTIMIZATIONS = ("tflm",)
"""Runtimes that have none which could be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A runtime as it is run here.

    Attributes:
        runtime: its name.
        package: its package and version, e.g. ``ai-edge-litert 2.3.0``.
        python: path of the interpreter that can import it.
        optimized: False leaves out what it does for speed: other kernels, fused operators.
    """

    runtime: str
    package: str
    python: str = sys.executable
    optimized: bool = True

    @property
    def name(self) -> str:
        """How people name it."""
        return self.package if self.optimized else f"{self.package} without optimizations"

    @property
    def kinds(self) -> tuple[Engine, ...]:
        """It, and it without its optimizations, if it has any."""
        if self.runtime in _WITHOUT_OPTIMIZATIONS:
            return (self,)
        return replace(self, optimized=True), replace(self, optimized=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """What is installed in an environment of its own, since it cannot be beside us.

    Attributes:
        packages: arguments of pip; the first is what it is named by.
        pythons: versions that have its wheels.
    """

    packages: tuple[str, ...]
    pythons: tuple[str, ...]

    @property
    def package(self) -> str:
        """Its name and version for people."""
        return self.packages[0].replace("==", " ")


_APART = {
    "tflite-runtime": Apart(
        packages=("tflite-runtime==2.14.0", "numpy==1.26.4"), pythons=("3.11", "3.10")
    ),
    "tflm": Apart(
        packages=("tflite-micro==0.dev20261023182759", "numpy>=2,<3"),
        pythons=("3.11", "3.12", "3.13", "3.14"),
    ),
}


def engine_for(runtime: str, cache: Path | None, progress: Callable[[str], None]) -> Engine:
    """Return a runtime, in this environment or in one that is made now.

    Args:
        runtime: its name.
        cache: folder in which environments are kept; None makes none.
        progress: told that one is made: that takes seconds, and the package index.

    Raises:
        EdgeopsError: the runtime cannot be had here; the next step says what it takes.
        StoreFailed: the disk said no.
    """
    apart = _APART.get(runtime)
    if runtime in available_runtimes() or apart is None:
        try:
            return Engine(runtime=runtime, package=runtime_package(runtime))
        except RuntimeMissing as error:
            raise EdgeopsError(str(error), next_step=f"pip install 'edgeops[{runtime}]'") from error
    if cache is None:
        raise EdgeopsError(
            f"{runtime} needs an environment of its own, and there is no cache",
            next_step="give a cache folder, or leave out the profiles of this runtime",
        )
    python = environment(runtime, apart, cache, progress)
    return Engine(runtime=runtime, package=apart.package, python=python)


def environment(name: str, apart: Apart, cache: Path, progress: Callable[[str], None]) -> str:
    """Return the interpreter of an environment that is made on demand, and kept.

    Args:
        name: what it is for.
        apart: what is installed there.
        cache: folder in which environments are kept.
        progress: told that one is made.

    Raises:
        EdgeopsError: no fitting Python here, or it cannot be installed.
        StoreFailed: the disk said no.
    """
    base = _base_python(name, apart)
    key = hashlib.sha256(f"{apart.packages} {base}".encode()).hexdigest()[:12]
    folder = cache / "environments" / f"{name}-{key}"
    with _locked(folder):
        if not (folder / "bin" / "python").exists():
            progress(f"making an environment for {apart.package} with {base}")
            _install(apart, base, folder)
    return str(folder / "bin" / "python")


def _base_python(runtime: str, apart: Apart) -> str:
    if "{}.{}".format(*sys.version_info) in apart.pythons:
        return sys.executable
    found = (shutil.which(f"python{version}") for version in apart.pythons)
    if (python := next(filter(None, found), None)) is None:
        versions = " or ".join(apart.pythons)
        raise EdgeopsError(
            f"{apart.package} has wheels for Python {versions} only, and there is none here",
            next_step=f"install Python {versions}, or leave out the profiles of {runtime}",
        )
    return python


def _install(apart: Apart, base: str, folder: Path) -> None:
    """Make the environment beside its place, and rename it: it is whole, or not there."""
    beside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        _run([base, "-m", "venv", str(beside)], apart)
        python = str(beside / "bin" / "python")
        _run([python, "-m", "pip", "install", "-q", "--no-input", *apart.packages], apart)
        os.rename(beside, folder)
    except OSError as error:
        raise StoreFailed(
            f"cannot make {folder}: {error.strerror or error}",
            next_step="make room on its disk, and check who may write there",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _run(command: list[str], apart: Apart) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        said, failed = done.stdout.decode(errors="replace"), done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"it took more than {INSTALL_TIMEOUT_S:.0f} s", True
    if failed:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        raise EdgeopsError(
            f"{', '.join(apart.packages)} cannot be installed: {last.strip()[:200]}",
            next_step="it needs the package index; or leave out the profiles of this runtime",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process make an environment at a time."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.parent, os.O_RDONLY)
    except OSError as error:
        raise StoreFailed(
            f"{folder.parent}: {error.strerror}", next_step="check the disk"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
