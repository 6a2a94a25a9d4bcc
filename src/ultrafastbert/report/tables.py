"""Result rows -> Markdown tables; pure functions, in which every number names its baseline."""

import math
import statistics
from collections.abc import Hashable, Iterable, Sequence

from ultrafastbert.evaluate.metrics import METRICS
from ultrafastbert.evaluate.tasks import TASKS, get_task
from ultrafastbert.report import published
from ultrafastbert.rows import Row

NONE = "-"
# In the order of the published tables.
GLUE_TITLES = {name: get_task(name).title for name in (*published.GLUE_TASKS, "wnli")}
VARIANT_TITLES = {
    "fff": "fast feedforward",
    "fff_masked": "the same, computed by masking",
    "ff": "dense, all neurons",
    "ff_active": "dense, as wide as the active neurons",
    "none": "no feedforward layer",
}


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without exponent, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def count(value: float) -> str:
    """Return a large count as in 12.3M or 6M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{float(f'{value / unit:.3g}'):,g}{name}"
    return f"{value:.0f}"


def times(ratio: Sequence[float] | None) -> str:
    """Return the median of (low, median, high) as in 12.3x."""
    return f"{number(ratio[1], 2)}x" if ratio else NONE


def spread(values: Sequence[float], decimals: int) -> str:
    """Return the mean, and with several values the sample standard deviation."""
    text = f"{statistics.mean(values):.{decimals}f}"
    return f"{text} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else text


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def group(rows: Iterable[Row], *fields: str) -> dict[tuple, list[Row]]:
    """Return the rows by the values of some fields, in the order of first appearance."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(field) for field in fields), []).append(row)
    return groups


def latest(rows: Iterable[Row], *fields: str) -> list[Row]:
    """Return the last row of those that agree in some fields: a repeated run replaces the first."""
    return [same[-1] for same in group(rows, *fields).values()]


CACHE_TITLES = {
    "hot": "the same input every time",
    "fresh": "inputs rotate",
    "cold": "caches emptied before each call",
}
LAYER_GROUP = ("family", "hidden_size", "pass", "cache", "threads")


def timed(rows: Iterable[Row], kind: str = "layer") -> list[Row]:
    """Return the rows of a layer benchmark that hold a time, each measurement once.

    Rows without `cache` are from before there was a choice: their inputs rotate, so `fresh`.
    """
    layer = [
        {"cache": "fresh", **row} for row in rows if row["kind"] == kind and "latency_us" in row
    ]
    return latest(layer, *LAYER_GROUP, "n_tokens", "contestant")


def fresh(rows: Iterable[Row]) -> list[Row]:
    """Return the timed rows of layers whose inputs rotate, the usual state of the caches."""
    return [row for row in timed(rows) if row["cache"] == "fresh"]


