"""Model cards: the README.md of a saved model, from what its folder holds."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
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
from ultrafastbert.models.io.converted_card import compose_converted

# Ends a card of ours. A card whose text does not give this digest any more belongs to its editor.
SIGNATURE = re.compile(r"\n<!-- written by ultrafastbert, renewed until edited: (\w+) -->\n$")


class WithCard(PreTrainedModel):
    """A model that is saved with its card."""

    def save_pretrained(
        self, save_directory: Any, is_main_process: bool = True, *args: Any, **options: Any
    ) -> None:
        """Save the model, with a model card where nobody wrote a README.md."""
        super().save_pretrained(save_directory, is_main_process, *args, **options)
        if is_main_process:
            write_card(save_directory)


def write_card(folder: str | Path, results: str = "") -> bool:
    """Write the README.md of a folder that holds a saved model; return whether it did.

    `results` is Markdown, with headings from level 2. A README.md that somebody wrote or edited is
    kept, and folders of other models are left alone. Raises OSError if the folder has no
    configuration or cannot be written to.
    """
    path = Path(folder) / "README.md"
    stored, _ = UltraFastBertConfig.get_config_dict(folder)
    compose = _composer(stored.get("model_type") or "")
    if compose is None:
        return False
    if path.exists() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
        return False
    path.write_text(_sign(_encodable(compose(Path(folder), results))), encoding="utf-8")
    return True


def _encodable(text: str) -> str:
    """Return a text as UTF-8 can hold it: names of files may have bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _composer(model_type: str) -> Callable[[Path, str], str] | None:
    """Return what writes the text of cards for a type of models; None for those of others."""
    if model_type == UltraFastBertConfig.model_type:
        return _compose
    return compose_converted if model_type.startswith(PREFIX) else None


def is_ours(text: str) -> bool:
    """Return whether a README was written here and not edited since."""
    signature = SIGNATURE.search(text)
    return signature is not None and text == _sign(text[: signature.start()])


def _sign(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by ultrafastbert, renewed until edited: {digest} -->\n"


def _compose(folder: Path, results: str) -> str:
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
        "fill-mask": "Fine-tuning on a task, and guessing masked words.",
        "sentence-similarity": "Vectors of sentences, to compare, search and cluster texts. They "
        "are good at it as far as the model was trained for it: pretraining alone is not enough.",
        "feature-extraction": "Fine-tuning on a task, or to embed sentences.",
    }
    texts = [
        uses.get(task, f"The task it was fine-tuned on ({task})."),
        IMPORT,
        f"It reads at most {config.max_position_embeddings:,} tokens; longer texts must be cut.",
        "The training text, its language, licence and biases are not recorded here.",
    ]
    if has_results:
        texts.append("It is as good as its training: nothing but what is below was measured.")
    else:
        texts.append("How it was trained, and how good it is, is not recorded in this folder.")
    if config.ffn_type == "fff":
        texts.append(ATTENTION)
    if config.weight_dtype:
        texts.append(INFERENCE_ONLY)
    return bullets(texts)
