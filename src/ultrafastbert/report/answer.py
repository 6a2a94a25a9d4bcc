"""The plain-language answer of a report: how good, how fast, compared to what; and its caveats."""

import statistics
from collections.abc import Sequence

from ultrafastbert.report import tables
from ultrafastbert.report.cells import count, number, times
from ultrafastbert.report.grouping import group, of_kind
from ultrafastbert.report.layer_cases import fast_kernel, fresh, most_threads, timed
from ultrafastbert.report.model_table import fastest_of, model_cases
from ultrafastbert.report.titles import VARIANT_TITLES
from ultrafastbert.rows.conversion import ConvertRow
from ultrafastbert.rows.engines import EngineRow
from ultrafastbert.rows.layers import LayerRow, LayerTime, SkippedRow
from ultrafastbert.rows.models import ConvertSpeedRow, ModelRow
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.training import GlueRow, PretrainRow, TaskResult

# Fewer seeds than this say nothing of the spread between them.
ENOUGH_SEEDS = 3
# Share of the machine used by other programs beyond which times are not to be trusted.
OTHER_LOAD = 0.1


def answers(rows: Sequence[Row]) -> list[str]:
    """Return the findings, one sentence or two each; none for what was not measured."""
    return [*_quality(rows), *_tasks(rows), *_layer(rows), *_model(rows)]


def _quality(rows: Sequence[Row]) -> list[str]:
    runs = {same[0].name: same for same in tables.pretrain_runs(rows)}
    if not runs:
        return []
    # The model in question is the one called fff, or else the first.
    name = "fff" if "fff" in runs else next(iter(runs))
    ours = runs[name]
    texts = [
        f"**How good:** after {count(ours[0].tokens)} tokens, {name} ({ours[0].ffn}, "
        f"{ours[0].n_active:,} of {ours[0].n_neurons:,} neurons per layer active) names "
        f"{_accuracy(ours):.1f} % of the masked tokens of texts it has not seen "
        f"(loss {_loss(ours):.3f})."
    ]
    others = [_control(control, runs[control]) for control in runs if control != name]
    if others:
        texts.append(f"**Compared to**, trained alike: {'; '.join(others)}.")
    return texts + _gap(name, runs)


def _control(name: str, runs: list[PretrainRow]) -> str:
    title = VARIANT_TITLES.get(name, name)
    return f"{title} ({runs[0].ffn}) {_accuracy(runs):.1f} %, loss {_loss(runs):.3f}"


def _gap(name: str, runs: dict[str, list[PretrainRow]]) -> list[str]:
    """Return the gap recovered between no feedforward layer and a dense one of all neurons."""
    if not {"ff", "none"} <= runs.keys():
        return []
    best, worst = _loss(runs["ff"]), _loss(runs["none"])
    if worst <= best:
        return ["Here the dense layer of all neurons was no better than none: train for longer."]
    shares = {
        key: (worst - _loss(runs[key])) / (worst - best)
        for key in (name, "ff_active")
        if key in runs
    }
    text = f"**Gap recovered** from no feedforward layer to all neurons, of the loss: {name} "
    text += f"{100 * shares[name]:.0f} %"
    if "ff_active" in shares:
        text += f", a dense layer as wide as the active neurons {100 * shares['ff_active']:.0f} %"
    return [f"{text}."]


def _loss(runs: list[PretrainRow]) -> float:
    return statistics.mean(row.validation_loss for row in runs)


def _accuracy(runs: list[PretrainRow]) -> float:
    return 100 * statistics.mean(row.validation_accuracy for row in runs)


def _tasks(rows: Sequence[Row]) -> list[str]:
    texts = []
    tasks = group(tables.task_rows(rows, is_glue=False), lambda row: row.task)
    for task, found in tasks.items():
        models = group(found, lambda row: row.model)
        scores = [
            f"{model} {statistics.mean(row.value for row in same):.1f} %"
            for model, same in models.items()
        ]
        chance = found[-1].majority_accuracy
        baseline = f"; always naming one class: {100 * chance:.1f} %" if chance else ""
        texts.append(f"**On the task {task}**, fine-tuned: {', '.join(scores)}{baseline}.")
    return texts


def _layer(rows: Sequence[Row]) -> list[str]:
    groups = group(
        fresh(most_threads(timed(rows))), lambda row: (row.family, row.hidden_size, row.pass_name)
    )
    texts = []
    for (family, hidden_size, pass_name), same in groups.items():
        cases = group(same, lambda row: row.n_tokens).values()
        lines = [line for line in map(fast_kernel, cases) if line]
        ours = max(lines, key=lambda row: row.n_tokens, default=None)
        if ours is None or "dense eager float32" not in ours.speedup_over:
            continue
        texts.append(
            f"**How fast, the layer** ({family}, hidden size {hidden_size}, {pass_name}, "
            f"{ours.n_tokens:,} tokens, threads: {ours.threads}): "
            f"{_over(ours, 'dense eager float32')} over a dense layer of as many neurons in "
            f"PyTorch's float32, {_over(ours, ours.fastest_dense)} over the fastest dense layer "
            f"on this machine ({(ours.fastest_dense or '').removeprefix('dense ')})"
            f"{_with_narrow_weights(same, ours)}."
        )
    return texts


