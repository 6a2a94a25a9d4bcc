"""Replace the FF blocks of a dense model in memory by trees that imitate them.

    python examples/convert_in_memory.py

The model is tiny and random, so that this takes seconds: look at the calls, not at the errors.
"""

import torch
from transformers import BertConfig, BertModel

from ultrafastbert.distill import RegressionConfig, convert_model


def main() -> None:
    """Print the error of each layer for a tree and for a dense layer as wide as its path."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=500, intermediate_size=256, initializer_range=0.2, hidden_dropout_prob=0, **sizes
    )
    dense = BertModel(config).eval()
    batches = [{"input_ids": torch.randint(5, 500, (16, 32))} for _ in range(40)]
    for ffn in ("1x4x16", "ff:20"):
        training = RegressionConfig(steps=200, batch_tokens=512, learning_rate=8e-3)
        fast, rows = convert_model(dense, batches, ffn, training=training)
        for row in rows:
            print(
                f"layer {row.layer}, {ffn}, {row.n_active} of 256 neurons: "
                f"FVU {row.fvu_after_norm:.3f}"
            )
    print(f"{type(fast).__name__}, output {tuple(fast(**batches[0]).last_hidden_state.shape)}")


if __name__ == "__main__":
    main()
