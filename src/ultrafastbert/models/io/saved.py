"""Loading a saved model of any kind as the class that it was saved as."""

import hashlib
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ultrafastbert import models
from ultrafastbert.models.converted.model import converted_class
from ultrafastbert.runs.digests import add_file

# What makes a model of a folder: weights, configuration and tokenizer.
CONTENT = ("*.safetensors", "*.bin", "config.json", "tokenizer.json")
# Read in the place of tokenizer.json where that is not there.
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "*.model")


def model_digest(folder: str | Path) -> str:
    """Return a digest of a saved model's content, which stays the same where it is moved."""
    patterns: tuple[str, ...] = CONTENT
    if not (Path(folder) / "tokenizer.json").exists():
        patterns = (*patterns, *VOCABULARIES)
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in Path(folder).glob(pattern)):
        add_file(digest, path)
    return digest.hexdigest()[:16]


def load_as_saved(folder: str | Path, **options: Any) -> PreTrainedModel:
    """Load a dense, converted or UltraFastBERT model as the class that its configuration names.

    Auto classes would miss what that class lacks, such as BERT's pooler below a masked-language
    head. Where there are no weights for its head, as in many sentence encoders, it is the model
    without a head. Options are those of `from_pretrained`.

    Raises OSError where the folder has no config.json or no safetensors, ValueError for weights
    that are missing or do not fit.
    """
    name = next(iter(AutoConfig.from_pretrained(folder).architectures or ()), "")
    try:
        return load_complete(_class(name), folder, **options)
    except ValueError:
        return load_complete(AutoModel, folder, **options)


def load_complete(
    auto_class: Any, folder: str | Path, new_head: bool = False, **options: Any
) -> PreTrainedModel:
    """Load a model from a folder by one of the Auto classes of transformers.

    With `new_head`, what is not part of the encoder may be missing and is drawn at random.
    Raises OSError if the folder has no safetensors (pickles are not read), ValueError if weights
    are missing or do not fit the configuration.
    """
    try:
        model, info = auto_class.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **options
        )
    except RuntimeError as error:  # sizes that differ
        raise ValueError(
            f"the weights in {folder} do not fit its config.json: {' '.join(str(error).split())}"
        ) from error
    encoder = f"{model.base_model_prefix}."
    missing = sorted(
        name
        for name in info["missing_keys"]
        if not new_head or (name.startswith(encoder) and ".pooler." not in name)
    )
    if missing:
        raise ValueError(f"{folder} lacks weights of the model: {', '.join(missing[:3])} ...")
    return model


def load_padding_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder; one without padding, as GPT-2's, pads with its end of text.

    Raises OSError, ValueError or KeyError where there is none.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _class(name: str) -> Any:
    if name in models.__all__:
        return getattr(models, name)
    original: Any = getattr(transformers, name.removeprefix("Converted"), AutoModel)
    is_converted = name.startswith("Converted") and original is not AutoModel
    return converted_class(original) if is_converted else original
