"""What a process wrote to the files of one folder and what it synced, in order, read out of strace's words.

The recording is the kernel's view: each write with its bytes, each sync at the time it came back. SQLite's shared memory
(-shm) is left out: it is made anew from the log.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat,rename"

_CALL = re.compile(r"(\d+) +([a-z0-9]+)\((.*)\) += (-?\d+).*", re.DOTALL)
_ON = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Did:
    """One thing done: `call` is write, sync, truncate, create, remove, or note (to the file of notes)."""

    call: str
    name: str
    at: int = 0
    content: bytes = b""


def command(trace: Path) -> list[str]:
    """What goes before a command line to record it."""
    return ["strace", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(trace)]


def done(trace: Path, folder: Path, notes: str) -> Iterator[Did]:
    """Read a recording; only what concerns the files directly in `folder`. `notes` is the file it confirms in."""
    begun: dict[str, str] = {}
    with trace.open(encoding="ascii") as lines:
        for line in lines:
            process = line.partition(" ")[0]
            whole = line.rstrip("\n")
            if whole.endswith("<unfinished ...>"):
                begun[process] = whole.removesuffix("<unfinished ...>")
                continue
            if "resumed>" in whole and process in begun:
                whole = begun.pop(process) + whole.partition("resumed>")[2]
            call = _CALL.fullmatch(whole)
            if call and int(call[4]) >= 0:
                found = _did(call[2], call[3], int(call[4]), folder, notes)
                yield from (did for did in found if not did.name.endswith("-shm"))


def _did(call: str, words: str, answer: int, folder: Path, notes: str) -> Iterator[Did]:
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(words)]
    if call in {"unlink", "unlinkat", "openat"}:
        path = Path(texts[0].decode())
        if path.parent == folder and path.name != notes:
            if call != "openat":
                yield Did("remove", path.name)
            elif "O_CREAT" in words:
                yield Did("create", path.name)
        return
    on = _ON.match(words)
    path = Path(
        bytes.fromhex(on[1].replace("\\x", "")).decode() if on and on[1].startswith("\\x") else on[1] if on else ""
    )
    if path == folder and call in {"fsync", "fdatasync"}:
        yield Did("sync", "")
    if path.parent != folder:
        return
    if path.name == notes:
        yield Did("note", notes, content=texts[0])
    elif call == "pwrite64":
        yield Did("write", path.name, int(words.rpartition(", ")[2]), texts[0][:answer])
    elif call in {"fsync", "fdatasync"}:
        yield Did("sync", path.name)
    elif call == "ftruncate":
        yield Did("truncate", path.name, int(words.rpartition(", ")[2]))
    else:
        raise ValueError(f"{call} on {path.name}: this is not how SQLite writes")
