"""One model in one engine, in a process of its own: `python worker.py SETTINGS`.

The process imports what its engine needs and nothing else, so that it takes the time and memory
that a service would take. It is therefore run as a file, and only PyTorch's imports this package.

Settings, commands and answers are lines of JSON. Settings: `engine`, `precision`, `operator`,
`folder` (of the model and its tokenizer.json), `file` (the model in it), `loads` (folder of loads),
`threads`. Commands, each with the name of a load and of a batching: `vectors` writes those of the
first batch to `out`, `turn` times `calls` calls from number `first` on after `warm_up` others.

Sizes in comments: n texts, B batch, S sequence, H hidden.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Settings = dict[str, Any]
Run = Callable[[Any, Any], Any]  # ids and mask (B, S) int64 -> last hidden states (B, S, H) float32
Encode = Callable[[int], Any]  # number of a call -> what it computes, (n, H) float32

# What a program imports that encodes texts.
IMPORTS = {
    "PyTorch": ("numpy", "tokenizers", "torch", "ultrafastbert.models.io.saved"),
    "PyTorch, optimized": ("numpy", "tokenizers", "torch", "ultrafastbert.models.io.saved"),
    "ONNX Runtime": ("numpy", "tokenizers", "onnxruntime"),
    "OpenVINO": ("numpy", "tokenizers", "openvino"),
    "ultrafastbert-runtime": ("ultrafastbert_runtime.encoder",),
}
# Tokens of a batch of `sorted`, padding included, as in ultrafastbert-runtime.
TOKEN_BUDGET = 4096
TEXTS = ".json"  # suffix of loads of texts; others are arrays of ids


def open_pytorch(settings: Settings) -> Run:
    """Open a saved model as it is; in bfloat16, all of its weights."""
    import torch

    from ultrafastbert.models.io.saved import load_as_saved

    torch.set_num_threads(settings["threads"])
    dtype = getattr(torch, settings["precision"])
    return _pytorch_run(load_as_saved(settings["folder"], dtype=dtype).eval())


def open_optimized(settings: Settings) -> Run:
    """Open a saved model with the fastest linear layers that PyTorch has for it."""
    import torch

    from ultrafastbert.inference import load_optimized

    torch.set_num_threads(settings["threads"])
    precision = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}[settings["precision"]]
    return _pytorch_run(load_optimized(settings["folder"], precision))


def _pytorch_run(model: Any) -> Run:
    import torch

    def run(ids: Any, mask: Any) -> Any:
        with torch.inference_mode():
            found = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
            return found.last_hidden_state.float().numpy()

    return run


def open_onnxruntime(settings: Settings) -> Run:
    """Open an ONNX file, with the operator of trees where it has it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    # Its threads do not wait for the next call in a loop, at the cost of what else runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if settings["operator"] == "native":
        from ultrafastbert_runtime import operator

        operator.register(options)
    path = os.path.join(settings["folder"], settings["file"])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda ids, mask: session.run(["last_hidden_state"], inputs_of(names, ids, mask))[0]


def inputs_of(names: list[str], ids: Any, mask: Any) -> dict[str, Any]:
    """Return what an exported model has as inputs."""
    import numpy

    inputs = {"input_ids": ids, "attention_mask": mask}
    return inputs | ({"token_type_ids": numpy.zeros_like(ids)} if len(names) == 3 else {})


def open_openvino(settings: Settings) -> Run:
    """Open an ONNX file or OpenVINO's own format, of which integers stay integers."""
    import openvino

    is_narrow = settings["precision"] == "bfloat16"
    compiled = openvino.Core().compile_model(
        os.path.join(settings["folder"], settings["file"]),
        "CPU",
        {
            # Without the hint, processors that have bfloat16 compute in it.
            "INFERENCE_PRECISION_HINT": "bf16" if is_narrow else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(settings["threads"]),
        },
    )
    output = compiled.output("last_hidden_state")
    names = [each.any_name for each in compiled.inputs]
    return lambda ids, mask: compiled(inputs_of(names, ids, mask))[output]


OPENERS: dict[str, Callable[[Settings], Run]] = {
    "PyTorch": open_pytorch,
    "PyTorch, optimized": open_optimized,
    "ONNX Runtime": open_onnxruntime,
    "OpenVINO": open_openvino,
}


