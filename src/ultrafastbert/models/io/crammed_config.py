"""The configuration of published UltraFastBERT and crammedBERT models, from and to ours.

Theirs is a `config.json` with `model_type` "crammedBERT" whose sizes and options are all in one
mapping, `arch` (github.com/pbelcak/UltraFastBERT, github.com/JonasGeiping/cramming). Options that
our models do not have are refused by name; options that their software never reads are ignored.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ultrafastbert.models.io.crammed_options import Options

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
# Share of positions to predict, as in the recipe: our models predict those with a label.
SPARSE_PREDICTION = 0.25
# Fields that Hugging Face's library writes beside `arch`.
GENERAL = ("id2label", "label2id", "problem_type")
# Mappings in `arch`; the name of `arch` itself is empty.
SECTIONS = ("init", "embedding", "attention", "classification_head")


class Plain(NamedTuple):
    """An option that is one of our fields under another name: its section, both names, its kind."""

    section: str
    theirs: str
    ours: str
    read: Callable[[Options, str], Any]


PLAIN = (
    Plain("", "num_transformer_layers", "num_hidden_layers", partial(Options.integer, least=0)),
    Plain("", "hidden_size", "hidden_size", Options.integer),
    Plain("", "hidden_dropout_prob", "hidden_dropout_prob", Options.number),
    Plain("", "norm_eps", "layer_norm_eps", Options.number),
    Plain("", "use_bias", "use_bias", Options.flag),
    Plain("", "decoder_bias", "decoder_bias", Options.flag),
    Plain("init", "std", "initializer_range", Options.number),
    Plain("embedding", "vocab_size", "vocab_size", Options.integer),
    Plain("embedding", "max_seq_length", "max_position_embeddings", Options.integer),
    Plain("attention", "num_attention_heads", "num_attention_heads", Options.integer),
    Plain("attention", "dropout_prob", "attention_probs_dropout_prob", Options.number),
    Plain("attention", "qkv_bias", "qkv_bias", Options.flag),
    Plain("classification_head", "classifier_dropout", "classifier_dropout", Options.number),
)
# Options of which our models have one value, with those values that mean it; absent means it, too.
# The first is written.
FIXED: dict[str, dict[str, tuple[Any, ...]]] = {
    "": {"norm": ("LayerNorm",), "final_norm": (True,), "objective_layout": ("MLM",)},
    "init": {},
    "embedding": {"pos_embedding": ("scaled-sinusoidal",), "normalization": (True,)},
    "attention": {
        "type": ("self-attention",),
        "causal_attention": (False,),
        "skip_output_projection": (False,),
        "rotary_embedding": (False, None),
        "sequence_op": ("torch-softmax",),
    },
    "classification_head": {},
}
# Options that change nothing in a model of ours: written for their software, never read.
WRITTEN: dict[str, dict[str, Any]] = {
    "": {
        "architectures": ["ScriptableCrammedBERT"],
        "norm_scheme": "pre",
        "tie_weights": True,
        "loss": "cross-entropy",
        "ffn_layer_frequency": 1,
    },
    "init": {"type": "normal"},
    "embedding": {"stable_low_precision": False},
    "attention": {"seq_op_in_fp32": False},
    "classification_head": {},
}


def is_crammed(config: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is one of theirs."""
    return config.get("model_type") == MODEL_TYPE


def to_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `UltraFastBertConfig` that describe the same model.

    Raises ValueError for options that are missing, of the wrong type or not supported.
    """
    arch = Options("arch", config.get("arch"))
    sections = {"": arch, **{name: arch.section(name) for name in SECTIONS}}
    for section, fixed in FIXED.items():
        for name, allowed in fixed.items():
            sections[section].check(name, allowed)
    fields = {plain.ours: plain.read(sections[plain.section], plain.theirs) for plain in PLAIN}
    activation, gated = _activation(arch.text("nonlin"), "arch.nonlin")
    return {
        **{name: config[name] for name in GENERAL if config.get(name) is not None},
        "dtype": "float32",  # in which their software computes, whatever the file holds
        "architectures": _ours(architecture(config)),
        **fields,
        "hidden_act": activation,
        **_feed_forward(arch, gated),
        **_embedding(sections["embedding"], fields["hidden_size"]),
        **_classifier(sections["classification_head"], fields["hidden_size"]),
        "head_transform": not arch.flag("skip_head_transform"),
        "sparse_prediction": bool(arch.number("sparse_prediction")),
    }


def to_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return their `config.json` for the fields of an `UltraFastBertConfig`: the inverse.

    Raises ValueError for a model that their software cannot hold; the message names the field.
    """
    check_expressible(fields)
    kind = {ours: theirs for theirs, ours in ARCHITECTURES.items()}[fields["architectures"][0]]
    named = GENERAL if kind == CLASSIFIER else ()
    return {
        "arch": _their_arch(fields, kind),
        "architectures": [kind],
        "model_type": MODEL_TYPE,
        "torch_dtype": "float32",
        **{name: fields[name] for name in named if fields.get(name) is not None},
    }


