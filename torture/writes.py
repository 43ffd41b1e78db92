"""What a process wrote to the files of one folder and what it synced, in order, read out of strace's words.

The recording is the kernel's view: each write with its bytes, each sync at the time it came back. SQLite's shared
memory (-shm) is left out: it is made anew from the log.
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
        made = call == "openat"
        if path.parent == folder and path.name != notes and (not made or "O_CREAT" in words):
            yield Did("create" if made else "remove", path.name)
        return
    path = _place(words)
    if path == folder and call in {"fsync", "fdatasync"}:
        yield Did("sync", "")
    elif path.parent == folder:
        yield _to_file(call, words, path.name, texts[0][:answer] if texts else b"", notes)


def _place(words: str) -> Path:
    """The path of the open file a call is about."""
    on = _ON.match(words)
    text = on[1] if on else ""
    return Path(bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text)


def _to_file(call: str, words: str, name: str, content: bytes, notes: str) -> Did:
    if name == notes:
        return Did("note", notes, content=content)
    match call:
        case "pwrite64":
            return Did("write", name, int(words.rpartition(", ")[2]), content)
        case "fsync" | "fdatasync":
            return Did("sync", name)
        case "ftruncate":
            return Did("truncate", name, int(words.rpartition(", ")[2]))
    raise ValueError(f"{call} on {name}: this is not how SQLite writes")
