"""Files beside an exported model."""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedModel

from ultrafastbert.data.tokenizer import copy_tokenizer
from ultrafastbert.models.converted.folder import n_positions

MODULES = "modules.json"
# What sentence-transformers has beside the folders of its modules.
SENTENCE_FILES = (
    MODULES,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "sentence_config.json",
)
# A file of an image model's own kind of tokenizer.
IMAGE_FILES = ("preprocessor_config.json",)


def add_companions(model: PreTrainedModel, model_dir: str | Path, folder: Path) -> None:
    """Write configuration, tokenizer and modules of sentence-transformers beside an exported model.

    The tokenizer truncates to the longest input of the model.
    """
    model_dir = Path(model_dir)
    model.config.save_pretrained(folder)
    copy_tokenizer(model_dir, folder)
    for name in (*SENTENCE_FILES, *IMAGE_FILES):
        if (model_dir / name).is_file():
            shutil.copyfile(model_dir / name, folder / name)
    if (folder / MODULES).exists():
        _copy_modules(model_dir, folder)
    path, longest = folder / "tokenizer_config.json", n_positions(model)
    if path.exists() and longest:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["model_max_length"] = min(settings.get("model_max_length", longest), longest)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _copy_modules(model_dir: Path, folder: Path) -> None:
    """Copy the folders of modules that come after the model, such as pooling and its like."""
    for module in json.loads((folder / MODULES).read_text(encoding="utf-8")):
        name = module["path"]
        if not name or not (model_dir / name).is_dir():
            continue
        target = (folder / name).resolve()
        if target.parent != folder.resolve():
            raise ValueError(
                f"{MODULES} in {model_dir} names the path {name!r}, not a folder in it"
            )
        shutil.copytree(model_dir / name, target)
