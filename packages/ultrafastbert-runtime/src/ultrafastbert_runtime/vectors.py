"""What vectors are returned as: fewer dimensions, smaller numbers, in memory or in a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np

# As sentence-transformers names them, with the numbers that they are made of.
PRECISIONS: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "binary": np.dtype(np.int8),
    "ubinary": np.dtype(np.uint8),
}
# They need the smallest and largest numbers of all vectors.
OF_ALL_VECTORS = ("int8", "uint8")


def quantize(vectors: np.ndarray, precision: str) -> np.ndarray:
    """Return float32 vectors, (n, H), in a precision of `PRECISIONS`.

    `int8` and `uint8` give each dimension 256 steps from its least to its greatest number;
    `binary` and `ubinary` give (n, H / 8) bytes, whose bits say which numbers are positive. As
    sentence-transformers' `quantize_embeddings`. Raises ValueError for one vector in `int8`.
    """
    if precision == "float32":
        return vectors
    if precision not in OF_ALL_VECTORS:
        bits = np.packbits(vectors > 0, axis=-1)
        return (bits ^ 128).view(np.int8) if precision == "binary" else bits
    if len(vectors) == 1:
        raise ValueError(
            f"precision={precision!r} needs the ranges of several vectors: encode more texts, or "
            "quantize them later"
        )
    if not len(vectors):
        return vectors.astype(PRECISIONS[precision])
    least, most = vectors.min(axis=0), vectors.max(axis=0)
    steps = (most - least) / 255
    steps[steps == 0] = 1
    levels = np.clip(np.floor((vectors - least) / steps), 0, 255)
    return (levels - 128 if precision == "int8" else levels).astype(PRECISIONS[precision])


def width(dimension: int, precision: str) -> int:
    """Return how many numbers a vector has in a precision."""
    return (dimension + 7) // 8 if "binary" in precision else dimension


class Rows(Protocol):
    """Takes vectors as they are computed."""

    def add(self, rows: np.ndarray) -> None:
        """Take the next ones, (n, W)."""

    def all(self) -> np.ndarray:
        """Return all of them, when the last has come."""


Out = np.ndarray | str | os.PathLike | None


def check_path(path: Path) -> None:
    """Raise ValueError for a path where no file of vectors can be."""
    if path.suffix != ".npy" or not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"out={str(path)!r} must be a .npy file in a folder that exists")


@contextmanager
def collecting(out: Out, n_texts: int | None, size: int, dtype: np.dtype) -> Iterator[Rows]:
    """Give what takes vectors.

    Args:
        out: an array or memory map to write to, the path of a new `.npy` file, or None for an
            array in memory.
        n_texts: how many vectors come, if known.
        size, dtype: of a vector.

    Raises ValueError for an `out` of another shape or dtype, OSError where a file cannot be
    written. A file is there only when all is in it.
    """
    if isinstance(out, np.ndarray):
        yield _checked_array(out, n_texts, size, dtype)
    elif out is not None:
        with _new_file(Path(out)) as file:
            yield (rows := _FileRows(file, Path(out), size, dtype))
            rows.finish()
    elif n_texts is not None:
        yield _ArrayRows(np.empty((n_texts, size), dtype))
    else:
        yield _ListRows(size, dtype)


class _ListRows:
    def __init__(self, size: int, dtype: np.dtype):
        self.rows = [np.empty((0, size), dtype)]

    def add(self, rows: np.ndarray) -> None:
        self.rows.append(rows)

    def all(self) -> np.ndarray:
        return np.concatenate(self.rows)


class _ArrayRows:
    def __init__(self, array: np.ndarray):
        self.array, self.n = array, 0

    def add(self, rows: np.ndarray) -> None:
        if self.n + len(rows) > len(self.array):
            raise ValueError(f"out has {len(self.array):,} rows, and there are more texts")
        self.array[self.n : self.n + len(rows)] = rows
        self.n += len(rows)

    def all(self) -> np.ndarray:
        if isinstance(self.array, np.memmap):
            self.array.flush()
        return self.array[: self.n] if self.n < len(self.array) else self.array


class _FileRows:
    def __init__(self, file: IO[bytes], path: Path, size: int, dtype: np.dtype):
        self.file, self.path, self.size, self.dtype, self.n = file, path, size, dtype, 0
        self._write_header()

    def add(self, rows: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(rows).data)
        self.n += len(rows)

    def finish(self) -> None:
        self.file.seek(0)
        self._write_header()

    def all(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r" if self.n else None)

    def _write_header(self) -> None:
        """Write the header, which numpy pads so that a greater number of rows fits in it later."""
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.n, self.size)}
        np.lib.format.write_array_header_1_0(self.file, header)


def _checked_array(out: np.ndarray, n_texts: int | None, size: int, dtype: np.dtype) -> Rows:
    n_rows = len(out) if n_texts is None and out.ndim else n_texts
    if out.shape != (n_rows, size) or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(
            f"out of shape {out.shape} and dtype {out.dtype} must be writable, of shape "
            f"{(n_rows, size)} and dtype {dtype}"
        )
    return _ArrayRows(out)


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which is at `path` when the block ends without error."""
    check_path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_precision(precision: str, out: Out) -> None:
    """Raise ValueError for a precision that there is not, or not of vectors piece by piece."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} must be one of {', '.join(PRECISIONS)}")
    if precision in OF_ALL_VECTORS and out is not None:
        raise ValueError(
            f"precision={precision!r} needs the ranges of all vectors, so it does not go with out: "
            "encode in float32 there, and quantize it later"
        )
