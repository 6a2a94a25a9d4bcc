"""Tiny models of words, written by onnx alone, and the folders that they lie in."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

HIDDEN, LONGEST, N_LABELS = 8, 40, 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "the", "tree", "leaf", "node", "path", "skips", "finds", "fast", "small", "root"]
VOCAB = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}


def tokenizer():
    found = Tokenizer(WordLevel(VOCAB, "[UNK]"))
    found.normalizer, found.pre_tokenizer = Lowercase(), Whitespace()
    found.add_special_tokens(SPECIAL)
    found.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", VOCAB["[CLS]"]), ("[SEP]", VOCAB["[SEP]"])],
    )
    return found


def weights():
    """Embeddings (V, H), a matrix (H, H), embeddings of types (2, H), labels (H, N_LABELS)."""
    draw = np.random.default_rng(0).standard_normal
    shapes = [(len(VOCAB), HIDDEN), (HIDDEN, HIDDEN), (2, HIDDEN), (HIDDEN, N_LABELS)]
    return [draw(shape).astype(np.float32) for shape in shapes]


def states(ids, types):
    """What the model computes for one text: (S) -> (S, H), each token from all of them."""
    embeddings, matrix, kinds, _ = weights()
    x = embeddings[ids] + kinds[types]
    return np.tanh(x @ matrix) + x.mean(axis=0)


# The same in ONNX, with means over what is no padding.
NODES = [
    ("Gather", ["embeddings", "input_ids"], "words", {}),
    ("Gather", ["kinds", "token_type_ids"], "types", {}),
    ("Add", ["words", "types"], "x", {}),
    ("Cast", ["attention_mask"], "real", {"to": TensorProto.FLOAT}),
    ("Unsqueeze", ["real", "last"], "mask", {}),
    ("Mul", ["x", "mask"], "kept", {}),
    ("ReduceSum", ["kept", "middle"], "sum", {}),
    ("ReduceSum", ["mask", "middle"], "count", {}),
    ("Div", ["sum", "count"], "mean", {}),
    ("MatMul", ["x", "matrix"], "mixed", {}),
    ("Tanh", ["mixed"], "bent", {}),
    ("Add", ["bent", "mean"], "last_hidden_state", {}),
]
HEADS = {
    "encoder": ([], "last_hidden_state", ["batch", "sequence", HIDDEN]),
    "masked": (
        [("MatMul", ["last_hidden_state", "decoder"], "logits", {})],
        "logits",
        ["batch", "sequence", len(VOCAB)],
    ),
    "classifier": (
        [
            ("Gather", ["last_hidden_state", "first"], "cls", {"axis": 1}),
            ("MatMul", ["cls", "labels"], "logits", {}),
        ],
        "logits",
        ["batch", N_LABELS],
    ),
}


def model(head="encoder", opset=18, metadata=None):
    """Return the model with a head of `HEADS`."""
    embeddings, matrix, kinds, labels = weights()
    constants = {
        "embeddings": embeddings,
        "matrix": matrix,
        "kinds": kinds,
        "labels": labels,
        "decoder": embeddings.T.copy(),
        "last": np.array([2]),
        "middle": np.array([1]),
        "first": np.array(0),
    }
    nodes, output, shape = HEADS[head]
    nodes = [helper.make_node(op, x, [y], **options) for op, x, y, options in [*NODES, *nodes]]
    used = {name for node in nodes for name in node.input}
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
            for n in inputs
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(x, name) for name, x in constants.items() if name in used],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    helper.set_model_props(made, {"operator": "standard", "precision": "fp32", **(metadata or {})})
    return made


def write_json(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_folder(folder, head="encoder", pooling=("mean",), normalize=False, **config):
    """Write a folder as an export leaves it, an encoder as sentence-transformers does."""
    folder.mkdir(exist_ok=True, parents=True)
    onnx.save(model(head), folder / "model.onnx")
    tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"pad_token": "[PAD]", "mask_token": "[MASK]", "model_max_length": 10**30}
    write_json(folder / "tokenizer_config.json", settings)
    config = {"max_position_embeddings": 64, "hidden_size": HIDDEN, "pad_token_id": 0, **config}
    write_json(folder / "config.json", config)
    if head == "encoder":
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST})
        kinds = ["Transformer", "Pooling", *["Normalize"] * normalize]
        paths = ["", "1_Pooling", "2_Normalize"][: len(kinds)]
        named = zip(kinds, paths, strict=True)
        listed = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in named]
        write_json(folder / "modules.json", listed)
        pooling = {"embedding_dimension": HIDDEN, "pooling_mode": list(pooling)}
        write_json(folder / "1_Pooling" / "config.json", pooling)
    return folder
