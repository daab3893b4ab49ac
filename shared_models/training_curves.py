"""The curves of a training as a picture: losses on the left, the other validation figures on the right."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

# Okabe and Ito 2008: told apart with any colour vision; the dashes tell them apart in grey too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-")
_NOT_FIGURES = ("epoch", "step", "minutes")


def curves(record: Mapping[str, Any]) -> bytes:
    """PNG of a record with a "history"; empty where that holds no epoch.

    Parameters
    ----------
    record : result.json; "history" is a list of rows with "epoch", "loss" and validation figures; "best_epoch" is
        marked where it is not 0
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = record["history"]
    if not rows:
        return b""
    names = [name for name in rows[-1] if name not in _NOT_FIGURES]
    panels = [("loss", [n for n in names if "loss" in n]), ("validation", [n for n in names if "loss" not in n])]
    panels = [(title, members) for title, members in panels if members]
    figure = Figure(figsize=(1 + 4.5 * len(panels), 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    best = record.get("best_epoch", 0)
    for axes, (title, members) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name, colour, dashes in zip(members, _COLOURS * 2, _DASHES * 2):
            values = [row.get(name, float("nan")) for row in rows]
            axes.plot(epochs, values, color=colour, linestyle=dashes, marker="o", markersize=3,
                      label="training loss" if name == "loss" else name)  # fmt: skip
        if best:
            axes.axvline(best, color="#777777", linewidth=0.8)
            axes.annotate("best", (best, 1), xycoords=("data", "axes fraction"), fontsize=8, color="#555555",
                          xytext=(3, -10), textcoords="offset points")  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, framealpha=0.9)
    commit = str(record.get("commit", ""))[:12]
    figure.suptitle(f"{record.get('task', '')}, seed {record.get('seed', '')}, commit {commit or 'unknown'}. "
                    "Training and validation split. Research use only.", fontsize=9)  # fmt: skip
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()
