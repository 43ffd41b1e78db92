"""Begins a thread's work anew after a bug, a few times: the door keeps its link while somebody reads the journal.

Decides how often: beyond that the bug is raised, which ends the process, and systemd starts it again. Only for work
that holds nothing of its own; the uplink's is all in the outbox. The daemon calls it.
"""

from collections import deque
from collections.abc import Callable

from kiosk.clock import Clock, S

MOST_REVIVALS = 5
WITHIN_S = 600
PAUSE_S = 5.0
"""Longest wait, jittered: what hits one door may hit all of them at once."""


def revived(
    run: Callable[[], None],
    clock: Clock,
    *,
    on_bug: Callable[[Exception], None],
    pause: Callable[[float], object],
    uniform: Callable[[float, float], float],
) -> None:
    """Run it to its end, and again after a bug, told by `on_bug` each time; the sixth within ten minutes is raised."""
    bugs_ns = deque[int](maxlen=MOST_REVIVALS)
    while True:
        try:
            run()
        except Exception as bug:
            now_ns = clock.now().monotonic_ns
            if len(bugs_ns) == MOST_REVIVALS and now_ns - bugs_ns[0] < WITHIN_S * S:
                raise
            bugs_ns.append(now_ns)
            on_bug(bug)
            pause(uniform(0.0, PAUSE_S))
        else:
            return
