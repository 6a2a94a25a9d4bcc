"""The folder that an export writes: whole or not at all, with all that a user of it needs."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedConfig

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)


def require(extra: str, *packages: str) -> None:
    """Raise ImportError, saying what to install, unless all packages are there."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{', '.join(missing)} must be installed: pip install 'ultrafastbert[{extra}]'"
        )


def check_new(out: str | Path) -> Path:
    """Return the path of a folder that is to be written; FileExistsError if it is there."""
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already; choose a new folder")
    return out


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write to, which becomes `out` if all goes well, and is removed if not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        yield folder
        folder.rename(out)


def add_companions(config: PreTrainedConfig, model_dir: str | Path, folder: Path) -> None:
    """Put the configuration and the tokenizer beside an exported model.

    The tokenizer's `truncation=True` means the longest input of the model.
    """
    config.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (Path(model_dir) / name).exists():
            shutil.copyfile(Path(model_dir) / name, folder / name)
    path = folder / "tokenizer_config.json"
    if path.exists():
        settings = json.loads(path.read_text(encoding="utf-8"))
        longest = config.max_position_embeddings
        settings["model_max_length"] = min(settings.get("model_max_length", longest), longest)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
