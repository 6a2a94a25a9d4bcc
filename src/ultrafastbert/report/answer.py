"""The plain-language answer of a report: how good, how fast, compared to what; and its caveats."""

import statistics
from collections.abc import Sequence

from ultrafastbert.report import tables
from ultrafastbert.report.runs import RUN
from ultrafastbert.rows import Row

# Fewer seeds than this say nothing of the spread between them.
ENOUGH_SEEDS = 3
# Share of the machine used by other programs beyond which times are not to be trusted.
OTHER_LOAD = 0.1


def answers(rows: Sequence[Row]) -> list[str]:
    """Return the findings, one sentence or two each; none for what was not measured."""
    found = [*_quality(rows), *_tasks(rows), *_layer(rows), *_model(rows)]
    return [text for text in found if text]


def _quality(rows: Sequence[Row]) -> list[str]:
    runs = {key[0]: same for key, same in tables.pretrain_runs(rows).items()}
    if not runs:
        return []
    # The model in question is the one called fff, or else the first.
    name = "fff" if "fff" in runs else next(iter(runs))
    ours = runs[name]
    texts = [
        f"**How good:** after {tables.count(ours[0]['tokens'])} tokens, {name} ({ours[0]['ffn']}, "
        f"{ours[0]['n_active']:,} of {ours[0]['n_neurons']:,} neurons per layer active) names "
        f"{_mean(ours, 'validation_accuracy', 100):.1f} % of the masked tokens of texts it has not "
        f"seen (loss {_mean(ours, 'validation_loss'):.3f})."
    ]
    others = [_control(control, runs[control]) for control in runs if control != name]
    if others:
        texts.append(f"**Compared to**, trained alike: {'; '.join(others)}.")
    return texts + _gap(name, runs)


def _control(name: str, runs: list[Row]) -> str:
    title = tables.VARIANT_TITLES.get(name, name)
    accuracy = _mean(runs, "validation_accuracy", 100)
    text = f"{title} ({runs[0]['ffn']}) {accuracy:.1f} %"
    return f"{text}, loss {_mean(runs, 'validation_loss'):.3f}"


def _gap(name: str, runs: dict[str, list[Row]]) -> list[str]:
    """How much of what a dense layer of all neurons gives over none at all is reached."""
    if not {"ff", "none"} <= runs.keys():
        return []
    best, worst = (_mean(runs[control], "validation_loss") for control in ("ff", "none"))
    if worst <= best:
        return ["Here the dense layer of all neurons was no better than none: train for longer."]
    shares = {
        key: (worst - _mean(runs[key], "validation_loss")) / (worst - best)
        for key in (name, "ff_active")
        if key in runs
    }
    text = f"Of the loss that all neurons save over no feedforward layer, {name} saves "
    text += f"{100 * shares[name]:.0f} %"
    if "ff_active" in shares:
        text += f", a dense layer as wide as the active neurons {100 * shares['ff_active']:.0f} %"
    return [f"{text}."]


def _mean(runs: list[Row], field: str, factor: float = 1.0) -> float:
    return factor * statistics.mean(row[field] for row in runs)


def _tasks(rows: Sequence[Row]) -> list[str]:
    texts = []
    for (task,), found in tables.group(tables.task_rows(rows, is_glue=False), "task").items():
        models = tables.group(found, "model")
        scores = [f"{model} {_mean(same, 'value'):.1f} %" for (model,), same in models.items()]
        chance = found[-1].get("majority_accuracy")
        floor = f"; always naming one class: {100 * chance:.1f} %" if chance else ""
        texts.append(f"**On the task {task}**, fine-tuned: {', '.join(scores)}{floor}.")
    return texts


def _layer(rows: Sequence[Row]) -> list[str]:
    timed = tables.fresh(tables.most_threads(rows))
    texts = []
    for (family, hidden, pass_name), same in tables.group(
        timed, "family", "hidden_size", "pass"
    ).items():
        lines = [tables.fast_kernel(case) for case in tables.group(same, "n_tokens").values()]
        ours = max((line for line in lines if line), key=lambda row: row["n_tokens"], default=None)
        if ours is None or "dense eager float32" not in ours["speedup_over"]:
            continue
        texts.append(
            f"**How fast, the layer** ({family}, hidden size {hidden}, {pass_name}, "
            f"{ours['n_tokens']:,} tokens, threads: {ours['threads']}): "
            f"{_over(ours, 'dense eager float32')} over a dense layer of as many neurons in "
            f"PyTorch's float32, {_over(ours, ours['fastest_dense'])} over the fastest dense layer "
            f"on this machine ({ours['fastest_dense'].removeprefix('dense ')})"
            f"{_with_narrow_weights(same, ours)}."
        )
    return texts


