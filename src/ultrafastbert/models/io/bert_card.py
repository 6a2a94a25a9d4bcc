"""Model cards of UltraFastBERT models: sizes, how to use them, what they are for."""

from pathlib import Path

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
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


def compose_bert(folder: Path, results: str) -> str:
    """Return the text of the card of an UltraFastBERT model in a folder."""
    config = UltraFastBertConfig.from_pretrained(folder)
    task = task_of(folder, config)
    sections = {
        "Architecture": _architecture(config, folder),
        "How to use it": usage(task),
        "Intended use and limits": _limits(config, task, bool(results)),
    }
    return assemble(metadata(task), _title(config), sections, results)


def _title(config: UltraFastBertConfig) -> str:
    if config.ffn_type != "fff":
        return (
            f"# UltraFastBERT, {config.ffn_name}\n\nA BERT-like encoder of UltraFastBERT's "
            f"architecture with the feedforward layer `{config.ffn_name}`, not a fast one."
        )
    return (
        f"# UltraFastBERT-{config.ffn_name}\n\nA BERT-like encoder with fast feedforward layers "
        f"(arXiv 2311.10770): each token uses {config.n_active:,} of the {config.n_neurons:,} "
        "neurons of a layer."
    )


def _architecture(config: UltraFastBertConfig, folder: Path) -> str:
    facts = {
        "Model": (config.architectures or ["unknown"])[0],
        "Layers": f"{config.num_hidden_layers} of hidden size {config.hidden_size:,}, "
        f"{config.num_attention_heads} attention heads",
        "Feedforward layer": f"`{config.ffn_name}`, {config.n_active:,} of {config.n_neurons:,} "
        "neurons active for a token",
        "Positions": f"{config.position_embedding_type}, at most "
        f"{config.max_position_embeddings:,} tokens",
        "Vocabulary": f"{config.vocab_size:,} tokens",
        "Parameters": f"{n_parameters(folder):,}",
        "Weights": config.weight_dtype or str(config.dtype or "float32").removeprefix("torch."),
    }
    if (folder / "modules.json").exists():
        facts["Sentence embedding"] = sentence_modules(folder)
    return bullets(f"**{name}:** {value}" for name, value in facts.items())


def _limits(config: UltraFastBertConfig, task: str, has_results: bool) -> str:
    uses = {
        "fill-mask": "Fine-tuning on a task, and filling masks.",
        "sentence-similarity": "Sentence embeddings, to compare, search and cluster texts, if it "
        "was trained for that: pretraining alone is not enough.",
        "feature-extraction": "Fine-tuning on a task, or to embed sentences.",
    }
    texts = [
        uses.get(task, f"The task it was fine-tuned on ({task})."),
        IMPORT,
        f"It reads at most {config.max_position_embeddings:,} tokens; longer texts must be cut.",
        "The training text, its language, licence and biases are not recorded here.",
    ]
    if has_results:
        texts.append("Only what is below was measured.")
    else:
        texts.append("How it was trained, and how good it is, is not recorded in this folder.")
    if config.ffn_type == "fff":
        texts.append(ATTENTION)
    if config.weight_dtype:
        texts.append(INFERENCE_ONLY)
    return bullets(texts)
