"""The model that comes with the package: all-MiniLM-L6-v2 with fast feedforward layers.

Its licence is not the package's: see LICENSE and NOTICE beside this file. It is made by
`ultrafastbert convert` and put in its place by `ultrafastbert shrink`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "minilm"


def bundled_model() -> Path:
    """Return the folder of the sentence encoder that comes with the package.

    It reads English and loads by `SentenceTransformer` or `AutoModel.from_pretrained`. Raises
    FileNotFoundError for an installation without it.
    """
    if not (FOLDER / "config.json").exists():
        raise FileNotFoundError(
            f"this installation lacks the model that comes with the package ({FOLDER}); name the "
            "folder of another, in the command by --model"
        )
    return FOLDER
