"""The one place that opens models in ONNX Runtime, and says in one line what is wrong with them."""

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrafastbert_runtime.threads import thread_budget

if TYPE_CHECKING:
    import onnxruntime

DOMAIN = "ultrafastbert"  # of our operator
# What a model may be given; what else it asks for cannot be made of text.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PRECISIONS = ("fp32", "int8")
QUIET = 4  # the severity that ends a process: errors come as exceptions, not also as lines
MOST_SHOWN = 200  # characters of what ONNX Runtime says


class Session:
    """An open model. Threads may share it.

    Attributes:
        path: its ONNX file.
        inputs, outputs: their names.
        output_shapes: for each output, sizes that are fixed; names of sizes or None otherwise.
        metadata: properties that the export wrote.
    """

    def __init__(self, path: Path, threads: int):
        self.path, self.threads = path, threads
        self._opening = threading.Lock()
        self._session: onnxruntime.InferenceSession | None = None
        session = self._opened()
        with _one_line(f"{self.path} cannot be opened"):
            self.inputs = {x.name: x.type for x in session.get_inputs()}
            self.output_shapes = {x.name: x.shape for x in session.get_outputs()}
            self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.outputs = tuple(self.output_shapes)
        _SESSIONS.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, (self.path, self.threads)

    def run(self, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """Return one output for inputs, of which those that the model does not have are left out.

        Raises ValueError for inputs that the model cannot compute with.
        """
        session = self._session or self._opened()
        given = {name: inputs[name] for name in self.inputs if name in inputs}
        with _one_line(f"{self.path} cannot compute"):
            return session.run([output], given)[0]

    def _opened(self) -> "onnxruntime.InferenceSession":
        with self._opening, _one_line(f"{self.path} cannot be opened"):
            if self._session is None:
                self._session = _open(self.path, self.threads)
            return self._session

    def forget(self) -> None:
        """Make the next call open the model anew: for a process that was forked.

        The threads of the old one are not there. It is kept for ever: to close it would be to wait
        for them.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._session, self._opening = None, threading.Lock()


_SESSIONS: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _after_fork() -> None:
    for session in list(_SESSIONS):
        session.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_session(path: Path, threads: int | None = None, precision: str | None = None) -> Session:
    """Open a model.

    Args:
        path: its ONNX file.
        threads: for one call; by default as many as the cores that this process may use.
        precision: `fp32` or `int8`, if only a model that was exported in it will do.

    Raises:
        OSError: without the file, or if it needs our operator and that cannot be had.
        ImportError: without ONNX Runtime.
        ValueError: for arguments, files and models that are of no use.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    if precision not in (None, *PRECISIONS):
        raise ValueError(f"precision={precision!r} must be one of {', '.join(PRECISIONS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the folder of an exported model")
    session = Session(path, thread_budget() if threads is None else threads)
    _check_inputs(session)
    found = session.metadata.get("precision", "fp32")
    if precision not in (None, found):
        raise ValueError(
            f"precision={precision!r}, but {path} was exported in {found}; export it again by "
            f"`ultrafastbert export onnx --precision {precision}`"
        )
    return session


def _open(path: Path, threads: int) -> "onnxruntime.InferenceSession":
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ImportError("onnxruntime is not installed; pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    # It keeps a plan for each shape that it has seen, and shapes of texts never end.
    options.enable_mem_pattern = False
    # Its threads do not wait for the next call in a loop, at the cost of what else runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    lacks_operator = _register_operator(options)
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except _errors() as error:
        if lacks_operator and f"{DOMAIN}:" in str(error):
            raise OSError(f"{path} needs our operator: {lacks_operator}") from error
        raise


def _register_operator(options: "onnxruntime.SessionOptions") -> str:
    """Make our operator known to a session; return why it cannot be, if so.

    Models of standard operators run without it.
    """
    from ultrafastbert_runtime import operator

    refused: tuple[type[BaseException], ...] = (ImportError, OSError, *_errors())
    try:
        operator.register(options)
    except refused as error:
        return " ".join(str(error).split())
    return ""


def _check_inputs(session: Session) -> None:
    unknown = [name for name in session.inputs if name not in INPUTS]
    if unknown or "input_ids" not in session.inputs:
        raise ValueError(
            f"{session.path} is no model of texts: its inputs are {', '.join(session.inputs)}, "
            f"and must be of {', '.join(INPUTS)}"
        )
    for name, kind in session.inputs.items():
        if kind != "tensor(int64)":
            raise ValueError(f"{session.path}: input {name} is a {kind}, and must be of int64")


def _errors() -> tuple[type[BaseException], ...]:
    """Return ONNX Runtime's exceptions, which have no type in common but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "EPFail EngineError Fail InvalidArgument InvalidGraph InvalidProtobuf ModelLoaded NoModel "
        "NoSuchFile NotFound NotImplemented RuntimeException"
    )
    return tuple(getattr(state, name) for name in names.split() if hasattr(state, name))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn errors of ONNX Runtime into ValueError of one line."""
    try:
        yield
    except ImportError:
        raise
    except UnicodeDecodeError:
        raise ValueError(f"{what}: names in it are not UTF-8") from None
    except _errors() as error:
        raise ValueError(f"{what}: {_reason(str(error))}") from error


def _reason(message: str) -> str:
    """Return the end of a message of ONNX Runtime, which says what happened after where."""
    message = " ".join(message.split())
    for start, said in REASONS.items():
        if start in message:
            return said
    message = message.rpartition(" : ")[2].rpartition("failed:")[2] or message
    return message if len(message) <= MOST_SHOWN else message[: MOST_SHOWN - 3] + "..."


# What messages mean whose own words do not say it, by a part of them.
REASONS = {
    "Protobuf parsing failed": "it is not an ONNX file, or a part of one",
    "No graph was found": "it is not an ONNX file, or an empty one",
    "Unsupported model IR version": "its format is newer than this onnxruntime; upgrade it",
    "is under development and support": "its opset is newer than this onnxruntime; upgrade it",
    "External data path does not exist": "the file of its weights is missing (model.onnx.data)",
    "out of bounds or can not be read": "the file of its weights is too short (model.onnx.data)",
    "External data path escapes": "its weights are outside its folder",
    "indices element out of data bounds": (
        "a token is outside its vocabulary; take the tokenizer.json of the model"
    ),
    "is not a registered function/op": "it has an operator that this onnxruntime does not know",
}
