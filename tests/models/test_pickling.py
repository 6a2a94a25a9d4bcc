"""Pickles: models, layers, data and classes made at run time, read by fresh processes."""

import copy
import pickle
import subprocess
import sys
import textwrap
from multiprocessing.reduction import ForkingPickler

import dill
import numpy as np
import pytest
import torch
from datasets import Dataset
from encoders import save_dense_encoder
from tiny_models import CLASSES, NO_DROPOUT, build, every_class, inputs, same, tiny
from torch.utils.data import DataLoader
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    Trainer,
    TrainingArguments,
)

from ultrafastbert import FastFeedForward, UltraFastBertForMaskedLM
from ultrafastbert.data.masking import MaskedStream
from ultrafastbert.evaluate.tasks import TASKS
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.models import converted
from ultrafastbert.models.converted.model import converted_class, converted_copy
from ultrafastbert.train.finetune.encoding import EncodedRows, LengthGroupedBatches, as_it_is

FRESH = """
import pickle, sys
import torch
with open(sys.argv[1], "rb") as file:
    for model, inputs, expected in pickle.load(file):
        with torch.no_grad():
            output = model(**inputs)
        output = output[0] if isinstance(output, (tuple, dict)) else output
        assert torch.equal(output, expected), type(model)
print("equal")
"""
# A module of somebody else, twice with the same names.
OTHERS = """
from transformers import BertConfig, BertModel

class NoteConfig(BertConfig):
    model_type = "note-{name}"

class NoteModel(BertModel):
    config_class = NoteConfig

class Shelf:
    class NoteModel(BertModel):
        config_class = NoteConfig
"""
BERT = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def dense(model_class=BertModel, config_class=BertConfig):
    torch.manual_seed(0)
    return model_class(config_class(intermediate_size=32, **BERT)).eval()


def case(model, **given):
    with torch.no_grad():
        output = model(**given)
    return model, given, output[0] if isinstance(output, tuple | dict) else output


