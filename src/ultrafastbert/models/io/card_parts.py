"""Parts of all model cards: parameter counts, how to load and use a model, versions."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open
from transformers import PreTrainedConfig

from ultrafastbert.rows import environment

HERE = "path/to/this/folder"
# What every user should know.
IMPORT = (
    "Without `import ultrafastbert` transformers does not know the model type, and no flag "
    "replaces the import: the folder holds weights and no code."
)
INFERENCE_ONLY = "Its feedforward weights are for inference only: they cannot be trained."
ATTENTION = "Only feedforward layers are cheaper; attention costs the same as before."


TASKS = {  # by the end of the class's name
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
}


def task_of(folder: Path, config: PreTrainedConfig) -> str:
    """Return the task of a saved model, as the hub names it."""
    if (folder / "modules.json").exists():  # a folder of sentence-transformers
        return "sentence-similarity"
    name = (config.architectures or [""])[0]
    return next((task for end, task in TASKS.items() if name.endswith(end)), "feature-extraction")


def metadata(task: str) -> ModelCardData:
    """Return the metadata that the hub reads from a card."""
    tags = ["ultrafastbert", "fast-feedforward", "conditional-computation", "transformers"]
    if task == "sentence-similarity":
        return ModelCardData(
            library_name="sentence-transformers",
            pipeline_tag=task,
            tags=["sentence-transformers", "feature-extraction", *tags],
        )
    return ModelCardData(library_name="ultrafastbert", pipeline_tag=task, tags=tags)


def n_parameters(folder: Path) -> int:
    """Return the number of parameters in a folder's weights; tied weights are saved once."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            names = list(weights.keys())
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    return total


def sentence_modules(folder: Path) -> str:
    """Return how token vectors become one of the sentence, as modules.json says."""
    steps = []
    for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))[1:]:
        name = module["type"].rsplit(".", 1)[-1]
        path = folder / module["path"] / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        modes = [
            key for key, value in settings.items() if value is True and key.endswith("_tokens")
        ]
        mode = settings.get("pooling_mode") or ", ".join(
            key.removeprefix("pooling_mode_").removesuffix("_tokens") for key in modes
        )
        steps.append(f"{name.lower()} ({mode})" if mode else name.lower())
    return ", then ".join(steps)


def usage(task: str) -> str:
    """Return how to load the model in Python, and the command that uses it."""
    commands = {
        "fill-mask": f'ultrafastbert fill-mask {HERE} "the [MASK] of the array"',
        "sentence-similarity": f'ultrafastbert encode --model {HERE} "one text" "another text"',
        "feature-extraction": f'ultrafastbert encode --model {HERE} "one text" "another text"',
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


def assemble(data: ModelCardData, title: str, sections: Mapping[str, str], results: str) -> str:
    """Return a whole card: metadata, title, sections, results and versions."""
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n")
    parts = [title, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    card.text = "\n" + "\n\n".join(
        part for part in (*parts, results.strip(), _written_with()) if part
    )
    return f"{card}\n"


def bullets(texts: Iterable[str]) -> str:
    """Return a list in Markdown."""
    return "\n".join(f"- {text}" for text in texts)


def _written_with() -> str:
    versions = ("ultrafastbert", "torch", "transformers", "python")
    return (
        f"Written with {', '.join(f'{name} {getattr(environment(), name)}' for name in versions)}."
    )
