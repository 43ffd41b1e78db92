"""The pictures of `benchmarks/reading.py`, from the same figures that it writes as JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # no screen is needed
from matplotlib import pyplot as plt

Told = Mapping[str, Any]


def by_group(told: Told, path: Path) -> None:
    """Bars: share of photos read, by group and reader."""
    readers = told["readers"]
    groups = list(next(iter(readers.values()))["groups"])
    figure, axes = plt.subplots(figsize=(max(8, 0.9 * len(groups)), 5), layout="constrained")
    width = 0.8 / len(readers)
    for at, (name, found) in enumerate(readers.items()):
        shares = [100 * found["groups"][group]["right"] / found["groups"][group]["pictures"] for group in groups]
        axes.bar(np.arange(len(groups)) + (at - (len(readers) - 1) / 2) * width, shares, width, label=name)
    axes.set_xticks(np.arange(len(groups)), groups, rotation=30, ha="right")
    axes.set_ylabel("photos with a code read, %")
    axes.set_title(f"{told['corpus']}, {told['half']}, {told['size']}")
    figure.legend(ncols=len(readers), fontsize="small", loc="outside lower center")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def time_against_rate(told: Told, path: Path) -> None:
    """Points: mean CPU time on a photo and share of photos read."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for name, found in told["readers"].items():
        axes.scatter(found["all"]["mean_ms"], found["all"]["images_percent"], label=name)
    if told["published"]:
        name, best = max(told["published"].items(), key=lambda item: item[1]["images_percent"])
        axes.axhline(best["images_percent"], color="grey", linewidth=0.8, label=f"{name}, 2023, native, time not ours")
    axes.set_xscale("log")
    axes.margins(0.2)
    figure.legend(ncols=3, fontsize="small", loc="outside lower center")
    axes.set_xlabel("CPU time, ms a photo (mean)")
    axes.set_ylabel("photos with a code read, %")
    axes.set_title(f"{told['corpus']}, {told['half']}, {told['size']}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def by_rung(told: Told, path: Path) -> None:
    """Bars: what each rung adds to those before it, and what it costs."""
    stages = told["stages"]
    figure, (gain, cost) = plt.subplots(1, 2, sharey=True, figsize=(9, 0.4 * len(stages) + 1.5), layout="constrained")
    gain.barh(list(stages), [stage["new_images"] for stage in stages.values()])
    cost.barh(list(stages), [stage["mean_ms"] for stage in stages.values()])
    gain.invert_yaxis()
    gain.set_xlabel("photos that no earlier rung reads")
    cost.set_xlabel("CPU time, ms a photo (mean)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw(told: Told, folder: Path) -> list[Path]:
    """Write all of them, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"groups.png": by_group, "times.png": time_against_rate, "rungs.png": by_rung}
    for name, picture in pictures.items():
        picture(told, folder / name)
    return [folder / name for name in pictures]
