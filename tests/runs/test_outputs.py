"""Where results go: links, volumes, files in the way, and what is refused before the work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_rows import curve_rows, machine_rows

from ultrafastbert.bench import LayerBenchConfig, bench_layer, layer
from ultrafastbert.distill import diagnose
from ultrafastbert.models.converted.folder import copy_companions
from ultrafastbert.report import write_report
from ultrafastbert.report.figures import draw_all
from ultrafastbert.rows import append_row, read_rows
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.outputs import check_file, check_folder, make_folder, remove_empty
from ultrafastbert.runs.run_folder import new_folder
from ultrafastbert.train.finetune import run_glue


def write(folder, model=None):
    """Write a folder as exports do: what lies beside a model's weights, and a file."""
    with new_folder(folder) as new:
        if model is not None:
            copy_companions(model, new)
        (new / "config.json").write_text("new")
        (new / "parts").mkdir()
        (new / "parts" / "weights").write_text("weights")


def content(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


WRITTEN = ["config.json", "parts", "parts/weights"]


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["out", "out/", "a/b/out", "./out", "a/../out", "out with spaces ünï", "link", "dangling"],
)
def test_a_folder_is_filled_whatever_its_path(inside, name):
    (inside / "empty").mkdir()
    (inside / "link").symlink_to("empty")
    (inside / "dangling").symlink_to("elsewhere/new")
    (inside / "a").mkdir()
    write(Path(name))
    assert content(Path(name).resolve()) == WRITTEN
    assert (inside / "link").is_symlink()


def test_the_working_directory_stays_the_same_folder(inside):
    before = inside.stat().st_ino
    write(Path())
    assert content(Path()) == WRITTEN
    assert inside.stat().st_ino == before


def test_a_new_volume_counts_as_empty(tmp_path):
    (tmp_path / "lost+found").mkdir()
    write(tmp_path)
    assert content(tmp_path) == sorted([*WRITTEN, "lost+found"])


def test_a_folder_that_cannot_be_replaced_is_filled(tmp_path, monkeypatch):
    """As a mount point, which gives EBUSY."""
    out, replace = tmp_path / "out", Path.replace

    def busy(self, target):
        if Path(target) == out:
            raise OSError(16, "Device or resource busy", str(out))
        return replace(self, target)

    out.mkdir()
    monkeypatch.setattr(Path, "replace", busy)
    write(out)
    assert content(out) == WRITTEN


MOUNT = """
import subprocess, sys
from pathlib import Path
from ultrafastbert.runs.run_folder import new_folder
out = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "none", out], check=True)
with new_folder(out) as new:
    (new / "weights").write_text("weights")
print(sorted(path.name for path in out.iterdir()))
subprocess.run(["mount", "-o", "remount,ro", out], check=True)
try:
    with new_folder(out / "other"):
        print("the work has begun")
except OSError as error:
    print(error.strerror)
"""


def test_a_mounted_folder_is_filled_unless_it_is_read_only(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    command = ["unshare", "-rm", sys.executable, "-c", MOUNT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    expected = ["['weights']", "Read-only file system; choose another folder"]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("fails_while_moving", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_behind_after_an_error(tmp_path, monkeypatch, exists, fails_while_moving):
    out, replace = tmp_path / "a" / "out", Path.replace

    def full(self, target):
        if self.name == "parts" and Path(target).parent == out:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    if exists:
        out.mkdir(parents=True)
    before = content(tmp_path)
    if fails_while_moving:
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            write(out)
    else:
        with pytest.raises(FileNotFoundError):
            write(out, tmp_path / "no model")
    assert content(tmp_path) == before


KILLED = """
import os, sys
from pathlib import Path
from ultrafastbert.runs.run_folder import new_folder
with new_folder(Path(sys.argv[1])) as new:
    (new / "half").write_text("half")
    os._exit(9)
"""


def test_what_a_killed_process_left_is_removed(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "out"], check=False)
    assert done.returncode == 9
    write(tmp_path / "out")
    assert content(tmp_path / "out") == WRITTEN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "file is a file"),
        ("file/out", "Not a directory; choose another folder"),
        ("full", "full is not empty"),
        ("link_to_full", "is not empty"),
        ("loop", "File exists; choose another folder"),
    ],
)
def test_what_cannot_become_a_folder_is_refused_before_the_work(inside, name, message):
    (inside / "file").write_text("text")
    (inside / "full").mkdir()
    (inside / "full" / "file").write_text("text")
    (inside / "link_to_full").symlink_to("full")
    (inside / "loop").symlink_to("loop")
    before = content(inside)
    with pytest.raises(OSError, match=message), new_folder(Path(name)):
        pytest.fail("the work has begun")
    assert content(inside) == before


def test_a_read_only_parent_is_refused_before_the_work(tmp_path, monkeypatch):
    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(PermissionError, match=r"Permission denied; choose another folder.*out"),
        new_folder(tmp_path / "out"),
    ):
        pytest.fail("the work has begun")


def test_a_folder_that_was_filled_meanwhile_is_kept(tmp_path, monkeypatch):
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    copy = shutil.copytree

    def meanwhile(*args, **options):
        (out / "config.json").write_text("theirs")
        return copy(*args, **options)

    monkeypatch.setattr(shutil, "copytree", meanwhile)
    with pytest.raises(FileExistsError, match="not empty"):
        write(out, model)
    assert (out / "config.json").read_text() == "theirs"
    assert content(out) == ["config.json"]


