"""Random checkpoints in the published format, and its arithmetic written out: for tests only.

Nothing of the package is used here, so that its models have something to be held to.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ENCODER, MASKED_LM, CLASSIFIER = (
    "ScriptableLM",
    "ScriptableLMForPreTraining",
    "ScriptableLMForSequenceClassification",
)
HEAD = {
    "pooler": "avg",
    "include_ff_layer": True,
    "head_dim": 24,
    "nonlin": "Tanh",
    "classifier_dropout": 0.1,
}


BIASES = {"use_bias": True, "decoder_bias": True, "attention": {"qkv_bias": True}}
TRANSFORM = {"skip_head_transform": False}


def make_config(kind=MASKED_LM, n_labels=None, embedding=(), attention=(), head=(), **arch):
    """Return a config.json; options are those of the published models but for the sizes."""
    config = {
        "architectures": [kind],
        "model_type": "crammedBERT",
        "torch_dtype": "float32",
        "transformers_version": "4.36.2",
        "arch": {
            "architectures": ["ScriptableCrammedBERT"],
            "num_transformer_layers": 2,
            "hidden_size": 32,
            "hidden_dropout_prob": 0.1,
            "intermed_type": "fff",
            "intermed_size": 1,
            "intermed_depth": 3,
            "nonlin": "GELU",
            "norm": "LayerNorm",
            "norm_eps": 1e-12,
            "norm_scheme": "pre",
            "final_norm": True,
            "use_bias": False,
            "tie_weights": True,
            "decoder_bias": False,
            "skip_head_transform": True,
            "sparse_prediction": 0.25,
            "loss": "cross-entropy",
            "objective_layout": "MLM",
            "ffn_layer_frequency": 1,
            "num_labels": None,
            "init": {"type": "normal", "std": 0.02},
            "embedding": {
                "vocab_size": 61,
                "embedding_dim": 32,
                "pos_embedding": "scaled-sinusoidal",
                "max_seq_length": 16,
                "pad_token_id": 0,
                "normalization": True,
                "stable_low_precision": False,
                "dropout_prob": 0.1,
                **dict(embedding),
            },
            "attention": {
                "type": "self-attention",
                "causal_attention": False,
                "num_attention_heads": 4,
                "dropout_prob": 0.1,
                "skip_output_projection": False,
                "qkv_bias": False,
                "rotary_embedding": False,
                "seq_op_in_fp32": False,
                "sequence_op": "torch-softmax",
                **dict(attention),
            },
            "classification_head": {**HEAD, **dict(head)},
            **arch,
        },
    }
    if n_labels is not None:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(n_labels)}
    return config


def make_tensors(config, seed=0):
    """Return random tensors by name, spread so that paths part and no bias or norm is trivial."""
    draw = torch.Generator().manual_seed(seed)
    kind = config["architectures"][0]
    prefix = "" if kind == ENCODER else "encoder."
    tensors = {}
    for name, shape in _shapes(config).items():
        values = torch.randn(shape, generator=draw)
        if name.endswith("norm.weight") or ".norm1.weight" in name or ".norm2.weight" in name:
            values = 1 + 0.1 * values
        elif len(shape) == 2:
            values = values * shape[1] ** -0.5
        else:
            values = 0.1 * values
        tensors[name if name.split(".")[0] in TOP else prefix + name] = values
    if kind == MASKED_LM:
        tensors["decoder.weight"] = tensors["encoder.embedding.word_embedding.weight"].clone()
    head_size = config["arch"]["hidden_size"] // config["arch"]["attention"]["num_attention_heads"]
    for i in range(config["arch"]["num_transformer_layers"]):
        name = f"{prefix}layers.{i}.attn.self_attention.norm_factor"
        tensors[name] = torch.tensor(head_size**-0.5)
    return tensors


TOP = ("decoder", "prediction_head", "pooler", "head")


def _shapes(config):
    arch, kind = config["arch"], config["architectures"][0]
    size, width, bias = arch["hidden_size"], arch["intermed_size"], arch["use_bias"]
    vocab = arch["embedding"]["vocab_size"]
    shapes = {
        "embedding.word_embedding.weight": (vocab, size),
        "embedding.pos_embedding.scale_factor": (1,),
    }

    def norm(name):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    def linear(name, out, inner, with_bias):
        shapes[f"{name}.weight"] = (out, inner)
        if with_bias:
            shapes[f"{name}.bias"] = (out,)

    norm("embedding.norm")
    norm("final_norm")
    for i in range(arch["num_transformer_layers"]):
        layer = f"layers.{i}"
        norm(f"{layer}.norm1")
        norm(f"{layer}.norm2")
        attention = f"{layer}.attn.self_attention.query_key_value"
        linear(attention, 3 * size, size, arch["attention"]["qkv_bias"])
        linear(f"{layer}.attn.dense", size, size, bias)
        if arch.get("intermed_type", "ff") == "fff":
            rows = width * (2 ** (arch["intermed_depth"] + 1) - 1)
            linear(f"{layer}.ffn.linear_in", rows, size, True)
            linear(f"{layer}.ffn.linear_out", size, rows, False)
        else:
            inner = width // 2 if arch["nonlin"].endswith("glu") else width
            linear(f"{layer}.ffn.dense_in", width, size, bias)
            linear(f"{layer}.ffn.dense_out", size, inner, bias)
    if kind == MASKED_LM and not arch["skip_head_transform"]:
        linear("prediction_head.dense", size, size, bias)
        norm("prediction_head.norm")
    if kind == MASKED_LM and arch["decoder_bias"]:
        shapes["decoder.bias"] = (vocab,)
    if kind == CLASSIFIER:
        head = arch["classification_head"]
        linear("pooler.dense", head["head_dim"], size, True)
        linear("head", len(config.get("id2label", "12")), head["head_dim"], True)
    return shapes


def save(folder, config, tensors, n_shards=1):
    """Write a folder in the published format, whole or in shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # none shared
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for i in range(n_shards):
        part = dict(list(tensors.items())[i::n_shards])
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


