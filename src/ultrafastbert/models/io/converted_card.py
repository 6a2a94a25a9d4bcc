"""Model cards of converted models: the original, its licence, and the new FF layers."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCard, ModelCardData
from transformers import AutoConfig, PreTrainedConfig
from yaml import YAMLError

from ultrafastbert.fff import tree
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.architectures import PREFIX
from ultrafastbert.models.io.card_parts import (
    ATTENTION,
    IMPORT,
    INFERENCE_ONLY,
    assemble,
    bullets,
    metadata,
    n_parameters,
    sentence_modules,
    task_of,
    usage,
)

# The original's README.md, unchanged.
ORIGINAL_CARD = "README.original.md"
# Metadata of the original's card that holds for the converted model.
KEPT_FIELDS = ("language", "license", "license_name", "license_link")


class Original(NamedTuple):
    """Name and metadata of the original, from its model card."""

    name: str
    data: ModelCardData

    @classmethod
    def of(cls, folder: Path, config: PreTrainedConfig) -> "Original":
        """Read the card that a converted model's folder keeps of its original, if it does."""
        unnamed = cls(f"A model of type {config.model_type.removeprefix(PREFIX)}", ModelCardData())
        path = folder / ORIGINAL_CARD
        if not path.exists():
            return unnamed
        try:
            card: Any = ModelCard(path.read_text(encoding="utf-8", errors="replace"))
        except (ValueError, YAMLError):  # not in the form of the hub
            return unnamed
        heading = re.search(r"^# +(.+)$", card.text, re.MULTILINE)
        return cls(heading[1].strip() if heading else unnamed.name, card.data)


def compose_converted(folder: Path, results: str) -> str:
    """Return the text of the card of a converted model in a folder."""
    config = AutoConfig.from_pretrained(folder)
    original, task = Original.of(folder, config), task_of(folder, config)
    data = metadata(task)
    for field in KEPT_FIELDS:
        data[field] = original.data.get(field)
    sections = {
        "Architecture": _architecture(config, folder),
        "Original and licence": _licence(original, folder),
        "How to use it": usage(task),
        "Intended use and limits": _limits(config, bool(results)),
    }
    return assemble(data, _title(config, original), sections, results)


def _title(config: PreTrainedConfig, original: Original) -> str:
    names = list(dict.fromkeys(name for name in config.ffn if name is not None))
    if not names:
        return f"# {original.name}, unchanged\n\nIts feedforward layers are the original's."
    if not any(parse_ffn(name)["ffn_type"] == "fff" for name in names):
        return (
            f"# {original.name} with {', '.join(names)}\n\nA control: its feedforward layers were "
            "replaced by dense ones, or by none, and not by fast ones."
        )
    return (
        f"# {original.name} with fast feedforward layers\n\n{original.name} with other feedforward "
        "layers, of which a token visits one path each (arXiv 2311.10770). These layers were "
        "distilled from the originals; other weights may have been fine-tuned too."
    )


def _architecture(config: PreTrainedConfig, folder: Path) -> str:
    facts = {
        "Model": (config.architectures or ["unknown"])[0],
        "Layers": f"{len(config.ffn)} of hidden size {config.hidden_size:,}",
        "Feedforward layers": _layers(config),
        "Parameters": f"{n_parameters(folder):,}",
        "Weights": _weights(config),
    }
    if (n_tokens := getattr(config, "vocab_size", None)) is not None:  # images have none
        facts["Vocabulary"] = f"{n_tokens:,} tokens"
    if (folder / "modules.json").exists():
        facts["Sentence embedding"] = sentence_modules(folder)
    return bullets(f"**{name}:** {value}" for name, value in facts.items())


def _layers(config: PreTrainedConfig) -> str:
    """Return the FF layers, layer by layer where they differ."""
    if len(set(config.ffn)) == 1:
        return f"all {_layer(config.ffn[0])}"
    return "; ".join(f"{number}: {_layer(name)}" for number, name in enumerate(config.ffn))


def _layer(name: str | None) -> str:
    if name is None:
        return "the original's"
    if parse_ffn(name)["ffn_type"] != "fff":
        return f"`{name}`"
    fields = parse_ffn(name)
    n_trees, depth, leaf_size = (fields[size] for size in ("n_trees", "tree_depth", "leaf_size"))
    shared = fields.get("shared_size", 0)
    n_rows = n_trees * tree.n_rows(depth, leaf_size) + shared
    n_active = tree.n_active(depth, leaf_size, n_trees) + shared
    return f"`{name}`, {n_active:,} of {n_rows:,} neurons active for a token"


def _weights(config: PreTrainedConfig) -> str:
    dtype = str(config.dtype or "float32").removeprefix("torch.")
    if config.weight_dtype is None:
        return dtype
    return f"{config.weight_dtype} in fast feedforward layers; others are computed in {dtype}"


def _licence(original: Original, folder: Path) -> str:
    kept = f" Its model card is [{ORIGINAL_CARD}]({ORIGINAL_CARD})."
    licence = original.data.get("license_name") or original.data.get("license")
    text = f"{original.name} is the original." + (kept if (folder / ORIGINAL_CARD).exists() else "")
    if licence is None:
        return f"{text} Its licence is not recorded here: look it up before passing the model on."
    return (
        f"{text} Its licence is {licence}, and this model, a changed copy, is under the same: "
        "feedforward layers were replaced and distilled; other weights, except word embeddings, "
        "may have been fine-tuned too."
    )


def _limits(config: PreTrainedConfig, has_results: bool) -> str:
    texts = [
        "For what the original is for, with the same limits and biases.",
        IMPORT,
        ATTENTION,
        "The text it was distilled on is not recorded here: on other kinds of inputs it may be "
        "further from the original.",
    ]
    if has_results:
        texts.append("Its distance from the original is below; nothing else was measured.")
    else:
        texts.append("Its distance from the original is not recorded in this folder.")
    if config.weight_dtype:
        texts.append(INFERENCE_ONLY)
    return bullets(texts)
