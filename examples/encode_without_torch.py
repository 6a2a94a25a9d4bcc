"""Find the sentence that is nearest to a question, without PyTorch.

    python examples/encode_without_torch.py

Needs the packages `ultrafastbert-runtime` and `ultrafastbert-minilm`; no network.
"""

import sys

from ultrafastbert_runtime import Encoder

QUESTION = "How do I get my money back?"
SENTENCES = [
    "Refunds are paid within five days.",
    "The museum opens at nine.",
    "Our engineers write C++ and Python.",
]


def main() -> None:
    """Print the sentences by their cosine with the question."""
    encoder = Encoder()
    cosines = encoder.encode(SENTENCES, normalize=True) @ encoder.encode(QUESTION, normalize=True)
    for cosine, sentence in sorted(zip(cosines, SENTENCES, strict=True), reverse=True):
        print(f"{cosine:6.3f}  {sentence}")
    print("PyTorch is loaded:", "torch" in sys.modules)


if __name__ == "__main__":
    main()
