"""The configuration of published UltraFastBERT and crammedBERT models, from and to ours.

Theirs is a `config.json` with `model_type` "crammedBERT" whose sizes and options are all in one
mapping, `arch` (github.com/pbelcak/UltraFastBERT, github.com/JonasGeiping/cramming). Options that
our models do not have are refused by name; options that their software never reads are ignored.
"""

from collections.abc import Mapping
from typing import Any

MODEL_TYPE = "crammedBERT"

MASKED_LM = "ScriptableLMForPreTraining"
CLASSIFIER = "ScriptableLMForSequenceClassification"
ENCODER = "ScriptableLM"
ARCHITECTURES = {
    MASKED_LM: "UltraFastBertForMaskedLM",
    CLASSIFIER: "UltraFastBertForSequenceClassification",
    ENCODER: "UltraFastBertModel",
}
ACTIVATIONS = {
    "GELU": "gelu",
    "ReLU": "relu",
    "SiLU": "silu",
    "Tanh": "tanh",
    "Identity": "linear",
}
POOLERS = {"avg": "avg", "zero_index": "first", "max": "max", "lse": "lse"}
# Share of positions that are predicted; the recipe's, since our models take those with a label.
SPARSE_PREDICTION = 0.25
# What the Hugging Face library itself writes beside `arch`.
GENERAL = ("id2label", "label2id", "problem_type")
# Options of which our models have one value, with those values that mean it; absent means it, too.
FIXED = {
    "norm": ("LayerNorm",),
    "final_norm": (True,),
    "objective_layout": ("MLM",),
}
FIXED_EMBEDDING = {"pos_embedding": ("scaled-sinusoidal",), "normalization": (True,)}
FIXED_ATTENTION = {
    "type": ("self-attention",),
    "causal_attention": (False,),
    "skip_output_projection": (False,),
    "rotary_embedding": (False, None),
    "sequence_op": ("torch-softmax",),
}