relations = st.sampled_from(
    ["same", "inside", "deep inside", "beside", "link", "link beside", "around", "volume"]
)
names = st.sampled_from(["out", "with spaces", "ünïcode 😀"])
spellings = st.sampled_from(["absolute", "relative", "trailing slash", "dots"])


@given(relations, names, spellings, st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_relation_of_model_and_output(tmp_path_factory, relation, name, spelling, exists):
    """OUT is filled with what lies beside the weights, or refused and untouched."""
    base = tmp_path_factory.mktemp("relation")
    model = base / "around" / "model"
    (model / "1_Pooling").mkdir(parents=True)
    for file in ("config.json", "model.safetensors", "1_Pooling/config.json"):
        (model / file).write_text(file)
    out = {
        "same": model,
        "inside": model / name,
        "deep inside": model / "1_Pooling" / name,
        "beside": base / name,
        "link": model / f"link to {name}",
        "link beside": base / f"link to {name}",
        "around": base / "around",
        "volume": base / "volumes" / name,
    }[relation]
    if relation.startswith("link"):
        (base / "target").mkdir()
        out.symlink_to(base / "target")
    elif exists:
        out.mkdir(parents=True, exist_ok=True)
    spelled = {
        "absolute": str(out),
        "relative": os.path.relpath(out),
        "trailing slash": f"{out}/",
        "dots": f"{out.parent}/./{out.name}/.",
    }[spelling]
    before = content(base)
    if relation in ("same", "around"):
        with pytest.raises(FileExistsError, match="not empty"):
            write(Path(spelled), model)
        assert content(base) == before
        return
    write(Path(spelled), model)
    pooling = [] if relation == "deep inside" else ["1_Pooling", "1_Pooling/config.json"]
    assert content(out.resolve()) == [*pooling, *WRITTEN]
    assert (model / "config.json").read_text() == "config.json"
    assert (model / "1_Pooling" / "config.json").exists()


def test_other_models_in_a_models_folder_are_not_copied(tmp_path):
    model = tmp_path / "model"
    for name in ("out/controls/none", "small", "0_CLIP", "2_Dense"):
        (model / name).mkdir(parents=True)
        (model / name / "config.json").write_text('{"model_type": "bert"}')
    (model / "2_Dense" / "config.json").write_text('{"in_features": 16}')
    (model / "modules.json").write_text('[{"path": "0_CLIP"}, {"path": "2_Dense"}]')
    copy_companions(model, model / "out" / "controls" / "none")
    copied = {path.name for path in (model / "out" / "controls" / "none").iterdir()}
    assert copied == {"0_CLIP", "2_Dense", "modules.json", "config.json"}


def test_folders_are_made_through_links_and_removed_while_empty(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    new = make_folder(tmp_path / "link" / "c")
    assert new == [tmp_path / "a" / "b" / "c", tmp_path / "a" / "b", tmp_path / "a"]
    (tmp_path / "a" / "file").write_text("text")
    remove_empty(new)
    assert content(tmp_path) == ["a", "a/file", "link"]


def test_files_are_looked_at_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    check_file(tmp_path / "new" / "rows.jsonl")
    check_file(tmp_path / "file")
    check_folder(tmp_path / "new")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        check_file(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"lies below .*file, a file"):
        check_file(tmp_path / "file" / "rows.jsonl")
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        check_folder(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="is read-only"):
        check_file(tmp_path / "new" / "rows.jsonl")


@pytest.mark.parametrize("path", ["folder", "file/rows.jsonl"])
def test_rows_that_cannot_be_written_are_refused_before_the_work(tmp_path, monkeypatch, path):
    def work(*args, **options):
        pytest.fail("the work has begun")

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    monkeypatch.setattr(layer, "measure_machine", work)
    for begin in (
        lambda rows: bench_layer(LayerBenchConfig("1x3", 32, (1,)), path=rows),
        lambda rows: diagnose(tmp_path, tmp_path / "file", rows_path=rows),
        lambda rows: run_glue(tmp_path, ["cola"], rows_path=rows),
    ):
        with pytest.raises(OSError, match=r"name a file|choose another path"):
            begin(tmp_path / path)


def test_rows_are_written_through_links_and_to_new_folders(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "new" / "rows.jsonl")
    append_row(tmp_path / "link.jsonl", curve_rows()[0])
    assert len(read_rows(tmp_path / "new" / "rows.jsonl")) == 1
    assert content(tmp_path / "new") == ["rows.jsonl"]


def test_figures_and_reports_say_what_is_in_the_way(tmp_path, run):
    rows = tmp_path / "rows.jsonl"
    append_row(rows, machine_rows()[0])
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        write_report(rows, rows)
    (tmp_path / "link").symlink_to(tmp_path / "new" / "figures")
    assert draw_all(read_rows(rows), tmp_path / "link") == {}
    assert (tmp_path / "new" / "figures").is_dir()
    (tmp_path / "config.json").write_text("{}")
    code, _, err = run("diagnose", tmp_path, "--text", rows, "--figures", rows)
    assert (code, "is a file; name a folder" in err) == (2, True)
    (tmp_path / "vectors.npy").mkdir()
    code, _, err = run("encode", "a", "b", "--out", tmp_path / "vectors.npy")
    assert (code, "is a folder; name a file" in err) == (2, True)


def test_inputs_where_a_run_writes_are_refused(tmp_path):
    for path in ("work/text.txt", "controls/none", "checkpoints"):
        with pytest.raises(ValueError, match="where the run writes"):
            run_folder.check_inputs(tmp_path, tmp_path / path)
    run_folder.check_inputs(tmp_path, tmp_path / "text.txt", tmp_path.parent, "hf:name")