class Texts:
    """Encodes texts, none too long, by a model that takes tokens."""

    def __init__(self, run: Run, folder: Path, threads: int):
        from tokenizers import Tokenizer

        self.threads = threads
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.run, self.padding = run, config.get("pad_token_id") or 0
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def encode(self, texts: list[str], batching: str) -> Any:
        """Return the mean vectors of tokens: (n, H); no engine is batched worse than another."""
        import numpy
        from ultrafastbert_runtime.batches import batches

        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        parts = [numpy.arange(len(ids))]
        if batching == "sorted":
            lengths = [len(tokens) for tokens in ids]
            parts = list(batches(lengths, TOKEN_BUDGET, None, self.threads))
        vectors = [mean(self.run, *padded([ids[i] for i in part], self.padding)) for part in parts]
        order = numpy.concatenate(parts)
        return numpy.concatenate(vectors)[numpy.argsort(order)]


def padded(ids: list[list[int]], padding: int) -> tuple[Any, Any]:
    """Return ids and mask (B, S) of texts' tokens."""
    import numpy

    longest = max(map(len, ids))
    mask = numpy.array([[1] * len(each) + [0] * (longest - len(each)) for each in ids])
    return numpy.array([each + [padding] * (longest - len(each)) for each in ids]), mask


def mean(run: Run, ids: Any, mask: Any) -> Any:
    """Return the mean of tokens' last hidden states, (B, H)."""
    lengths = mask.sum(1)[:, None]
    return (mask[:, None].astype("float32") @ run(ids, mask))[:, 0] / lengths


def open_encoder(settings: Settings) -> Callable[[list[str]], Any]:
    """Open an exported model in ultrafastbert-runtime."""
    from ultrafastbert_runtime import Encoder

    return Encoder(settings["folder"], threads=settings["threads"]).encode


def open_model(settings: Settings) -> Callable[[Path, str], Encode]:
    """Open a model; return what makes a load's file and a batching a function to call."""
    import numpy

    if settings["engine"] == "ultrafastbert-runtime":
        encode = open_encoder(settings)
        return lambda path, _: _of_texts(path, encode)
    run = OPENERS[settings["engine"]](settings)
    texts = Texts(run, Path(settings["folder"]), settings["threads"])

    def make(path: Path, batching: str) -> Encode:
        if path.suffix == TEXTS:
            return _of_texts(path, lambda batch: texts.encode(batch, batching))
        ids = numpy.load(path)  # (batches, B, S)
        mask = numpy.ones_like(ids[0])
        return lambda number: mean(run, ids[number % len(ids)], mask)

    return make


def _of_texts(path: Path, encode: Callable[[list[str]], Any]) -> Encode:
    found = json.loads(path.read_text(encoding="utf-8"))
    return lambda number: encode(found[number % len(found)])


def peak_bytes() -> int:
    """Return the most memory that was resident in this process."""
    status = Path("/proc/self/status")
    if status.exists():  # what `resource` says includes the process that started this one
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, in bytes


def serve(settings: Settings, answer: Callable[..., None]) -> None:
    """Open the model, then do what lines of the standard input ask for."""
    started = time.perf_counter()
    for name in IMPORTS[settings["engine"]]:
        import_module(name)
    imported = time.perf_counter()
    make = open_model(settings)
    answer(import_s=imported - started, load_s=time.perf_counter() - imported)
    encoders: dict[tuple[str, str], Encode] = {}
    for line in sys.stdin:
        command = json.loads(line)
        key = command["load"], command["batching"]
        if key not in encoders:
            encoders[key] = make(Path(settings["loads"]) / key[0], key[1])
        answer(**(turn if command["do"] == "turn" else save_vectors)(encoders[key], command))


def save_vectors(encode: Encode, command: dict[str, Any]) -> dict[str, Any]:
    """Write the vectors of a load's first batch; return the milliseconds that it took."""
    import numpy

    started = time.perf_counter()
    vectors = encode(0)
    first_ms = 1e3 * (time.perf_counter() - started)
    numpy.save(command["out"], numpy.asarray(vectors, numpy.float32))
    return {"first_ms": first_ms}


def turn(encode: Encode, command: dict[str, Any]) -> dict[str, Any]:
    """Time calls; return their seconds, the processor's time of all threads, and the memory."""
    first = command["first"]
    for number in range(first - command["warm_up"], first):
        encode(number)
    seconds, used = [], time.process_time()
    for number in range(first, first + command["calls"]):
        started = time.perf_counter()
        encode(number)
        seconds.append(time.perf_counter() - started)
    used = time.process_time() - used
    return {"seconds": seconds, "processor_s": used, "peak_bytes": peak_bytes()}


def main() -> None:
    """Answer on the standard output, where nothing else is printed."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def answer(**fields: Any) -> None:
            print(json.dumps(fields), file=answers, flush=True)

        serve(json.loads(sys.argv[1]), answer)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose other files have names of libraries
    main()
