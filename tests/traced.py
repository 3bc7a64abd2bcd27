"""What a program reaches for: its connections and the files that it changes, by ``strace``."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crashpoints.tracing import find_strace


def can_trace() -> bool:
    """Tell whether ``strace`` is here, and may trace (some containers forbid it)."""
    probe = [*find_strace(), "-qq", "-o", os.devnull, "true"]
    return bool(find_strace()) and subprocess.run(probe, check=False).returncode == 0


needs_strace = pytest.mark.skipif(
    not can_trace(), reason="strace is not installed, or may not trace"
)

_TALKS = ("connect", "sendto", "sendmsg", "sendmmsg", "bind")
_CHANGES = (
    *("open", "openat", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rmdir", "truncate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat"),
    *("symlink", "symlinkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "utimensat"),
)
_OPENS = ("open", "openat", "creat")
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (\S+)(?:<(.*?)>)?")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_INTERNET = re.compile(
    r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\""
)
_LOCAL = re.compile(r"sa_family=AF_UNIX, sun_path=(@?\"[^\"]*\")")
_QUOTED = re.compile(r'(?:AT_FDCWD(?:<([^>]*)>)?|\d+<([^>]*)>)?,? ?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a program and its children reached for.

    Attributes:
        peers: ``ADDRESS:PORT`` of each connection that was tried, message that was addressed or
            port that was listened on, and the names of local sockets.
        changed: absolute paths of files that were opened for writing, made, moved or removed.
        calls: how many calls were looked at: 0 means that the trace is broken.
    """

    peers: frozenset[str]
    changed: frozenset[str]
    calls: int

    def changed_outside(self, *folders: Path) -> list[str]:
        """Return what was changed that is neither in one of these nor a device of nothing."""
        inside = tuple(f"{os.path.realpath(folder)}{end}" for folder in folders for end in ("/",))
        roots = {os.path.realpath(folder) for folder in folders} | {"/dev/null"}
        return sorted(
            path
            for path in self.changed
            if path not in roots and not path.startswith((*inside, "/proc/self/", "/memfd:"))
        )


def tracing(trace: Path, command: list[str]) -> list[str]:
    """Return the command that runs ``command`` and writes its calls to ``trace``."""
    calls = ",".join((*_TALKS, *_CHANGES))
    known = f"trace={','.join('?' + each for each in calls.split(','))}"
    options = ("-f", "-y", "-qq", "-s", "4096", "-e", known, "-o", str(trace))
    return [*find_strace(), *options, *command]


def read_trace(trace: Path, cwd: Path) -> Reached:
    """Return what is in a trace of a program that ran in ``cwd``."""
    peers, changed, calls = set[str](), set[str](), 0
    for line in _whole_lines(trace.read_text("utf-8", "replace")):
        call = _CALL.match(line)
        if call is None:
            continue
        calls += 1
        name, given, result, opened = call.groups()
        if name in _TALKS:
            peers |= _peers(name, given)
        elif not result.startswith("-"):
            changed |= _changed(name, given, opened, cwd)
    return Reached(peers=frozenset(peers), changed=frozenset(changed), calls=calls)


def _whole_lines(text: str) -> list[str]:
    """Put the calls together that another thread's call interrupted."""
    begun: dict[str, str] = {}
    lines = []
    for line in text.splitlines():
        if found := _UNFINISHED.match(line):
            begun[found[1]] = line.removesuffix(" <unfinished ...>")
        elif found := _RESUMED.match(line):
            lines.append(begun.pop(found[1], f"{found[1]} ") + found[2])
        else:
            lines.append(line)
    return lines


def _peers(name: str, given: str) -> set[str]:
    # Binding to port 0 is how a client gets a port of its own; to another, it would listen.
    if name == "bind" and ("AF_NETLINK" in given or "port=htons(0)" in given):
        return set()
    internet = {f"{address}:{port}" for port, address in _INTERNET.findall(given)}
    return internet | set(_LOCAL.findall(given))


def _changed(name: str, given: str, opened: str | None, cwd: Path) -> set[str]:
    if name in _OPENS:
        if name != "creat" and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE", given):
            return set()
        return {opened.removesuffix(" (deleted)")} if opened else set()
    found = set()
    for working, folder, path in _QUOTED.findall(given):
        found.add(os.path.normpath(os.path.join(working or folder or str(cwd), path)))
    return found
