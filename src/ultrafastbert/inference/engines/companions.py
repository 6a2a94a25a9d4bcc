"""Files beside an exported model."""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedConfig

from ultrafastbert.data.tokenizer import copy_tokenizer
from ultrafastbert.models.io.saved import load_padding_tokenizer

MODULES = "modules.json"
# What sentence-transformers has beside the folders of its modules.
SENTENCE_FILES = (
    MODULES,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "sentence_config.json",
)
IMAGE_FILES = ("preprocessor_config.json",)


def add_companions(
    config: PreTrainedConfig, longest: int | None, model_dir: Path, folder: Path
) -> None:
    """Write configuration, tokenizer and modules of sentence-transformers beside an exported model.

    The tokenizer truncates to `longest`, the tokens that the model reads at most; None for any.
    """
    config.save_pretrained(folder)
    _add_tokenizer(model_dir, folder)
    for name in (*SENTENCE_FILES, *IMAGE_FILES):
        if (model_dir / name).is_file():
            shutil.copyfile(model_dir / name, folder / name)
    if (folder / MODULES).exists():
        _copy_modules(model_dir, folder)
    path = folder / "tokenizer_config.json"
    if path.exists() and longest:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["model_max_length"] = min(settings.get("model_max_length", longest), longest)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _add_tokenizer(model_dir: Path, folder: Path) -> None:
    """Copy a tokenizer, or write one that has other files in the form of one file."""
    if (model_dir / "tokenizer.json").exists() or not (
        model_dir / "tokenizer_config.json"
    ).exists():
        copy_tokenizer(model_dir, folder)
    else:
        load_padding_tokenizer(model_dir).save_pretrained(folder)


def _copy_modules(model_dir: Path, folder: Path) -> None:
    """Copy the folders of modules that come after the model, such as pooling and its like."""
    for module in json.loads((folder / MODULES).read_text(encoding="utf-8")):
        name = module.get("path")
        if not name or not (model_dir / name).is_dir():
            continue
        target = (folder / name).resolve()
        if target.parent != folder.resolve():
            raise ValueError(
                f"{MODULES} in {model_dir} names the path {name!r}, not a folder in it"
            )
        shutil.copytree(model_dir / name, target)
