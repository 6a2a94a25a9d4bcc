"""The command `ultrafastbert-runtime`: parses, calls, prints."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultrafastbert_runtime.progress import say

# As shells give them: of a command ended by Ctrl-C, and of one that nobody reads from.
WRONG, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
# Written out, as the module that defines it imports numpy: a test compares them.
TOKEN_BUDGET = 2048

DESCRIPTION = """Vectors, labels and masked words of texts, by an exported model in ONNX Runtime:
without PyTorch, without network. `ultrafastbert export onnx MODEL OUT` writes such models."""

ENCODE = """Turn texts into vectors: save them, or print the cosines of a few. Long files are read
piece by piece, so they need not fit in memory."""
ENCODE_EXAMPLES = """examples:
  ultrafastbert-runtime encode "a tree" "a leaf"
  ultrafastbert-runtime encode --file texts.txt --out vectors.npy
  zcat texts.gz | ultrafastbert-runtime encode - --out vectors.npy"""

CLASSIFY = """Print the likeliest label of each text, a line for each: its number, the label, the
probability, the text."""
CLASSIFY_EXAMPLES = """examples:
  ultrafastbert-runtime classify MODEL "What a film!" "Never again."
  ultrafastbert-runtime classify MODEL --file reviews.txt --top 3"""

FILL = "Print the likeliest words for each mask of a text, with their probabilities."
FILL_EXAMPLES = """example:
  ultrafastbert-runtime fill-mask MODEL "the [MASK] of the array" """


def main() -> None:
    """Run the command line; errors of input and machine are one line and exit code 2."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    _prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        from ultrafastbert_runtime import commands  # --help and Ctrl-C do not wait for numpy

        getattr(commands, options.command)(options)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # such as of `head`
        return BROKEN_PIPE
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("ULTRAFASTBERT_TRACEBACK"):
            raise
        say(f"error: {' '.join(str(error).split()) or type(error).__name__}")
        return WRONG
    finally:
        _discard_unwritable()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ultrafastbert-runtime", description=DESCRIPTION)
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    encode = _command(subcommands, "encode", "encode", ENCODE, ENCODE_EXAMPLES)
    model = "folder of an exported model; default: the encoder of the package ultrafastbert-minilm"
    encode.add_argument("--model", type=Path, metavar="DIR", help=model)
    _add_texts(encode)
    saved = "save the vectors, a row for each text, as float32"
    encode.add_argument("--out", type=Path, metavar="FILE.npy", help=saved)
    unit = "scale vectors to length 1; models may do it by themselves"
    encode.add_argument("--normalize", action="store_true", help=unit)
    _add_sizes(encode)

    classify = _command(subcommands, "classify", "classify", CLASSIFY, CLASSIFY_EXAMPLES)
    classify.add_argument("model", type=Path, metavar="DIR", help="folder of an exported model")
    _add_texts(classify)
    classify.add_argument("--top", type=int, default=1, help="labels of each text (default: 1)")
    _add_sizes(classify)

    fill = _command(subcommands, "fill-mask", "fill_mask", FILL, FILL_EXAMPLES)
    fill.add_argument("model", type=Path, metavar="DIR", help="folder of an exported model")
    fill.add_argument("text", help="text with one or more [MASK]")
    fill.add_argument("--top", type=int, default=5, help="words for each mask (default: 5)")
    return parser


def _command(
    subcommands: Any,
    name: str,
    command: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    parser = subcommands.add_parser(
        name,
        help=description.partition(". ")[0].partition(":")[0],
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _add_texts(parser: argparse.ArgumentParser) -> None:
    given = "texts; or - for standard input, a text a line"
    parser.add_argument("texts", nargs="*", metavar="TEXT", help=given)
    parser.add_argument("--file", type=Path, help="UTF-8 file with a text a line, for TEXT")


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    tokens = "most tokens of a forward pass; less needs less memory (default: %(default)s)"
    parser.add_argument("--batch-tokens", type=int, default=TOKEN_BUDGET, metavar="N", help=tokens)
    cores = "threads of a forward pass; default: the cores that this process may use"
    parser.add_argument("--threads", type=int, metavar="N", help=cores)


def _prepare_streams() -> None:
    """Let streams write any character, and let closed ones be as those that nobody reads."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritable() -> None:
    """Discard what standard output holds that nobody reads, before Python tries it once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
