"""What an idle door costs: CPU share and memory of the daemon at 30 frames/s of 1280x720, with nobody there.

    .venv/bin/python benchmarks/idle.py [--seconds 20] [--rounds 3] [--json]

The rival, in the same run and turn about: a bare loop that gives the same frames at the same rate to pyzbar, as most
Pi projects do, and does nothing else. The daemon does everything: camera, decoding, page, outbox, uplink to a broker.
Figures are of whole processes, from /proc; medians over the rounds.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from city.provision import new_secrets, provision
from demo.__main__ import CONFIG, ROOT
from demo.processes import free_port, start_broker, start_kiosk

RIVAL = """
import time, sys
from pyzbar.pyzbar import decode, ZBarSymbol
from kiosk.testing.visitors import render
ring = [render(None, i, width=1280, height=720, fps=30, noise_key=0) for i in range(16)]
print("ready", flush=True)
due = time.monotonic()
for number in range(10**9):
    decode(ring[number % 16], symbols=[ZBarSymbol.QRCODE])
    due = max(due + 1 / 30, time.monotonic())
    time.sleep(max(0, due - time.monotonic()))
"""
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def share(pid: int, seconds: float) -> float:
    """CPU of a process in percent of one core, over so many seconds."""
    before = cpu_s(pid)
    threading.Event().wait(seconds)
    return 100 * (cpu_s(pid) - before) / seconds


def prepare(folder: Path, broker: int) -> None:
    """Write the configuration of an idle door."""
    provision(folder, new_secrets(), datetime.now(UTC))
    (folder / "showings.json").write_text("[]", encoding="utf-8")
    shutil.copy(ROOT / "config" / "rules.toml", folder / "rules.toml")
    text = CONFIG.format(
        source='"visitors"', path=json.dumps(str(folder / "showings.json")), broker=broker, screen=0, journal='""'
    )
    (folder / "kiosk.toml").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, turn about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kiosk-idle-")))
        port = free_port()
        prepare(folder, port)
        start_broker(folder, port, stack)
        kiosk, _ = start_kiosk(folder, stack)
        rival = subprocess.Popen([sys.executable, "-c", RIVAL], stdout=subprocess.PIPE)
        stack.callback(rival.wait)
        stack.callback(rival.kill)
        assert rival.stdout is not None
        rival.stdout.readline()
        shares: dict[int, list[float]] = {kiosk.pid: [], rival.pid: []}
        for _ in range(parsed.rounds):
            for pid, other in ((kiosk.pid, rival.pid), (rival.pid, kiosk.pid)):
                os.kill(other, signal.SIGSTOP)  # one at a time: they must not take each other's core
                threading.Event().wait(1.0)
                shares[pid].append(share(pid, parsed.seconds))
                os.kill(other, signal.SIGCONT)
        ours, theirs = (statistics.median(shares[pid]) for pid in (kiosk.pid, rival.pid))
        figures = {
            "daemon_cpu_percent": round(ours, 1),
            "daemon_rss_mb": round(rss_mb(kiosk.pid)),
            "pyzbar_loop_cpu_percent": round(theirs, 1),
            "pyzbar_loop_rss_mb": round(rss_mb(rival.pid)),
            "ratio": round(ours / theirs, 2),
            "rounds": {"daemon": shares[kiosk.pid], "pyzbar_loop": shares[rival.pid]},
        }
    if parsed.json:
        print(json.dumps(figures))
        return
    print(f"{'':<14}{'CPU of a core':>15}{'memory':>10}")
    print(f"{'daemon':<14}{ours:>13.1f} %{figures['daemon_rss_mb']:>7} MB")
    print(f"{'pyzbar loop':<14}{theirs:>13.1f} %{figures['pyzbar_loop_rss_mb']:>7} MB")
    print(f"daemon / pyzbar loop: {ours / theirs:.2f}, median of {parsed.rounds} rounds of {parsed.seconds:.0f} s")


if __name__ == "__main__":
    main()