def is_crammed(config: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is one of theirs."""
    return config.get("model_type") == MODEL_TYPE


def to_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `UltraFastBertConfig` that describe the same model.

    Raises ValueError for options that are missing, of the wrong type or not supported.
    """
    arch = Options("arch", config.get("arch"))
    embedding, attention = arch.section("embedding"), arch.section("attention")
    head = arch.section("classification_head")
    for options, fixed in (
        (arch, FIXED),
        (embedding, FIXED_EMBEDDING),
        (attention, FIXED_ATTENTION),
    ):
        for name, allowed in fixed.items():
            options.check(name, allowed)
    hidden_size = arch.integer("hidden_size")
    embedding.check("embedding_dim", (hidden_size,))
    activation, gated = _activation(arch.text("nonlin"), "arch.nonlin")
    return {
        **{name: config[name] for name in GENERAL if config.get(name) is not None},
        "dtype": "float32",  # in which their software computes, whatever the file holds
        "architectures": _ours(architecture(config)),
        "vocab_size": embedding.integer("vocab_size"),
        "hidden_size": hidden_size,
        "num_hidden_layers": arch.integer("num_transformer_layers", least=0),
        "num_attention_heads": attention.integer("num_attention_heads"),
        "hidden_act": activation,
        **_feed_forward(arch, gated),
        "max_position_embeddings": embedding.integer("max_seq_length"),
        "hidden_dropout_prob": arch.number("hidden_dropout_prob"),
        "embedding_dropout_prob": embedding.number("dropout_prob"),
        "attention_probs_dropout_prob": attention.number("dropout_prob"),
        "layer_norm_eps": arch.number("norm_eps"),
        "qkv_bias": attention.flag("qkv_bias"),
        "use_bias": arch.flag("use_bias"),
        "decoder_bias": arch.flag("decoder_bias"),
        "head_transform": not arch.flag("skip_head_transform"),
        "sparse_prediction": bool(arch.number("sparse_prediction")),
        "initializer_range": arch.section("init").number("std"),
        "classifier_pooling": POOLERS[head.choice("pooler", POOLERS)],
        "classifier_hidden_size": _classifier_size(head, hidden_size),
        "classifier_act": _activation(head.text("nonlin"), "arch.classification_head.nonlin")[0],
        "classifier_dropout": head.number("classifier_dropout"),
        "pad_token_id": _pad_token(embedding),
    }


def to_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return their `config.json` for the fields of an `UltraFastBertConfig`: the inverse.

    Raises ValueError for a model that their software cannot hold; the message names the field.
    """
    check_expressible(fields)
    kind = {ours: theirs for theirs, ours in ARCHITECTURES.items()}[fields["architectures"][0]]
    layer = {"ff": "ff", "glu": "ff", "fff": "fff"}[fields["ffn_type"]]
    dropout, embedding_dropout = fields["hidden_dropout_prob"], fields["embedding_dropout_prob"]
    arch = {
        "architectures": ["ScriptableCrammedBERT"],
        "num_transformer_layers": fields["num_hidden_layers"],
        "hidden_size": fields["hidden_size"],
        "hidden_dropout_prob": dropout,
        "intermed_type": layer,
        "intermed_size": fields["n_trees" if layer == "fff" else "intermediate_size"],
        "intermed_depth": fields["tree_depth"],
        "nonlin": _name(ACTIVATIONS, fields["hidden_act"])
        + ("glu" if fields["ffn_type"] == "glu" else ""),
        "norm": "LayerNorm",
        "norm_eps": fields["layer_norm_eps"],
        "norm_scheme": "pre",
        "final_norm": True,
        "use_bias": fields["use_bias"],
        "tie_weights": True,
        "decoder_bias": fields["decoder_bias"],
        "skip_head_transform": not fields["head_transform"],
        "sparse_prediction": SPARSE_PREDICTION if fields["sparse_prediction"] else 0,
        "loss": "cross-entropy",
        "objective_layout": "MLM",
        "ffn_layer_frequency": 1,
        "num_labels": len(fields["id2label"]) if kind == CLASSIFIER else None,
        "init": {"type": "normal", "std": fields["initializer_range"]},
        "embedding": {
            "vocab_size": fields["vocab_size"],
            "embedding_dim": fields["hidden_size"],
            "pos_embedding": "scaled-sinusoidal",
            "max_seq_length": fields["max_position_embeddings"],
            "pad_token_id": fields["pad_token_id"],
            "normalization": True,
            "stable_low_precision": False,
            "dropout_prob": dropout if embedding_dropout is None else embedding_dropout,
        },
        "attention": {
            "type": "self-attention",
            "causal_attention": False,
            "num_attention_heads": fields["num_attention_heads"],
            "dropout_prob": fields["attention_probs_dropout_prob"],
            "skip_output_projection": False,
            "qkv_bias": fields["qkv_bias"],
            "rotary_embedding": False,
            "seq_op_in_fp32": False,
            "sequence_op": "torch-softmax",
        },
        "classification_head": {
            # Only a classifier's own pooling has to be theirs, see check_expressible.
            "pooler": {o: t for t, o in POOLERS.items()}.get(fields["classifier_pooling"], "avg"),
            "include_ff_layer": fields["classifier_hidden_size"] is not None,
            "head_dim": fields["classifier_hidden_size"] or fields["hidden_size"],
            "nonlin": _name(ACTIVATIONS, fields["classifier_act"]),
            "classifier_dropout": fields["classifier_dropout"],
        },
    }
    named = GENERAL if kind == CLASSIFIER else ()
    general = {name: fields[name] for name in named if fields.get(name) is not None}
    return {
        "arch": arch,
        "architectures": [kind],
        "model_type": MODEL_TYPE,
        "torch_dtype": "float32",
        **general,
    }


def architecture(config: Mapping[str, Any]) -> str | None:
    """Return which of `ARCHITECTURES` a config names; None if it names none of any kind.

    Raises ValueError for the name of another.
    """
    names = config.get("architectures")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != 1 or names[0] not in ARCHITECTURES:
        raise ValueError(
            f"architectures={names!r} is not supported; it must be one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return str(names[0])


class Options:
    """A mapping of options of a checkpoint, checked as they are read; `name` is for messages."""

    def __init__(self, name: str, values: Any):
        if not isinstance(values, Mapping):
            raise ValueError(f"config.json has no mapping {name!r} of options")
        self.name, self.values = name, values

    def section(self, name: str) -> "Options":
        """Return the options of a mapping within this one."""
        return Options(f"{self.name}.{name}", self.values.get(name))

    def check(self, name: str, allowed: tuple[Any, ...]) -> None:
        """Raise ValueError unless an option is absent or has one of the values."""
        value = self.values.get(name, allowed[0])
        if not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed
        ):
            raise ValueError(
                f"config.json: {self.name}.{name}={value!r} is not supported, only {allowed[0]!r}"
            )

    def integer(self, name: str, least: int = 1) -> int:
        """Return a whole number from `least` to 2^31 - 1."""
        value = self._present(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise self._wrong(name, value, f"a whole number from {least}")
        return value

    def number(self, name: str) -> float:
        """Return a number of at least 0; False counts as 0."""
        value = self._present(name)
        if value is False:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise self._wrong(name, value, "a number of at least 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._present(name)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._present(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def choice(self, name: str, choices: Mapping[str, Any]) -> str:
        """Return one of the texts."""
        value = self.text(name)
        if value not in choices:
            raise self._wrong(name, value, f"one of {', '.join(choices)}")
        return value

    def _present(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"config.json has no {self.name}.{name}")
        return self.values[name]

    def _wrong(self, name: str, value: Any, wanted: str) -> ValueError:
        return ValueError(f"config.json: {self.name}.{name}={value!r} must be {wanted}")


def _activation(name: str, option: str) -> tuple[str, bool]:
    """Return our name of an activation, and whether it is gated (GELUglu)."""
    plain = name.split("glu")[0]
    if plain not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"config.json: {option}={name!r} is not supported, only {known}")
    return ACTIVATIONS[plain], plain != name


def _ours(theirs: str | None) -> list[str] | None:
    return None if theirs is None else [ARCHITECTURES[theirs]]


def _classifier_size(head: Options, hidden_size: int) -> int | None:
    size = head.integer("head_dim")
    if head.flag("include_ff_layer"):
        return size
    head.check("head_dim", (hidden_size,))
    return None


def _pad_token(embedding: Options) -> int | None:
    nothing = "pad_token_id" in embedding.values and embedding.values["pad_token_id"] is None
    return None if nothing else embedding.integer("pad_token_id", least=0)


def _name(names: Mapping[str, str], ours: str) -> str:
    """Return their name of an activation; raises ValueError where they have none."""
    for theirs, name in names.items():
        if name == ours:
            return theirs
    raise ValueError(f"activation {ours!r} has no name in this format, only {set(names.values())}")


def check_expressible(fields: Mapping[str, Any]) -> None:
    """Raise ValueError where a model has something that their format and software have not."""
    architectures = fields["architectures"]
    classifier = ARCHITECTURES[CLASSIFIER] in architectures
    one_value: dict[str, tuple[Any, ...]] = {
        "ffn_type": ("fff", "ff", "glu"),
        "position_embedding_type": ("scaled_sinusoidal",),
        "architectures": tuple([name] for name in ARCHITECTURES.values()),
        "weight_dtype": (None,),
    }
    if fields["ffn_type"] == "fff":
        one_value |= {"leaf_size": (1,), "node_output": (True,), "shared_size": (0,)}
        one_value["leaf_output_bias"] = (False,)
    if classifier:
        one_value["classifier_pooling"] = tuple(POOLERS.values())
    for name, allowed in one_value.items():
        if fields[name] not in allowed:
            choices = " or ".join(repr(value) for value in allowed)
            raise ValueError(f"{name}={fields[name]!r} has no place in this format, only {choices}")


def _feed_forward(arch: Options, gated: bool) -> dict[str, Any]:
    kind = arch.values.get("intermed_type", "ff")
    size = arch.integer("intermed_size")
    if kind == "ff":
        return {"ffn_type": "glu" if gated else "ff", "intermediate_size": size}
    if kind != "fff" or gated:
        raise ValueError(
            f"config.json: arch.intermed_type={kind!r} with arch.nonlin={arch.values['nonlin']!r} "
            "is not supported; ff takes any nonlin, fff those that are not gated"
        )
    return {
        "ffn_type": "fff",
        "n_trees": size,
        "tree_depth": arch.integer("intermed_depth", least=0),
    }
