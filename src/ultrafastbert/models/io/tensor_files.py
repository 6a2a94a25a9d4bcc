"""Files of named tensors in a model's folder: one file or shards, safetensors or pickles."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

NAMES = {True: "model.safetensors", False: "pytorch_model.bin"}  # by use_safetensors


def read_tensors(folder: Path, use_safetensors: bool = True) -> dict[str, Tensor]:
    """Return the tensors of a folder by name; from safetensors they stay on disk until used.

    `use_safetensors=False` reads pickles (`pytorch_model.bin`), of which only tensors are loaded.
    Raises FileNotFoundError for a folder without such files, ValueError for files that are damaged
    or do not hold what their index says.
    """
    whole = folder / NAMES[use_safetensors]
    index = folder / f"{whole.name}.index.json"
    if whole.is_file():
        return dict(_read_file(whole))
    if index.is_file():
        return _read_shards(index)
    if use_safetensors and any(folder.glob("pytorch_model*.bin")):
        raise FileNotFoundError(
            f"{folder} has pickled weights only (pytorch_model.bin), which can hold code; if you "
            "trust them, ask for them by use_safetensors=False (on the command line: --pickle)"
        )
    raise FileNotFoundError(f"{folder} has no {whole.name}")


def _read_file(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".bin":
        yield from _read_pickle(path).items()
        return
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no mapping
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged or holds more than tensors: {first}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise ValueError(f"{path} is not a mapping from names to tensors")
    return tensors


def _read_shards(index: Path) -> dict[str, Tensor]:
    files = _read_index(index)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(files.values())):
        path = index.parent / file
        if not path.is_file():
            raise FileNotFoundError(f"{index} names {file!r}, which is not there")
        held = dict(_read_file(path))
        named = {name for name, where in files.items() if where == file}
        if named != set(held):
            differ = some_names(named ^ set(held))
            raise ValueError(f"{path} does not hold what {index.name} says: {differ}")
        tensors |= held
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    """Return which file holds each tensor; only plain names of files in the folder are taken."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not an index of tensors: it has no weight_map") from error
    if not isinstance(files, dict) or not files:
        raise ValueError(
            f"{path} is not an index of tensors: its weight_map is empty or no mapping"
        )
    for file in files.values():
        suffix = path.name.removesuffix(".index.json").rpartition(".")[2]
        plain = isinstance(file, str) and Path(file).name == file
        if not plain or not file.endswith(f".{suffix}"):
            raise ValueError(f"{path} names {file!r}, which is not a .{suffix} file of its folder")
    return files


def some_names(names: set[str] | list[str], most: int = 5) -> str:
    """Return some of the names for a message, and how many more there are."""
    shown = ", ".join(repr(name[:100]) for name in sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
