"""What variants, controls, tasks and states of the caches are called in tables and figures."""

from ultrafastbert.evaluate.metrics import METRICS, Needs, metrics_for
from ultrafastbert.evaluate.tasks import TASKS

# Feedforward layers of models that are trained or timed here.
VARIANT_TITLES = {
    "fff": "fast feedforward",
    "fff_masked": "the same, computed by masking",
    "ff": "dense, all neurons",
    "ff_active": "dense, as wide as the active neurons",
    "none": "no feedforward layer",
}
# Candidates and controls of a conversion.
MODEL_TITLES = {
    "fff": "fast feedforward",
    "random": "the same with random, fixed routing",
    "fff_held": "the same with fixed principal splits",
    "fff_random_start": "the same with routing learned from random splits",
    "ff_active": "dense, as wide as the active neurons",
    "ff_equal_latency": "dense, equal latency",
    "none": "no feedforward layer (its mean output)",
    "teacher": "the original",
}
# Metrics of converted models beside the original: title with the unit, and factor to it.
FIT_METRICS = {
    name: (metric.heading, metric.factor)
    for name, metric in metrics_for(Needs.STATES, Needs.LOGITS, Needs.CLASS_LOGITS).items()
}
CACHE_TITLES = {
    "hot": "the same input every time",
    "fresh": "inputs rotate",
    "cold": "caches emptied before each call",
}


def task_title(task: str, metric: str, split: str = "") -> str:
    """Return the name of a task, of the split if given, and of the metric, in per cent."""
    name = (TASKS[task].title if task in TASKS else "") or task
    title = METRICS[metric].title if metric in METRICS else metric
    return f"{name} {split}".strip() + f" ({title}, %)"


def model_title(model: str, ffn: str | None, n_active: int | None) -> str:
    """Return what a converted model or a control is called, with its feedforward layer."""
    other = "dense" if (ffn or "").startswith("ff:") else MODEL_TITLES["fff"]
    title = MODEL_TITLES.get(model, other)
    return f"{title} ({ffn})" if n_active else title