def most_threads(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of kind `layer` with the most threads, and all of other kinds."""
    most = max((row["threads"] for row in rows if row["kind"] == "layer"), default=0)
    return [row for row in rows if row["kind"] != "layer" or row["threads"] == most]


def fastest(rows: Iterable[Row], field: str, **values: Hashable) -> Row | None:
    """Return the row with the smallest `field` among those with the given values."""
    fitting = (row for row in rows if all(row.get(k) == v for k, v in values.items()))
    return min(fitting, key=lambda row: row[field], default=None)


def fast_kernel(case: Iterable[Row], narrow: bool = False) -> Row | None:
    """Return the fastest kernel of a case in float32, or in the fastest narrower precision.

    Masking and loops over BLAS routines are baselines and do not count.
    """
    kernels = [row for row in case if not row["implementation"].startswith(("masked", "blas"))]
    fitting = [row for row in kernels if (row["precision"] != "float32") == narrow]
    return fastest(fitting, "latency_us", role="fff")


MODEL_GROUP = (
    "family",
    "hidden_size",
    "num_hidden_layers",
    "pass",
    "batch",
    "sequence",
    "threads",
)


def model_cases(rows: Iterable[Row]) -> dict[tuple, list[Row]]:
    """Return the rows of kind `model` by case, each measurement once."""
    model = [row for row in rows if row["kind"] == "model"]
    return group(latest(model, *MODEL_GROUP, "contestant"), *MODEL_GROUP)


def model_table(rows: Iterable[Row]) -> str:
    """Return the speed of whole models, as PyTorch has them and at their fastest."""
    parts = []
    for key, case in model_cases(rows).items():
        family, hidden, layers, pass_name, batch, sequence, threads = key
        parts.append(
            f"**{pass_name}**, {layers} layers of {hidden} with {family}, batch {batch} of "
            f"{sequence} tokens, threads: {threads}\n"
        )
        header = ["feedforward layer", "active of all neurons", "PyTorch float32, tokens/s"]
        header += ["x dense", "at its fastest", "tokens/s", "ms (p10 to p90)", "x fastest dense"]
        body = [_model_line(same) for same in group(case, "variant").values()]
        parts.append(markdown_table(header, body) + "\n")
    return "\n".join(parts)


def _model_line(same: list[Row]) -> list[str]:
    eager = fastest(same, "latency_ms", implementation="eager", precision="float32")
    best = min(same, key=lambda row: row["latency_ms"])
    is_dense = best["variant"] == "ff"
    limits = f"{number(best['latency_ms_low'])} to {number(best['latency_ms_high'])}"
    return [
        VARIANT_TITLES[best["variant"]],
        f"{best['n_active']:,} of {best['n_neurons']:,}",
        number(eager["tokens_per_s"]) if eager else NONE,
        _ratio(eager, "ff eager float32", is_dense),
        f"{best['implementation']} {best['precision']}",
        number(best["tokens_per_s"]),
        f"{number(best['latency_ms'])} ({limits})",
        _ratio(best, best["fastest_dense"], is_dense),
    ]


def _ratio(row: Row | None, baseline: str, is_baseline: bool) -> str:
    if row is None:
        return NONE
    return "1" if is_baseline else times(row["speedup_over"].get(baseline))


PRETRAIN_GROUP = ("name", "ffn", "hidden_size", "num_hidden_layers", "n_parameters", "tokens")


def pretrain_runs(rows: Iterable[Row]) -> dict[tuple, list[Row]]:
    """Return the rows of kind `pretrain` by model and budget; each seed once."""
    pretrain = [row for row in rows if row["kind"] == "pretrain"]
    return group(latest(pretrain, *PRETRAIN_GROUP, "seed"), *PRETRAIN_GROUP)


def pretrain_table(rows: Iterable[Row]) -> str:
    """Return losses and accuracies of pretraining runs; mean and standard deviation over seeds."""
    runs = list(pretrain_runs(rows).values())
    if not runs:
        return ""
    header = ["model", "feedforward layer", "active of all neurons", "parameters", "tokens"]
    header += ["validation loss", "masked tokens right, %", "tokens/s", "seeds"]
    return markdown_table(header, map(_pretrain_line, runs)) + "\n"


def _pretrain_line(runs: list[Row]) -> list[str]:
    first = runs[0]
    return [
        first["name"],
        first["ffn"],
        f"{first['n_active']:,} of {first['n_neurons']:,}",
        count(first["n_parameters"]),
        count(first["tokens"]),
        spread([row["validation_loss"] for row in runs], 3),
        spread([100 * row["validation_accuracy"] for row in runs], 1),
        number(statistics.mean(row["tokens_per_s"] for row in runs)),
        ", ".join(str(seed) for seed in sorted(row["seed"] for row in runs)),
    ]


def task_rows(rows: Iterable[Row], is_glue: bool) -> list[Row]:
    """Return the rows of GLUE tasks, or of all other tasks; each model and seed once."""
    rows = [row for row in rows if row["kind"] == "glue"]
    return latest(
        [row for row in rows if (row["task"] in GLUE_TITLES) == is_glue], "model", "task", "seed"
    )


def glue_table(rows: Iterable[Row], with_published: bool = True) -> str:
    """Return GLUE results by model and task, published ones beside them.

    Mean and standard deviation over seeds, in per cent; `*` marks tasks where the model saw, or was
    measured on, a part of the rows only. The average is over the tasks shown.
    """
    found = task_rows(rows, is_glue=True)
    if not found:
        return ""
    tasks = [task for task in GLUE_TITLES if any(row["task"] == task for row in found)]
    header = ["model", *(task_title(task, found) for task in tasks), "average", "seeds"]
    body = [_task_line(model, same, tasks) for (model,), same in group(found, "model").items()]
    if with_published:
        body += [_published_line(model, tasks) for model in published.GLUE]
    note = "\\* a part of the rows only. " if any(row.get("subset") for row in found) else ""
    source = published.GLUE_SOURCE if with_published else ""
    return f"{markdown_table(header, body)}\n\n{note}{source}".strip() + "\n"


def task_table(rows: Iterable[Row]) -> str:
    """Return results on tasks other than GLUE's, by model and task; spread over seeds."""
    found = task_rows(rows, is_glue=False)
    if not found:
        return ""
    tasks = list(dict.fromkeys(row["task"] for row in found))
    header = ["model", *(task_title(task, found) for task in tasks), "average", "seeds"]
    body = [_task_line(model, same, tasks) for (model,), same in group(found, "model").items()]
    return markdown_table(header, body) + "\n"


def task_title(task: str, found: Iterable[Row]) -> str:
    """Return the name of a task and its metric, which rows of it tell."""
    metric = next(row.get("metric", "accuracy") for row in found if row["task"] == task)
    title = METRICS[metric].title if metric in METRICS else metric
    return f"{TASKS[task].title if task in TASKS else task} ({title}, %)"


def _task_line(model: str, found: list[Row], tasks: list[str]) -> list[str]:
    cells, means = [], []
    for task in tasks:
        same = [row for row in found if row["task"] == task]
        if not same:
            cells.append(NONE)
            continue
        mark = "\\*" if any(row.get("subset") for row in same) else ""
        cells.append(spread([row["value"] for row in same], 1) + mark)
        means.append(statistics.mean(row["value"] for row in same))
    seeds = sorted({row["seed"] for row in found})
    return [model, *cells, _average(means, tasks), ", ".join(map(str, seeds))]


def _published_line(model: str, tasks: list[str]) -> list[str]:
    values = [published.GLUE[model][task] for task in tasks if task in published.GLUE[model]]
    cells = [str(published.GLUE[model].get(task, NONE)) for task in tasks]
    return [f"{model} (published)", *cells, _average(values, tasks), NONE]


def _average(values: list[float], tasks: list[str]) -> str:
    return f"{statistics.mean(values):.1f}" if len(values) == len(tasks) else NONE


def environment_table(rows: Iterable[Row]) -> str:
    """Return the machines and versions that the rows come from, and how many rows each."""
    fields = ("cpu", "system", "python", "torch", "transformers", "ultrafastbert")
    environments = group((row.get("environment", {}) for row in rows), *fields)
    body = []
    for key, same in environments.items():
        body.append([*(str(value or NONE) for value in key), str(len(same))])
    return markdown_table(["processor", *fields[1:], "rows"], body) + "\n"
