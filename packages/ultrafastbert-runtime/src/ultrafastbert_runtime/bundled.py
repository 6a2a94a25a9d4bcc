"""The sentence encoder of the package `ultrafastbert-minilm`: all-MiniLM-L6-v2, converted."""

from importlib.util import find_spec
from pathlib import Path


def bundled_model() -> Path:
    """Return the folder of the sentence encoder in the package `ultrafastbert-minilm`.

    It reads English. Where `ultrafastbert` is imported, `SentenceTransformer` and
    `AutoModel.from_pretrained` load it, too. Raises FileNotFoundError where that package is not
    installed.
    """
    spec = find_spec("ultrafastbert_minilm")
    for parent in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(parent) / "model").joinpath("config.json").is_file():
            return folder
    raise FileNotFoundError(
        "the encoder of the package ultrafastbert-minilm is not installed; install it with "
        "`pip install ultrafastbert-minilm` (from a clone: `pip install ./packages/"
        "ultrafastbert-minilm`), or name the folder of another model, in the command by --model"
    )