def _with_narrow_weights(same: list[LayerTime], ours: LayerTime) -> str:
    case = [row for row in same if row.n_tokens == ours.n_tokens]
    narrow = fast_kernel(case, narrow=True)
    if narrow is None:
        return ""
    return f"; with {narrow.precision}, {_over(narrow, narrow.fastest_dense)} over that"


def _over(row: LayerTime | ModelRow, other: str | None) -> str:
    return times(row.speedup_over.get(other or ""))


def _model(rows: Sequence[Row]) -> list[str]:
    texts = []
    for case, same in model_cases(rows).items():
        ours, none = fastest_of(same, "fff"), fastest_of(same, "none")
        if ours is None or none is None:
            continue
        dense = ours.fastest_dense
        texts.append(
            f"**How fast, the whole model** ({case.model}, {case.family}, {case.pass_name}, "
            f"batch {case.batch} of {case.sequence} tokens, threads: {case.threads}): "
            f"{number(ours.tokens_per_s)} tokens/s, {_over(ours, dense)} over its dense "
            f"twin at its fastest ({dense.removeprefix('ff ')}). Without any feedforward layer the "
            f"model would be {_over(none, dense)} as fast as that twin, which is the most that a "
            "cheaper layer could give."
        )
    return texts


def caveats(rows: Sequence[Row]) -> list[str]:
    """Return what a reader should know before quoting a number."""
    found = [*_training_caveats(rows), *conversion_caveats(rows)]
    has_models = bool(of_kind(rows, ModelRow))
    if of_kind(rows, LayerRow) and not has_models:
        found.append(
            "The whole model's speed was not measured. A layer's speed alone says little about it: "
            "run `ultrafastbert bench model`."
        )
    if has_models:
        found.append(
            "Speeds of whole models are those of random weights and tokens; trained routing may "
            "visit fewer leaves. Inference is the encoder without a head."
        )
    if (load := _most_load(rows)) > OTHER_LOAD:
        found.append(
            f"Other programs used up to {100 * load:.0f} % of the machine while speeds were "
            "measured: measure again on an idle machine before quoting them."
        )
    for reason, same in group(of_kind(rows, SkippedRow), lambda row: row.reason).items():
        names = ", ".join(sorted({row.name for row in same}))
        found.append(f"Left out in some cases ({reason}): {names}.")
    return found


def _most_load(rows: Sequence[Row]) -> float:
    """Return the largest share of the machine that other programs used during a benchmark."""
    loads = [row.other_load for row in of_kind(rows, LayerRow)]
    loads += [row.other_load for row in of_kind(rows, SkippedRow) if row.benchmark == "layer"]
    loads += [row.other_load for row in of_kind(rows, ModelRow)]
    loads += [row.other_load for row in of_kind(rows, EngineRow)]
    for row in of_kind(rows, ConvertSpeedRow):
        loads += [row.other_load_text, row.other_load_batch]
    return max(loads, default=0.0)


def conversion_caveats(rows: Sequence[Row]) -> list[str]:
    """Return which converted models are no better than one without FF layers."""
    found = []
    for run in group(of_kind(rows, ConvertRow), lambda row: (row.run, row.seed)).values():
        models = {row.model: row for row in reversed(run)}
        ours, none = models.get("fff"), models.get("none")
        if ours and none and ours.fvu_states >= none.fvu_states:
            found.append(
                f"The converted model ({ours.ffn}) is no nearer to the original than one "
                "without feedforward layers: it needs more training (steps, tokens), more "
                "neurons, or fewer layers converted."
            )
    return list(dict.fromkeys(found))  # once for all seeds


def _training_caveats(rows: Sequence[Row]) -> list[str]:
    runs = tables.pretrain_runs(rows)
    found = []
    if runs:
        most = count(max(same[0].tokens for same in runs))
        found.append(
            f"The models read {most} tokens at most; the published ones read billions. What holds "
            "for short runs may not hold for long ones, and short runs flatter trees."
        )
        trained = {same[0].name for same in runs}
        missing = [name for name in ("ff", "ff_active", "none") if name not in trained]
        if missing:
            titles = ", ".join(VARIANT_TITLES[name] for name in missing)
            found.append(f"Controls that were not trained: {titles}.")
    if 0 < (fewest := _fewest_seeds(rows)) < ENOUGH_SEEDS:
        found.append(
            f"Some results rest on {'one seed' if fewest == 1 else f'{fewest} seeds'}: differences "
            "as small as another seed would make mean nothing."
        )
    if any(row.subset for row in of_kind(rows, TaskResult)):
        found.append("Results marked * come from a part of a task's rows; no published row does.")
    return found


def _fewest_seeds(rows: Sequence[Row]) -> int:
    """Return the least number of seeds that a result rests on; 0 without results."""
    tasks = group(of_kind(rows, GlueRow), lambda row: (row.model, row.task)).values()
    trained = [row for row in of_kind(rows, ConvertRow) if row.model != "teacher"]
    models = group(trained, lambda row: row.model).values()
    seeds: list[set[int | None]] = [{row.seed for row in same} for same in tasks]
    seeds += [{row.seed for row in same} for same in models]
    seeds += [{row.seed for row in same} for same in tables.pretrain_runs(rows)]
    return min(map(len, seeds), default=0)
