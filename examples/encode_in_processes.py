"""Encode sentences in one process and in two: the same vectors, and the speed of each.

    python examples/encode_in_processes.py

Needs the extra `sentence-transformers`; no network.
"""

import time

import numpy as np
import torch

import ultrafastbert
from ultrafastbert.data import docstrings

N_SENTENCES = 1000


def sentences() -> list[str]:
    """Return sentences of the documentation of Python's library."""
    texts = docstrings.harvest((docstrings.STANDARD_LIBRARY,))
    lines = (line.strip() for text in texts for line in text.text.splitlines())
    return [line for line in lines if line.endswith(".")][:N_SENTENCES]


def main() -> None:
    """Print sentences a second by one process and by two, of one thread each."""
    torch.set_num_threads(1)
    model, texts = ultrafastbert.sentence_transformer(), sentences()
    model.encode(texts[:32])  # the first call is slower
    started = time.perf_counter()
    alone = model.encode(texts)
    print(f"one process: {len(texts) / (time.perf_counter() - started):.0f} sentences/s")

    pool = model.start_multi_process_pool(["cpu", "cpu"])
    try:
        model.encode(texts[:64], pool=pool, chunk_size=32)  # until both have loaded the model
        started = time.perf_counter()
        together = model.encode(texts, pool=pool, chunk_size=100)
        print(f"two processes: {len(texts) / (time.perf_counter() - started):.0f} sentences/s")
    finally:
        model.stop_multi_process_pool(pool)
    difference = np.abs(together - alone).max()
    print(f"largest difference between the vectors: {difference:.0e}")
    # In other batches inputs of int8 leaves may round to other integers, and a near tie may turn.
    assert difference < 1e-2


if __name__ == "__main__":  # processes that are spawned read this file, too
    main()
