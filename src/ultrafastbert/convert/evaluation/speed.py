"""How fast a converted model and its controls are beside the original, in the same engine."""

import itertools
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert import rows
from ultrafastbert.convert.evaluation.latency import latency_fields
from ultrafastbert.convert.folder import load_dense
from ultrafastbert.data import docstrings
from ultrafastbert.models.saved import load_as_saved

# Files of documentation that texts to time are cut from.
N_FILES = 32


def bench_converted(folder: str | Path, original: str | Path) -> list[rows.Row]:
    """Time what `convert` wrote, its controls and the original; return a row for each.

    Rows, of kind `convert_speed`, are appended to the folder's `rows.jsonl`. Forward, in PyTorch,
    one thread, texts of the documentation of Python's library; all in turn.
    Where weights of fast feedforward layers are float32, the model is timed with int8 ones, too.

    Raises OSError for missing files, ValueError for weights that do not fit and for models whose
    vocabularies differ.
    """
    folder, original = Path(folder), Path(original)
    models: dict[str, PreTrainedModel] = {"fff": load_as_saved(folder).eval()}
    if models["fff"].config.weight_dtype is None:
        models["fff_int8"] = load_as_saved(folder, weight_dtype="int8").eval()
    for control in sorted((folder / "controls").glob("*/config.json")):
        models[control.parent.name] = load_as_saved(control.parent).eval()
    models["teacher"] = load_dense(original)
    sizes = {model.config.vocab_size for model in models.values()}
    if len(sizes) > 1:
        raise ValueError(f"{original} is not the original of {folder}: their vocabularies differ")
    ids = _tokens(AutoTokenizer.from_pretrained(folder))
    fields = latency_fields(models, "teacher", ids)
    new = [
        {
            "kind": "convert_speed",
            "model": name,
            "ffn": getattr(model.config, "ffn", None),
            "weight_dtype": getattr(model.config, "weight_dtype", None) or "float32",
            **fields[name],
        }
        for name, model in models.items()
    ]
    return rows.append_rows(folder / "rows.jsonl", new)


def _tokens(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return tokens of real text, one after the other: (T)."""
    harvest = docstrings.harvest((docstrings.STANDARD_LIBRARY,))
    texts = [text.text for text in itertools.islice(harvest, N_FILES)]
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor(list(itertools.chain.from_iterable(ids)))
