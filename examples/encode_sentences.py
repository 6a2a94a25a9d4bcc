"""Find the sentence that is nearest to a question, with the bundled encoder.

    python examples/encode_sentences.py

Needs the extra `sentence-transformers` and the package `ultrafastbert-minilm`; no network.
"""

import ultrafastbert

QUESTION = "How do I get my money back?"
SENTENCES = [
    "Refunds are paid within five days.",
    "The museum opens at nine.",
    "Our engineers write C++ and Python.",
]


def main() -> None:
    """Print the sentences by their cosine with the question."""
    encoder = ultrafastbert.sentence_transformer()  # all-MiniLM-L6-v2, 46 of 2,623 neurons a token
    cosines = encoder.encode(SENTENCES) @ encoder.encode(QUESTION)  # vectors have length 1
    for cosine, sentence in sorted(zip(cosines, SENTENCES, strict=True), reverse=True):
        print(f"{cosine:6.3f}  {sentence}")


if __name__ == "__main__":
    main()
