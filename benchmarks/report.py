"""The tables of `benchmarks/reading.py`, from the same figures that it writes as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

Told = Mapping[str, Any]


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left")
    for at, head in enumerate(heads):
        table.add_column(head, justify="right" if at else "left")
    return table


def readers(told: Told) -> Table:
    """One row a reader."""
    title = (
        f"{told['photos']} photos, {told['half']}, {told['size']}; images: at least one code right; macro: mean over"
        f" groups of codes read; ms of CPU; no code: reads on {told['code_free']} frames without one"
    )
    table = _table(
        title, "reader", "images %", "macro %", "codes %", "wrong", "ms mean", "median", "p95", "empty", "no code"
    )
    for name, found in told["readers"].items():
        whole = found["all"]
        table.add_row(
            name,
            *(number(whole[key]) for key in ("images_percent", "macro_percent", "codes_percent")),
            str(whole["wrong"]),
            *(number(whole[key]) for key in ("mean_ms", "median_ms", "p95_ms")),
            number(found["empty"]["median_ms"]),
            str(found["code_free_reads"]),
        )
    for name, found in told["published"].items():
        percents = (number(found[key]) for key in ("images_percent", "macro_percent", "codes_percent"))
        table.add_row(f"{name}, 2023, native", *percents, str(found["wrong"]), style="dim")
    return table


def groups(told: Told) -> Table:
    """One row a group: photos with at least one code read right, by reader."""
    names = list(told["readers"])
    table = _table("images read, %", "group", "n", *names)
    for group, first in next(iter(told["readers"].values()))["groups"].items():
        tallies = [told["readers"][name]["groups"][group] for name in names]
        percents = [number(100 * tally["right"] / tally["pictures"], 0) for tally in tallies]
        table.add_row(group, str(first["pictures"]), *percents)
    return table


def stages(told: Told) -> Table:
    """One row a rung of the ladder."""
    title = "rungs, each alone at every photo; new: read by no earlier rung; only: by no other rung"
    heads = ("codes", "images", "new codes", "new images", "only it", "wrong", "ms mean", "median", "p95")
    table = _table(title, "rung", *heads)
    for name, stage in told["stages"].items():
        counts = (str(stage[key]) for key in ("codes", "images", "new", "new_images", "only", "wrong"))
        table.add_row(name, *counts, *(number(stage[key]) for key in ("mean_ms", "median_ms", "p95_ms")))
    return table


def looks(told: Told) -> Table:
    """The kiosk at held photos."""
    whole = told["looks"]["all"]
    table = _table("kiosk, look after look until it reads", "images %", "wrong", "ms a frame, mean", "median", "p95")
    table.add_row(
        number(whole["images_percent"]),
        str(whole["wrong"]),
        *(number(whole[key], 2) for key in ("mean_ms", "median_ms", "p95_ms")),
    )
    return table


def tables(told: Told) -> Iterator[Table]:
    """All of them, in the order they are printed."""
    yield readers(told)
    yield groups(told)
    yield stages(told)
    if told["looks"]:
        yield looks(told)