def _their_arch(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return their mapping of sizes and options, `arch`."""
    sections: dict[str, dict[str, Any]] = {
        name: {option: allowed[0] for option, allowed in fixed.items()} | WRITTEN[name]
        for name, fixed in FIXED.items()
    }
    for plain in PLAIN:
        sections[plain.section][plain.theirs] = fields[plain.ours]
    sections["embedding"] |= _their_embedding(fields)
    sections["classification_head"] |= _their_classifier(fields)
    arch = sections.pop("") | _their_feed_forward(fields)
    return {
        **arch,
        "skip_head_transform": not fields["head_transform"],
        "sparse_prediction": SPARSE_PREDICTION if fields["sparse_prediction"] else 0,
        "num_labels": len(fields["id2label"]) if kind == CLASSIFIER else None,
        **sections,
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


def _activation(name: str, option: str) -> tuple[str, bool]:
    """Return our name of an activation, and whether it is gated (GELUglu)."""
    plain = name.split("glu")[0]
    if plain not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"config.json: {option}={name!r} is not supported, only {known}")
    return ACTIVATIONS[plain], plain != name


def _ours(theirs: str | None) -> list[str] | None:
    return None if theirs is None else [ARCHITECTURES[theirs]]


def _embedding(embedding: Options, hidden_size: int) -> dict[str, Any]:
    embedding.check("embedding_dim", (hidden_size,))
    without = "pad_token_id" in embedding.values and embedding.values["pad_token_id"] is None
    return {
        "embedding_dropout_prob": embedding.number("dropout_prob"),
        "pad_token_id": None if without else embedding.integer("pad_token_id", least=0),
    }


def _their_embedding(fields: Mapping[str, Any]) -> dict[str, Any]:
    dropout = fields["embedding_dropout_prob"]
    return {
        "embedding_dim": fields["hidden_size"],
        "pad_token_id": fields["pad_token_id"],
        "dropout_prob": fields["hidden_dropout_prob"] if dropout is None else dropout,
    }


def _classifier(head: Options, hidden_size: int) -> dict[str, Any]:
    size: int | None = head.integer("head_dim")
    if not head.flag("include_ff_layer"):
        head.check("head_dim", (hidden_size,))
        size = None
    return {
        "classifier_pooling": POOLERS[head.choice("pooler", POOLERS)],
        "classifier_hidden_size": size,
        "classifier_act": _activation(head.text("nonlin"), "arch.classification_head.nonlin")[0],
    }


def _their_classifier(fields: Mapping[str, Any]) -> dict[str, Any]:
    poolers = {ours: theirs for theirs, ours in POOLERS.items()}
    return {
        # Only a classifier's own pooling has to be theirs, see check_expressible.
        "pooler": poolers.get(fields["classifier_pooling"], "avg"),
        "include_ff_layer": fields["classifier_hidden_size"] is not None,
        "head_dim": fields["classifier_hidden_size"] or fields["hidden_size"],
        "nonlin": _their_activation(fields["classifier_act"]),
    }


def _their_activation(ours: str) -> str:
    """Return their name of an activation; raises ValueError where they have none."""
    for theirs, name in ACTIVATIONS.items():
        if name == ours:
            return theirs
    known = ", ".join(ACTIVATIONS.values())
    raise ValueError(f"activation {ours!r} has no name in this format, only {known}")


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


def _their_feed_forward(fields: Mapping[str, Any]) -> dict[str, Any]:
    is_tree = fields["ffn_type"] == "fff"
    gate = "glu" if fields["ffn_type"] == "glu" else ""
    return {
        "intermed_type": "fff" if is_tree else "ff",
        "intermed_size": fields["n_trees" if is_tree else "intermediate_size"],
        "intermed_depth": fields["tree_depth"],
        "nonlin": _their_activation(fields["hidden_act"]) + gate,
    }
