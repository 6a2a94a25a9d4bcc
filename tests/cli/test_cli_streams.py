"""Commands whose output has another encoding, is full, closed or cut off: results, or one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from report_rows import curve_rows, task_fields
from tiny_models import tiny

from ultrafastbert import UltraFastBertForMaskedLM
from ultrafastbert.cli.options import typed_text
from ultrafastbert.cli.streams import discard_unwritable, echo, prepare_streams, say
from ultrafastbert.models.io.card import is_ours, write_card
from ultrafastbert.report import update_results, write_report
from ultrafastbert.rows import append_row, append_rows, read_rows
from ultrafastbert.rows.conversion import ConvertTaskRow

COMMAND = [sys.executable, "-m", "ultrafastbert"]
SNOWMAN = "a \N{SNOWMAN} leaf é"
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FULL = Path("/dev/full")
BROKEN_PIPE = 141
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """Folder of a masked language model."""
    path = tmp_path_factory.mktemp("mlm")
    torch.manual_seed(0)
    UltraFastBertForMaskedLM(tiny(vocab_size=len(tokenizer))).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def run(*arguments, environment=None, **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | (environment or {}), check=False, **streams)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "cp1252"])
def test_characters_that_an_encoding_lacks_are_replaced(folder, encoding):
    pytest.importorskip("sentence_transformers")
    done = run(
        "encode", "--model", folder, SNOWMAN, "b", environment={"PYTHONIOENCODING": encoding}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    accent = "é" if encoding != "ascii" else r"\xe9"
    assert rf"| 1 a \u2603 leaf {accent} | 1.000 |" in lines[2]


@pytest.mark.slow
def test_texts_come_through_a_locale_without_utf8(folder):
    done = run("fill-mask", folder, f"{SNOWMAN} [MASK]", "--top", 2, environment=NO_UTF8)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii").count("%") == 2


def test_help_is_drawn_in_any_encoding():
    done = run("encode", "--help", environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "+- Options" in done.stdout.decode("ascii")


@pytest.mark.slow
@needs_full
def test_full_output_is_one_line(folder):
    with FULL.open("wb") as full:
        done = run("fill-mask", folder, "a [MASK]", stdout=full)
    assert done.returncode == 2
    *_, line = done.stderr.decode().splitlines()  # the machine may be busy: progress comes first
    assert line.startswith("error: ")
    assert line.endswith("standard output cannot be written")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["fill-mask", "{folder}", "a [MASK]"]])
def test_output_that_nobody_reads_ends_quietly(folder, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*(argument.format(folder=folder) for argument in arguments), stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == BROKEN_PIPE
    assert b"Traceback" not in done.stderr
    assert b"rror" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="streams are closed by a shell")
def test_closed_streams_do_no_harm(folder, tmp_path):
    command = [*COMMAND, "report", "card", str(folder)]
    shell = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    (folder / "README.md").unlink()
    assert subprocess.run(shell, check=False).returncode == 0
    assert is_ours((folder / "README.md").read_text(encoding="utf-8"))


@pytest.mark.slow
@needs_full
def test_full_error_output_leaves_the_exit_code(folder):
    with FULL.open("wb") as full:
        assert run("fill-mask", folder, "no mask", stderr=full).returncode == 2


@pytest.mark.slow
def test_undecoded_bytes_of_the_command_line_are_one_line(folder):
    done = run("fill-mask", folder, "caf\udce9 [MASK]")
    assert done.returncode == 2
    *_, line = done.stderr.decode().splitlines()
    assert r"text='caf\udce9 [MASK]' is not text that UTF-8 can hold" in line


def test_typed_texts_are_utf8():
    as_in_c = SNOWMAN.encode().decode("ascii", "surrogateescape")
    assert typed_text(as_in_c) == SNOWMAN
    assert typed_text(SNOWMAN) == SNOWMAN
    assert typed_text("caf\udce9") == "caf\udce9"


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """Return a function that puts a file of some encoding in the place of both streams."""

    def replace(**options):
        file = (tmp_path / "output").open("w", **options)
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", file)
        prepare_streams()
        return file

    return replace


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_no_character_ends_a_command(stream, errors):
    with stream(encoding="latin-1", errors=errors) as file:
        echo(SNOWMAN)
        say("caf\udce9")
    assert Path(file.name).read_text(encoding="latin-1") == "a \\u2603 leaf é\ncaf\\udce9\n"


def test_replacements_that_a_user_chose_stay(stream):
    with stream(encoding="ascii", errors="replace") as file:
        echo(SNOWMAN)
    assert Path(file.name).read_text(encoding="ascii") == "a ? leaf ?\n"


@needs_full
def test_what_cannot_be_written_is_discarded(monkeypatch):
    with FULL.open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", full)
        say("the work goes on")
        with pytest.raises(OSError, match="standard output cannot be written"):
            echo("a result")
        full.write("left in the buffer")
        discard_unwritable()


def test_files_are_utf8_whatever_the_names(folder, tmp_path):
    """A folder's name of undecodable bytes comes into reports and cards."""
    rows = tmp_path / "rows.jsonl"
    fields = task_fields("cola", 1.0, model="caf\udce9", metric="matthews")
    append_row(rows, ConvertTaskRow(**fields, ffn="1x2", n_active=2))
    assert read_rows(rows)[0].model == "caf\udce9"
    write_report(rows, tmp_path, title="caf\udce9 \N{SNOWMAN}")
    for name in ("report.md", "report.html"):
        assert "caf\\udce9 \N{SNOWMAN}" in (tmp_path / name).read_text(encoding="utf-8")
    assert write_card(folder, "## caf\udce9")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## caf\\udce9" in card
    assert is_ours(card)


def test_files_of_other_encodings_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"kind": "é"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.jsonl .* not UTF-8"):
        read_rows(path)
    append_rows(tmp_path / "good" / "rows.jsonl", curve_rows())
    readme = tmp_path / "good" / "README.md"
    readme.write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"README\.md is not UTF-8"):
        update_results(tmp_path / "good", readme)
