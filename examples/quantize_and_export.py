"""Store a model with int8 weights, and export it for ONNX Runtime.

    python examples/quantize_and_export.py

Needs the extra `onnx`. The model is random: what is compared are sizes and outputs. Where
ultrafastbert-runtime is installed, the files are for ONNX Runtime with its operator.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ultrafastbert import UltraFastBertConfig, UltraFastBertModel
from ultrafastbert.inference.engines import export_onnx

TOKENS = torch.arange(5, 69)[None]  # (1, 64)


@torch.no_grad()
def main() -> None:
    """Print the sizes of the weights, and what quantization and the engine change."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = UltraFastBertModel(
        UltraFastBertConfig(vocab_size=500, tree_depth=6, leaf_size=40, **sizes)
    ).eval()
    before = model(TOKENS).last_hidden_state
    with TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder / "float32")
        model.quantize_("int8", exact_routing=True).save_pretrained(folder / "int8")
        after = UltraFastBertModel.from_pretrained(folder / "int8").eval()(TOKENS).last_hidden_state
        for part in ("float32", "int8"):
            print(f"{part}: {(folder / part / 'model.safetensors').stat().st_size / 1e6:.1f} MB")
        print(
            f"least cosine of a token: {torch.cosine_similarity(before, after, dim=-1).min():.4f}"
        )
        for precision in ("fp32", "int8"):
            export = export_onnx(folder / "int8", folder / f"onnx-{precision}", None, precision)
            print(f"{export.operator} operators, {precision}: within {export.error:.0e}")
        print(f"int8 products: mean cosine of a token {export.int8.cosine:.4f}")


if __name__ == "__main__":
    main()