def _with_narrow_weights(same: list[Row], ours: Row) -> str:
    case = [row for row in same if row["n_tokens"] == ours["n_tokens"]]
    narrow = tables.fast_kernel(case, narrow=True)
    if narrow is None:
        return ""
    return f"; with {narrow['precision']}, {_over(narrow, narrow['fastest_dense'])} over that"


def _over(row: Row, other: str) -> str:
    return tables.times(row["speedup_over"].get(other))


def _model(rows: Sequence[Row]) -> list[str]:
    texts = []
    for key, case in tables.model_cases(rows).items():
        family, hidden, layers, pass_name, batch, sequence, threads = key
        ours = tables.fastest(case, "latency_ms", variant="fff")
        none = tables.fastest(case, "latency_ms", variant="none")
        if ours is None or none is None:
            continue
        dense = ours["fastest_dense"]
        texts.append(
            f"**How fast, the whole model** ({layers} layers of {hidden}, {family}, {pass_name}, "
            f"batch {batch} of {sequence} tokens, threads: {threads}): "
            f"{tables.number(ours['tokens_per_s'])} tokens/s, {_over(ours, dense)} over its dense "
            f"twin at its fastest ({dense.removeprefix('ff ')}). Without any feedforward layer the "
            f"model would be {_over(none, dense)} as fast as that twin, which is the most that a "
            "cheaper layer could give."
        )
    return texts


def caveats(rows: Sequence[Row]) -> list[str]:
    """Return what a reader should know before quoting a number."""
    kinds = {row["kind"] for row in rows}
    found = [*_training_caveats(rows), *conversion_caveats(rows)]
    if "layer" in kinds and "model" not in kinds:
        found.append(
            "The whole model's speed was not measured. A layer's speed alone says little about it: "
            "run `ultrafastbert bench model`."
        )
    if "model" in kinds:
        found.append(
            "Speeds of whole models are those of random weights and tokens; trained routing may "
            "visit fewer leaves. Inference is the encoder without a head."
        )
    loads = [
        load
        for row in rows
        if row["kind"] in ("layer", "model", "convert_speed")
        for field, load in row.items()
        if field.startswith("other_load")
    ]
    if max(loads, default=0.0) > OTHER_LOAD:
        found.append(
            f"Other programs used up to {100 * max(loads):.0f} % of the machine while speeds were "
            "measured: measure again on an idle machine before quoting them."
        )
    for (reason,), same in tables.group(rows, "skipped").items():
        if reason:
            names = ", ".join(sorted({row["contestant"] for row in same}))
            found.append(f"Left out in some cases ({reason}): {names}.")
    return found


def conversion_caveats(rows: Sequence[Row]) -> list[str]:
    """Return which converted models are no better than one without FF layers."""
    found = []
    models = [row for row in rows if row["kind"] == "convert"]
    for run in tables.group(models, *RUN, "seed").values():
        ours, none = (
            next((row for row in run if row["model"] == name), None) for name in ("fff", "none")
        )
        if ours and none and ours["unexplained_states"] >= none["unexplained_states"]:
            found.append(
                f"The converted model ({ours['ffn']}) is no nearer to the original than one "
                "without feedforward layers: it needs more training (updates, tokens), more "
                "neurons, or fewer layers converted."
            )
    return list(dict.fromkeys(found))  # once for all seeds


def _training_caveats(rows: Sequence[Row]) -> list[str]:
    runs = tables.pretrain_runs(rows)
    found = []
    if runs:
        most = tables.count(max(same[0]["tokens"] for same in runs.values()))
        found.append(
            f"The models read {most} tokens at most; the published ones read billions. What holds "
            "for short runs may not hold for long ones, and short runs flatter trees."
        )
        missing = [name for name in ("ff", "ff_active", "none") if name not in {k[0] for k in runs}]
        if missing:
            titles = ", ".join(tables.VARIANT_TITLES[name] for name in missing)
            found.append(f"Controls that were not trained: {titles}.")
    tasks = tables.group([row for row in rows if row["kind"] == "glue"], "model", "task")
    trained = [row for row in rows if row["kind"] == "convert" and row["model"] != "teacher"]
    together = [*runs.values(), *tasks.values(), *tables.group(trained, "model").values()]
    fewest = min([len({row["seed"] for row in same}) for same in together], default=0)
    if 0 < fewest < ENOUGH_SEEDS:
        found.append(
            f"Some results rest on {'one seed' if fewest == 1 else f'{fewest} seeds'}: differences "
            "as small as another seed would make mean nothing."
        )
    if any(row.get("subset") for row in rows):
        found.append("Results marked * come from a part of a task's rows; no published row does.")
    return found