class Published:
    """The published arithmetic over a checkpoint's tensors, of which gradients may be taken."""

    def __init__(self, config, tensors):
        self.arch, self.kind = config["arch"], config["architectures"][0]
        prefix = "" if self.kind == ENCODER else "encoder."
        self.parameters = {
            name: tensor.clone().requires_grad_()
            for name, tensor in tensors.items()
            if not name.endswith("norm_factor") and name != "decoder.weight"
        }
        self.get = lambda name: self.parameters.get(
            name if name.split(".")[0] in TOP else prefix + name
        )
        name = self.arch["nonlin"].removesuffix("glu")
        self.gated = name != self.arch["nonlin"]
        self.act = getattr(torch.nn, name)()

    def linear(self, x, name):
        return F.linear(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"))

    def norm(self, x, name):
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.arch["norm_eps"])

    def embed(self, ids):
        size, length = self.arch["hidden_size"], ids.shape[1]
        table = torch.zeros(length, size)
        position = torch.arange(length).float()
        for j in range(size // 2):
            table[:, 2 * j] = (position * 10000 ** (-2 * j / size)).sin()
            table[:, 2 * j + 1] = (position * 10000 ** (-2 * j / size)).cos()
        pad = self.arch["embedding"]["pad_token_id"]
        words = F.embedding(ids, self.get("embedding.word_embedding.weight"), padding_idx=pad)
        scale = self.get("embedding.pos_embedding.scale_factor")
        return self.norm(words + scale * table, "embedding.norm")

    def attend(self, x, layer, mask):
        heads = self.arch["attention"]["num_attention_heads"]
        each = x.shape[-1] // heads
        fused = self.linear(x, f"{layer}.attn.self_attention.query_key_value")
        out = []
        for h in range(heads):
            q, k, v = fused[..., 3 * each * h : 3 * each * (h + 1)].split(each, -1)
            scores = q @ k.transpose(1, 2) * each**-0.5
            if mask is not None:
                keys = mask.float() if mask.dim() == 3 else mask.float()[:, None]
                scores = scores + (1 - keys) * -10000
            out.append(scores.softmax(-1) @ v)
        return self.linear(torch.cat(out, -1), f"{layer}.attn.dense")

    def feed(self, x, layer, paths):
        if self.arch.get("intermed_type", "ff") == "ff":
            y = self.linear(x, f"{layer}.ffn.dense_in")
            value, gate = y.chunk(2, -1) if self.gated else (1.0, y)
            return self.linear(value * self.act(gate), f"{layer}.ffn.dense_out")
        trees, depth = self.arch["intermed_size"], self.arch["intermed_depth"]
        rows, flat = 2 ** (depth + 1) - 1, x.flatten(0, 1)
        w_in, b_in = (self.get(f"{layer}.ffn.linear_in.{part}") for part in ("weight", "bias"))
        w_out = self.get(f"{layer}.ffn.linear_out.weight").t()
        y = torch.zeros_like(flat)
        for tree in range(trees):
            node = torch.zeros(len(flat), dtype=torch.int64)
            for _ in range(depth + 1):
                paths.append(node)
                row = tree * rows + node
                z = (flat * w_in[row]).sum(-1) + b_in[row]
                y = y + self.act(z)[:, None] * w_out[row]
                node = 2 * node + 1 + (z > 0)
        return y.view_as(x)

    def encode(self, ids, mask=None):
        """Return the hidden states after embedding, each layer and the final norm, and paths."""
        paths = []
        states = [self.embed(ids)]
        for i in range(self.arch["num_transformer_layers"]):
            layer, x = f"layers.{i}", states[-1]
            x = x + self.attend(self.norm(x, f"{layer}.norm1"), layer, mask)
            states.append(x + self.feed(self.norm(x, f"{layer}.norm2"), layer, paths))
        return [*states, self.norm(states[-1], "final_norm")], paths

    def logits(self, ids, mask=None):
        x = self.encode(ids, mask)[0][-1]
        if self.kind == CLASSIFIER:
            head = self.arch["classification_head"]
            pooled = {
                "avg": lambda: x.mean(1),
                "zero_index": lambda: x[:, 0],
                "max": lambda: x.max(1).values,
                "lse": lambda: x.exp().sum(1).log(),
            }[head["pooler"]]()
            act = getattr(torch.nn, head["nonlin"])()
            return self.linear(act(self.linear(pooled, "pooler.dense")), "head")
        if not self.arch["skip_head_transform"]:
            x = self.norm(self.act(self.linear(x, "prediction_head.dense")), "prediction_head.norm")
        return F.linear(x, self.get("embedding.word_embedding.weight"), self.get("decoder.bias"))


def batch():
    torch.manual_seed(3)
    ids = torch.randint(0, 61, (3, 12))
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    mask[2, :5] = 0
    return ids, mask


def saved(tmp_path, kind=MASKED_LM, **options):
    config = make_config(kind, **options)
    tensors = make_tensors(config)
    return save(tmp_path / "theirs", config, tensors), Published(config, tensors)


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
