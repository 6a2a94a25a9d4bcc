"""Configuration of UltraFastBERT models: crammedBERT's architecture with a choice of FF layer."""

from typing import Any

from transformers import PreTrainedConfig

from ultrafastbert.fff import soft, tree
from ultrafastbert.fff.activations import check_activation
from ultrafastbert.fff.quantization import check_weight_dtype
from ultrafastbert.models.bert.pooling import POOLERS
from ultrafastbert.models.io.crammed_config import MODEL_TYPE, is_crammed, to_fields

FFN_TYPES = ("fff", "ff", "glu", "none")
POSITIONS = ("scaled_sinusoidal", "rotary")


class UltraFastBertConfig(PreTrainedConfig):
    """Sizes and options of an UltraFastBERT encoder and its heads.

    The defaults are UltraFastBERT-1x11 (arXiv 2311.10770). Every control is the same model with
    another `ffn_type`.

    Args:
        vocab_size: tokens of the vocabulary.
        hidden_size: H, size of a token.
        num_hidden_layers: Transformer layers.
        num_attention_heads: heads; must divide `hidden_size`.
        ffn_type: `fff` fast feedforward, `ff` dense, `glu` gated dense, `none` no FF layer at all.
        intermediate_size: width of the dense types (of `glu`, both halves together).
        tree_depth, n_trees, leaf_size, node_output, shared_size, leaf_output_bias, soft_training,
            region_leak: the `fff` type, see `ultrafastbert.FastFeedForward`. Soft training may add
            `ultrafastbert.hardening_loss(model)` to the loss.
        weight_dtype, exact_routing: quantized weights of the `fff` type, for inference, see
            `ultrafastbert.FastFeedForward.quantize_`.
        hidden_act: activation of the FF layer, see `ultrafastbert.fff.activations`.
        position_embedding_type: `scaled_sinusoidal` added to the words (crammedBERT), or `rotary`
            in attention (arXiv 2104.09864), which learns from far fewer tokens.
        max_position_embeddings: longest input, in tokens.
        hidden_dropout_prob, embedding_dropout_prob, attention_probs_dropout_prob: dropout on each
            sublayer's output, after the embedding (by default the same), on attention weights.
        layer_norm_eps: epsilon of the layer norms.
        qkv_bias, use_bias, decoder_bias: biases of the query, key and value projection; of the
            attention output, dense FF layers and head transform; of the decoder.
        head_transform: a dense layer, `hidden_act` and a layer norm before the decoder.
        initializer_range: standard deviation of the initial weights.
        sparse_prediction: decode only labelled positions while a masked language model trains,
            which saves time and memory. `logits` are then (labelled positions, vocabulary); those
            of evaluation are (batch, tokens, vocabulary) all the same.
        classifier_pooling: `mean` over the tokens that are not padding, `cls` for the first of
            them, or crammedBERT's, which count padding in: `first`, `avg`, `max` and `lse` (log of
            the sum of exponentials) of all positions.
        classifier_hidden_size, classifier_act, classifier_dropout: the classification head's layer;
            without a size there is only its activation.
        sentence_pooling: how tokens become a sentence embedding, named as for `classifier_pooling`.
        normalize_embeddings: whether sentence embeddings are scaled to length 1.

    Raises:
        ValueError: for sizes and names that do not fit; the message names them.
    """

    model_type = "ultrafastbert"

    vocab_size: int = 32768
    hidden_size: int = 768
    num_hidden_layers: int = 16
    num_attention_heads: int = 12
    ffn_type: str = "fff"
    intermediate_size: int = 3072
    tree_depth: int = 11
    n_trees: int = 1
    leaf_size: int = 1
    node_output: bool = True
    shared_size: int = 0
    leaf_output_bias: bool = False
    soft_training: bool = False
    region_leak: float = 0.0
    weight_dtype: str | None = None
    exact_routing: bool = False
    hidden_act: str = "gelu"
    position_embedding_type: str = "scaled_sinusoidal"
    max_position_embeddings: int = 128
    hidden_dropout_prob: float = 0.1
    embedding_dropout_prob: float | None = None
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = False
    use_bias: bool = False
    decoder_bias: bool = False
    head_transform: bool = False
    initializer_range: float = 0.02
    sparse_prediction: bool = True
    classifier_pooling: str = "mean"
    classifier_hidden_size: int | None = 1024
    classifier_act: str = "tanh"
    classifier_dropout: float = 0.1
    sentence_pooling: str = "mean"
    normalize_embeddings: bool = False
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.check()

    def check(self) -> None:
        """Raise ValueError for sizes and names that do not fit.

        A model calls it too: fields that are overridden on load are set without `__post_init__`.
        """
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.num_hidden_layers < 0:
            raise ValueError(f"num_hidden_layers={self.num_hidden_layers} must be at least 0")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be a multiple of "
                f"num_attention_heads={self.num_attention_heads}"
            )
        _check_choice("ffn_type", self.ffn_type, FFN_TYPES)
        _check_choice("position_embedding_type", self.position_embedding_type, POSITIONS)
        if self.position_embedding_type == "rotary" and self.head_size % 2:
            raise ValueError(
                f"hidden_size / num_attention_heads = {self.head_size} must be even for rotary "
                "positions"
            )
        _check_choice("classifier_pooling", self.classifier_pooling, POOLERS)
        _check_choice("sentence_pooling", self.sentence_pooling, POOLERS)
        check_activation(self.hidden_act)
        check_activation(self.classifier_act)
        soft.check_options(self.soft_training, region_leak=self.region_leak)
        check_weight_dtype(self.weight_dtype)
        if self.weight_dtype and self.ffn_type != "fff":
            raise ValueError(
                f"weight_dtype={self.weight_dtype!r} is for ffn_type='fff', not {self.ffn_type!r}"
            )
        if self.exact_routing and not self.weight_dtype:
            raise ValueError("exact_routing=True needs weight_dtype, bfloat16 or int8")
        tree.check_geometry(self.tree_depth, self.leaf_size, self.n_trees)

    @classmethod
    def get_config_dict(cls, *args: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields that a folder or the hub holds, those of published models as ours."""
        fields, rest = super().get_config_dict(*args, **options)
        return (to_fields(fields) if is_crammed(fields) else fields), rest

    @property
    def head_size(self) -> int:
        """Size of a token in one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def ffn_name(self) -> str:
        """Short name of the FF layer, the inverse of `parse_ffn`."""
        if self.ffn_type == "fff":
            family = str(tree.Family(self.n_trees, self.tree_depth, self.leaf_size))
            return f"{family}+{self.shared_size}" if self.shared_size else family
        return "none" if self.ffn_type == "none" else f"{self.ffn_type}:{self.intermediate_size}"

    @property
    def n_neurons(self) -> int:
        """Neurons of one FF layer."""
        if self.ffn_type == "fff":
            rows = self.n_trees * tree.n_rows(self.tree_depth, self.leaf_size)
            return rows + self.shared_size
        return {"ff": self.intermediate_size, "glu": self.intermediate_size // 2, "none": 0}[
            self.ffn_type
        ]

    @property
    def n_active(self) -> int:
        """Neurons of one FF layer that one token uses."""
        if self.ffn_type != "fff":
            return self.n_neurons
        return tree.n_active(self.tree_depth, self.leaf_size, self.n_trees) + self.shared_size


class CrammedBertConfig(PreTrainedConfig):
    """What the Auto classes take a published configuration for: it becomes one of ours."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Any:
        """Return the `UltraFastBertConfig` of the same model."""
        return UltraFastBertConfig.from_dict(to_fields(config_dict), **options)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")


def parse_ffn(text: str) -> dict[str, Any]:
    """Return the fields of `UltraFastBertConfig` that a short name of an FF layer stands for.

    `KxD` or `KxDxL` is a fast feedforward layer, with `+WIDTH` beside a dense block that every
    token uses, such as `1x6x40+128`; `ff:WIDTH` and `glu:WIDTH` are dense layers,
    `none` is no layer. Raises ValueError for any other text.
    """
    kind, _, width = text.partition(":")
    if text == "none":
        return {"ffn_type": "none"}
    if kind in ("ff", "glu"):
        if not width.isdecimal() or int(width) < 1:
            raise ValueError(f"ffn {text!r} needs a width, such as {kind}:3072")
        return {"ffn_type": kind, "intermediate_size": int(width)}
    name, plus, shared = text.partition("+")
    try:
        family = tree.parse_family(name)
        if plus and not (shared.isdecimal() and int(shared)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"ffn {text!r} is unknown; write KxD or KxDxL (such as 1x11, 1x7x8), with "
            "+WIDTH for a dense block beside it, ff:WIDTH, glu:WIDTH or none"
        ) from None
    tree.check_geometry(family.depth, family.leaf_size, family.n_trees)
    return {
        "ffn_type": "fff",
        "n_trees": family.n_trees,
        "tree_depth": family.depth,
        "leaf_size": family.leaf_size,
        **({"shared_size": int(shared)} if plus else {}),
    }
