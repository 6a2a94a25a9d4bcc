"""Model cards: the README.md of a saved model, from what its folder holds."""

import hashlib
import json
import math
import re
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open

from ultrafastbert.models.configuration import UltraFastBertConfig
from ultrafastbert.rows import environment

# Ends a card of ours. A card whose text does not give this digest any more belongs to its editor.
SIGNATURE = re.compile(r"\n<!-- written by ultrafastbert, renewed until edited: (\w+) -->\n$")

TASKS = {  # by the end of the class's name
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
}
HERE = "path/to/this/folder"


def write_card(folder: str | Path, results: str = "") -> bool:
    """Write the README.md of a folder that holds a saved model; return whether it did.

    `results` is Markdown, with headings from level 2. A README.md that somebody wrote or edited is
    kept, and folders of other models are left alone. Raises OSError if the folder has no
    configuration or cannot be written to.
    """
    path = Path(folder) / "README.md"
    stored, _ = UltraFastBertConfig.get_config_dict(folder)
    if stored.get("model_type") != UltraFastBertConfig.model_type:
        return False
    if path.exists() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
        return False
    path.write_text(_sign(_compose(Path(folder), results)), encoding="utf-8")
    return True


def is_ours(text: str) -> bool:
    """Return whether a README was written here and not edited since."""
    signature = SIGNATURE.search(text)
    return signature is not None and text == _sign(text[: signature.start()])


def _sign(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by ultrafastbert, renewed until edited: {digest} -->\n"


def _compose(folder: Path, results: str) -> str:
    config = UltraFastBertConfig.from_pretrained(folder)
    embeds = (folder / "modules.json").exists()  # a folder of sentence-transformers
    task = "sentence-similarity" if embeds else _task(config)
    card = ModelCard(f"---\n{_metadata(task).to_yaml()}\n---\n")
    sections = {
        "Architecture": _architecture(config, folder),
        "How to use it": _usage(task),
        "Intended use and limits": _limits(config, task, bool(results)),
    }
    parts = [_title(config), *(f"## {title}\n\n{text}" for title, text in sections.items())]
    parts += [results.strip(), _written_with()]
    card.text = "\n" + "\n\n".join(part for part in parts if part)
    return f"{card}\n"


def _written_with() -> str:
    versions = ("ultrafastbert", "torch", "transformers", "python")
    return f"Written with {', '.join(f'{name} {environment()[name]}' for name in versions)}."


def _task(config: UltraFastBertConfig) -> str:
    name = (config.architectures or [""])[0]
    return next((task for end, task in TASKS.items() if name.endswith(end)), "feature-extraction")


def _metadata(task: str) -> ModelCardData:
    tags = ["ultrafastbert", "fast-feedforward", "conditional-computation", "transformers"]
    if task == "sentence-similarity":
        return ModelCardData(
            library_name="sentence-transformers",
            pipeline_tag=task,
            tags=["sentence-transformers", "feature-extraction", *tags],
        )
    return ModelCardData(library_name="ultrafastbert", pipeline_tag=task, tags=tags)


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
        "Parameters": f"{_n_parameters(folder):,}",
        "Weights": config.weight_dtype or str(config.dtype or "float32").removeprefix("torch."),
    }
    if (folder / "modules.json").exists():
        facts["Sentence embedding"] = _sentence_modules(folder)
    return "\n".join(f"- **{name}:** {value}" for name, value in facts.items())


def _n_parameters(folder: Path) -> int:
    """Return how many numbers the weights of a folder hold; shared weights are saved once."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            names = list(weights.keys())
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    return total


def _sentence_modules(folder: Path) -> str:
    """Return how token vectors become one of the sentence, as modules.json says."""
    steps = []
    for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))[1:]:
        name = module["type"].rsplit(".", 1)[-1]
        path = folder / module["path"] / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        mode = settings.get("pooling_mode")
        steps.append(f"{name.lower()} ({mode})" if mode else name.lower())
    return ", then ".join(steps)


def _usage(task: str) -> str:
    """Return how to load the model in Python, and the command that uses it."""
    commands = {
        "fill-mask": f'ultrafastbert fill-mask {HERE} "the [MASK] of the array"',
        "sentence-similarity": f'ultrafastbert encode {HERE} "one text" "another text"',
        "feature-extraction": f'ultrafastbert encode {HERE} "one text" "another text"',
    }
    text = f"```python\n{_python(task)}\n```"
    return f"{text}\n\n```bash\n{commands[task]}\n```" if task in commands else text


def _python(task: str) -> str:
    lines = ["import ultrafastbert  # registers the model type with transformers"]
    if task == "sentence-similarity":
        lines += ["from sentence_transformers import SentenceTransformer", ""]
        lines += [f'model = SentenceTransformer("{HERE}")']
        lines += ['embeddings = model.encode(["one text", "another text"])']
    elif task == "fill-mask":
        lines += ["from transformers import pipeline", ""]
        lines += [f'fill_mask = pipeline("fill-mask", "{HERE}")']
        lines += ['fill_mask(f"the {fill_mask.tokenizer.mask_token} of the array")']
    elif task == "multiple-choice":  # for which transformers has no pipeline
        lines += ["from transformers import AutoModelForMultipleChoice", ""]
        lines += [f'model = AutoModelForMultipleChoice.from_pretrained("{HERE}")']
    else:
        lines += ["from transformers import pipeline", ""]
        lines += [f'model = pipeline("{task}", "{HERE}")']
    return "\n".join(lines)


def _limits(config: UltraFastBertConfig, task: str, has_results: bool) -> str:
    uses = {
        "fill-mask": "Fine-tuning on a task, and guessing masked words.",
        "sentence-similarity": "Vectors of sentences, to compare, search and cluster texts. They "
        "are good at it as far as the model was trained for it: pretraining alone is not enough.",
        "feature-extraction": "Fine-tuning on a task, or to embed sentences.",
    }
    texts = [
        uses.get(task, f"The task it was fine-tuned on ({task})."),
        "Without `import ultrafastbert` transformers does not know the model type, and no flag "
        "replaces the import: the folder holds weights and no code.",
        f"It reads at most {config.max_position_embeddings:,} tokens; longer texts must be cut.",
        "The training text, its language, licence and biases are not recorded here.",
    ]
    if has_results:
        texts.append("It is as good as its training: nothing but what is below was measured.")
    else:
        texts.append("How it was trained, and how good it is, is not recorded in this folder.")
    if config.ffn_type == "fff":
        texts.append("Only feedforward layers are cheaper; attention costs what it always does.")
    if config.weight_dtype:
        texts.append("Its feedforward weights are for inference only: they cannot be trained.")
    return "\n".join(f"- {text}" for text in texts)
