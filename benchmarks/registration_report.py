"""Tables and plot of a registration benchmark, out of its JSON."""

from __future__ import annotations

import statistics

#: Okabe and Ito's colours, which colour-blind readers can tell apart, and a shape each for grey prints.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vP*X"


def summaries(runs):
    """One dict per (set, method): means over pairs with failures as Dice 0, the worst of what must not be bad."""
    rows = []
    for set_name, method in dict.fromkeys((run["set"], run["method"]) for run in runs):
        group = [run for run in runs if (run["set"], run["method"]) == (set_name, method)]
        good = [run for run in group if not run["error"]]
        rows.append(
            {
                "set": set_name,
                "method": method,
                "pairs": len(group),
                "failed": len(group) - len(good),
                "dice": statistics.fmean(run["dice"] for run in group),
                "dice_min": min(run["dice"] for run in group),
                "dice_affine": statistics.fmean(run["dice_affine"] for run in group),
                "below_affine": sum(run["dice"] < run["dice_affine"] for run in good),
                "wall_s": _mean(good, "wall_s"),
                "cpu_s": _mean(good, "cpu_s"),
                "peak_mb": max((run["peak_mb"] for run in good), default=None),
                "folding_percent": max((run["folding_percent"] for run in good), default=None),
                "sd_log_jacobian": _mean(good, "sd_log_jacobian"),
                "stages": _stages(good),
            }
        )
    return rows


def _mean(runs, key):
    return statistics.fmean(run[key] for run in runs) if runs else None


def _stages(runs):
    def mean(name, key):
        return statistics.fmean(run["stages"].get(name, {}).get(key, 0.0) for run in runs)

    names = dict.fromkeys(name for run in runs for name in run["stages"])
    return {name: {key: mean(name, key) for key in ("wall_s", "cpu_s")} for name in names}


def _number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


COLUMNS = (
    ("set", lambda r: r["set"]),
    ("method", lambda r: r["method"]),
    ("Dice", lambda r: f"**{r['dice']:.3f}**"),
    ("worst", lambda r: _number(r["dice_min"], 3)),
    ("affine alone", lambda r: _number(r["dice_affine"], 3)),
    ("below its affine", lambda r: f"{r['below_affine']} of {r['pairs']}"),
    ("failed", lambda r: str(r["failed"])),
    ("wall s", lambda r: _number(r["wall_s"], 1)),
    ("CPU s", lambda r: _number(r["cpu_s"], 1)),
    ("peak MB", lambda r: _number(r["peak_mb"], 0)),
    ("folding %", lambda r: _number(r["folding_percent"], 4)),
    ("SD log J", lambda r: _number(r["sd_log_jacobian"], 3)),
)


def main_table(rows):
    """Markdown: one line per set and method."""
    lines = [" | ".join(name for name, _ in COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(show(row) for _, show in COLUMNS) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def stage_table(rows):
    """Markdown: seconds per stage."""
    lines = ["| set | method | stage | wall s | CPU s |", "|---|---|---|---|---|"]
    for row in rows:
        for name, seconds in row["stages"].items():
            lines.append(
                f"| {row['set']} | {row['method']} | {name} | {seconds['wall_s']:.2f} | {seconds['cpu_s']:.2f} |"
            )
    return "\n".join(lines)


LEGEND = """\
Each method and pair ran in a process of its own. The seconds run from the call to the result; reading is left out, and
so is what a process loads once (each method first registered two small synthetic images). The peak memory is that of
the whole process. Dice is the mean over the set's labels and pairs on the query's own grid, failures counted as zero;
*affine alone* is the Dice of the same result without its displacement field.
Folding (of the worst pair) and SD log J are taken inside the body. `@issue` runs a peer on the working copies of the
issue's survey (2.5 mm abdomen, 2 mm heart, native otherwise) and not on ours."""


def markdown(result, plot_name):
    """The whole page."""
    facts, rows = result["environment"], summaries(result["runs"])
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items() if number)
    load = ", ".join(f"{x:.1f}" for x in result["load_average"])
    failures = [f"- {run['pair']}, {run['method']}: {run['error']}" for run in result["runs"] if run["error"]]
    parts = [
        "# Registration methods side by side",
        f"Measured {result['date']} on {facts['machine']}, {facts['cores']} cores, {facts['memory_gb']} GB, commit "
        f"{facts['commit']}; Python {facts['python']}, {packages}. Load average at the end (1, 5, 15 minutes): {load}.",
        f"    {facts['command']}",
        LEGEND,
        main_table(rows),
        f"![Dice against CPU seconds]({plot_name})",
        "## Seconds per stage",
        stage_table(rows),
    ]
    if failures:
        parts += ["## Failures", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def plot(result, path):
    """Dice against CPU seconds, a panel per set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = summaries(result["runs"])
    sets, methods = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "method"))
    figure, axes = plt.subplots(1, len(sets), figsize=(3.4 * len(sets) + 1.6, 3.4), squeeze=False, layout="constrained")
    for axis, set_name in zip(axes[0], sets, strict=True):
        for row in (r for r in rows if r["set"] == set_name and r["cpu_s"]):
            n = methods.index(row["method"])
            style = {"color": COLOURS[n % len(COLOURS)], "marker": MARKERS[n % len(MARKERS)]}
            axis.plot(row["cpu_s"], row["dice"], linestyle="", markersize=8, label=row["method"], **style)
        axis.set(title=set_name, xlabel="CPU seconds per pair", xscale="log")
        axis.set_xlim(axis.get_xlim()[0] / 1.6, axis.get_xlim()[1] * 1.6)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mean Dice, failures as 0")
    handles = {}
    for axis in axes[0]:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    figure.savefig(path, dpi=130)
    plt.close(figure)
