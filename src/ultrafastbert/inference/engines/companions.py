"""Files beside an exported model."""

import json
from pathlib import Path

from transformers import PreTrainedConfig

from ultrafastbert.data.tokenizer import copy_tokenizer


def add_companions(config: PreTrainedConfig, model_dir: str | Path, folder: Path) -> None:
    """Write the configuration and the tokenizer beside an exported model.

    The tokenizer truncates to the longest input of the model.
    """
    config.save_pretrained(folder)
    copy_tokenizer(Path(model_dir), folder)
    path = folder / "tokenizer_config.json"
    if path.exists():
        settings = json.loads(path.read_text(encoding="utf-8"))
        longest = config.max_position_embeddings
        settings["model_max_length"] = min(settings.get("model_max_length", longest), longest)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
