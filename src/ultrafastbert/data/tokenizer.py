"""BERT's WordPiece tokenizers: training and loading."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from ultrafastbert.data.text_collections import checked_texts

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# The models have no token types, so the tokenizer must not return any.
MODEL_INPUT_NAMES = ["input_ids", "attention_mask"]
# Files of a saved tokenizer; none of them has to be there.
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
_MAX_ALPHABET = 1000  # characters kept at most, as in the tokenizers library
_MIN_VOCAB = 64


def train_tokenizer(
    documents: Iterable[str],
    vocab_size: int,
    lowercase: bool = True,
    model_max_length: int = 512,
) -> PreTrainedTokenizerFast:
    """Train a WordPiece vocabulary of at most `vocab_size` tokens; equal text gives equal ids.

    Special tokens come first ([PAD] is 0). Characters take at most an eighth of the vocabulary; the
    rarer ones become [UNK]. Documents are read once, through a temporary file.

    Raises ValueError for a vocabulary below 64 tokens, an empty corpus, and `documents` that are
    not a collection of texts (a str is not).
    """
    documents = checked_texts(documents, "documents")
    if vocab_size < _MIN_VOCAB:
        raise ValueError(f"vocab_size={vocab_size} must be at least {_MIN_VOCAB}")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        counts = _write_normalized(documents, lines, lowercase)
        if not counts:
            raise ValueError("documents hold no text to train a tokenizer on")
        n_characters = min(_MAX_ALPHABET, vocab_size // 8)
        alphabet = sorted(sorted(counts, key=lambda c: (-counts[c], c))[:n_characters])
        lines.seek(0)
        vocab = _train_vocab(lines, vocab_size, alphabet)
    return _from_vocab(vocab, lowercase, model_max_length)


def load_tokenizer(source: str | Path, lowercase: bool = True) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a model folder, a hub name or a `vocab.txt` file (one token a line).

    `lowercase` applies to a vocabulary file only; the others carry their own setting.
    Raises FileNotFoundError for a missing path, ValueError for a vocabulary without BERT's special
    tokens and for a folder without a tokenizer, OSError when the hub cannot be reached.
    """
    path = Path(source)
    if path.is_file():
        return _from_vocab(_read_vocab(path), lowercase)
    if not path.exists() and (path.is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"tokenizer not found: {source}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source))
    except ValueError as error:
        raise ValueError(f"no tokenizer in {source}: {_first_line(error)}") from error
    except OSError as error:
        raise OSError(
            f"cannot load the tokenizer {source}: {_first_line(error)} "
            "Give a folder with tokenizer.json, a vocab.txt file or a hub name"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"{source} has no fast tokenizer (tokenizer.json), which packing needs")
    tokenizer.model_input_names = list(MODEL_INPUT_NAMES)
    return tokenizer


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer files that a folder has, unchanged."""
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip()


def _normalizer(lowercase: bool) -> BertNormalizer:
    return BertNormalizer(lowercase=lowercase)


def _write_normalized(documents: Iterable[str], lines: IO[str], lowercase: bool) -> Counter[str]:
    """Write normalised documents as lines; return how often each character occurs."""
    normalizer = _normalizer(lowercase)
    counts: Counter[str] = Counter()
    for document in documents:
        words = normalizer.normalize_str(document).split()
        if words:
            counts.update("".join(words))
            lines.write(" ".join(words) + "\n")
    return counts


def _train_vocab(lines: IO[str], vocab_size: int, alphabet: list[str]) -> dict[str, int]:
    # The trainer gives "##x" ids in the order of a randomly seeded hash map and breaks ties between
    # merges by id: each process would train another vocabulary. Listed here, ids are fixed.
    splitter = BertPreTokenizer()
    inner = [f"##{c}" for c in alphabet if len(splitter.pre_tokenize_str(f"a{c}")) == 1]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *alphabet, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer.get_vocab(with_added_tokens=False)


def _from_vocab(
    vocab: dict[str, int], lowercase: bool, model_max_length: int = 512
) -> PreTrainedTokenizerFast:
    return BertTokenizer(
        vocab=vocab,
        do_lower_case=lowercase,
        model_max_length=model_max_length,
        model_input_names=list(MODEL_INPUT_NAMES),
    )


def _read_vocab(path: Path) -> dict[str, int]:
    try:
        # Not splitlines: vocabularies hold characters that it takes for line ends.
        tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a vocabulary file: it is not UTF-8 text") from error
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise ValueError(f"{path} is not a BERT vocabulary: it lacks {', '.join(missing)}")
    return {token: index for index, token in enumerate(tokens)}