def check_in_fresh_process(cases, tmp_path, monkeypatch):
    """Let a process that imports nothing of ours read the cases and compute them."""
    path = tmp_path / "cases.pickle"
    path.write_bytes(pickle.dumps(cases))
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    command = [sys.executable, "-c", FRESH, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "equal\n", done.stderr


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Return two modules that hold classes of the same name."""
    monkeypatch.syspath_prepend(tmp_path / "others")
    (tmp_path / "others" / "notes").mkdir(parents=True)
    names = ["first", "second"]
    for name in names:
        source = OTHERS.format(name=name)
        (tmp_path / "others" / "notes" / f"{name}.py").write_text(textwrap.dedent(source))
    yield [__import__(f"notes.{name}", fromlist=[name]) for name in names]
    for name in ("notes", *(f"notes.{name}" for name in names)):
        sys.modules.pop(name)


@pytest.mark.slow
def test_models_compute_the_same_in_a_fresh_process(tmp_path, monkeypatch, others):
    ids = torch.randint(1, 40, (2, 7), generator=torch.Generator().manual_seed(0))
    cases = [case(build(model_class), **inputs(model_class)) for model_class in CLASSES]
    kinds = [(BertModel, BertConfig), (BertForSequenceClassification, BertConfig)]
    for module in others:
        kinds += [(m, module.NoteConfig) for m in (module.NoteModel, module.Shelf.NoteModel)]
    copies = [converted_copy(dense(*kind), ["1x2x2", None]) for kind in kinds]
    copies[0].quantize_("int8")
    cases += [case(model, input_ids=ids) for model in copies]
    layer = FastFeedForward(8, 3, leaf_size=2, leaf_output_bias=True, soft_training=True).eval()
    x = torch.randn(5, 8)
    layers = (layer, copy.deepcopy(layer).quantize_("int8", exact_routing=True))
    cases += [case(each, x=x) for each in layers]
    check_in_fresh_process(cases, tmp_path, monkeypatch)


def test_classes_made_at_run_time_are_found_by_name(others):
    first, second = others
    originals = [BertModel, BertForSequenceClassification]
    for module in others:
        originals += [module.NoteModel, module.Shelf.NoteModel]
    found = [converted_class(original) for original in originals]
    assert len(set(found)) == len(found)
    for each in (*found, *(model_class.config_class for model_class in found)):
        for module in (pickle, dill):
            assert pickle.loads(module.dumps(each)) is each
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(each, protocol)) is each
        assert copy.deepcopy(each) is each
    assert converted.ConvertedBertModel is found[0]
    assert converted_class(first.NoteModel).__name__ == "ConvertedNoteModel"
    assert converted_class(second.NoteModel).config_class.model_type == "ultrafastbert-note-second"


def test_classes_that_nobody_can_find_are_not_pickled():
    class Local(BertModel):
        pass

    with pytest.raises(pickle.PicklingError, match="Local"):
        pickle.dumps(converted_class(Local))
    for name in ("ConvertedNothing", "ConvertedAutoModel", "nothing", "Convertedos:sep"):
        with pytest.raises(AttributeError, match=name):
            getattr(converted, name)


def test_torch_saves_whole_converted_models(tmp_path):
    model = converted_copy(dense(), ["1x2x2", "ff:8"])
    torch.save({"model": model, "config": model.config}, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    assert type(loaded["model"]) is type(model)
    assert loaded["config"].to_dict() == model.config.to_dict()
    with torch.no_grad():
        ids = torch.arange(1, 9)[None]
        assert torch.equal(loaded["model"](ids)[0], model(ids)[0])


@every_class
def test_every_activation_of_a_head_is_pickled(model_class):
    for name in ACTIVATIONS:
        model = build(model_class, hidden_act=name, classifier_act=name, head_transform=True)
        pickle.loads(pickle.dumps(model))


@torch.no_grad()
def test_a_layer_that_is_sent_to_a_process_goes_on_here():
    """Sending moves the weights into shared memory."""
    layer = FastFeedForward(16, 3, leaf_size=2)
    x = torch.randn(5, 16)
    expected = layer(x)
    assert torch.equal(layer(x), expected)  # by the way that the first call prepared
    ForkingPickler.dumps(layer)
    assert layer.w_in.is_shared()
    for _ in range(2):
        assert torch.equal(layer(x), expected)
    assert torch.equal(layer.share_memory()(x), expected)


def glue_rows(tokenizer):
    texts = [f"the {'small' if i % 3 else 'fast'} tree " * (i % 4 + 1) for i in range(24)]
    data = Dataset.from_dict({"sentence": texts, "label": [i % 2 for i in range(24)]})
    return EncodedRows(data, TASKS["sst2"], tokenizer, 16)


@pytest.mark.slow
def test_rows_reach_a_spawned_worker(tokenizer):
    rows = glue_rows(tokenizer)
    batches = LengthGroupedBatches(rows.lengths, 5, seed=0)
    loaders = [  # copies, as the batches are drawn anew on each way through
        DataLoader(rows, batch_sampler=copy.deepcopy(batches), collate_fn=as_it_is, **options)
        for options in ({"num_workers": 1, "multiprocessing_context": "spawn"}, {})
    ]
    for got, expected in zip(*loaders, strict=True):
        same(got, expected, rtol=0, atol=0)


def trained(model, data, folder, **options):
    """Return the weights after a few steps of Trainer."""
    arguments = TrainingArguments(
        str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **options,
    )
    Trainer(model=model, args=arguments, train_dataset=data).train()
    return dict(model.named_parameters())


@pytest.mark.slow
def test_trainer_with_spawned_workers(packed, tokenizer, tmp_path):
    config = tiny(vocab_size=len(tokenizer), **NO_DROPOUT)
    config.max_position_embeddings = packed[0].seq_length
    model = UltraFastBertForMaskedLM(config)
    stream = MaskedStream(packed[0], 3, 12, tokenizer)
    workers = {"dataloader_num_workers": 2, "dataloader_multiprocessing_context": "spawn"}
    expected = trained(copy.deepcopy(model), stream, tmp_path)
    for name, weight in trained(model, stream, tmp_path, **workers).items():
        assert torch.equal(weight, expected[name])


@pytest.mark.slow
def test_a_pool_of_processes_encodes_the_same(tokenizer, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    folder = save_dense_encoder(tokenizer, tmp_path / "dense")
    model = AutoModel.from_pretrained(folder)
    converted_copy(model, ["1x2x2", "1x3"]).save_pretrained(tmp_path / "fast")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "fast")
    options = {"device": "cpu", "model_kwargs": {"weight_dtype": "int8"}}
    encoder = library.SentenceTransformer(str(tmp_path / "fast"), **options)
    texts = [f"The small tree {'skips ' * i}the leaf." for i in range(6)]
    expected = encoder.encode(texts, batch_size=3)
    options = {"batch_size": 3, "chunk_size": 3}  # the same batches
    assert np.array_equal(encoder.encode(texts, device=["cpu", "cpu"], **options), expected)
