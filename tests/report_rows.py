"""Made-up result rows of every kind."""

from ultrafastbert.rows import conversion, engines, layers, models, sweep, training
from ultrafastbert.rows.row import Score, Spread

LOSSES = {"fff": 5.5, "ff": 5.0, "ff_active": 5.75, "none": 6.0}

TIMES_US = {
    "fff native float32": 10.0,
    "fff native int8 weights": 5.0,
    "fff blas1 float32": 20.0,
    "fff blas2 float32": 8.0,
    "fff gather float32": 50.0,
    "fff masked float32": 1200.0,
    "dense eager float32": 1000.0,
    "dense packed float32": 500.0,
    "dense blas1 float32": 4000.0,
    "dense blas2 float32": 3000.0,
    "dense blas3 float32": 800.0,
    "dense packed bfloat16": 200.0,
    "ff_active packed bfloat16": 5.0,
}


def layer_case(name, n_tokens=100, threads=1, cache="fresh", depth=11):
    role, implementation, precision = name.split(maxsplit=2)
    return {
        "family": f"1x{depth}",
        "hidden_size": 768,
        "pass_name": "forward",
        "cache": cache,
        "threads": threads,
        "n_tokens": n_tokens,
        "n_active": depth + 1,
        "n_neurons": 2 ** (depth + 1) - 1,
        "n_inputs": 3,
        "distinct_leaves": 1994,
        "n_leaves": 2048,
        "seed": 0,
        "other_load": 0.0,
        "role": role,
        "implementation": implementation,
        "precision": precision,
    }


def layer_rows(n_tokens=100, threads=1, cache="fresh", kind=layers.LayerRow, depth=11):
    rows = []
    for name, micros in TIMES_US.items():
        is_fast = name.startswith("fff ")
        rows.append(
            kind(
                **layer_case(name, n_tokens, threads, cache, depth),
                latency_us=micros * n_tokens,
                latency_us_low=micros * n_tokens * 0.9,
                latency_us_high=micros * n_tokens * 1.1,
                us_per_token=micros,
                rounds=5,
                calls=1,
                fastest_dense="dense packed bfloat16",
                speedup_over={
                    other: Spread(0.9 * t / micros, t / micros, 1.1 * t / micros)
                    for other, t in TIMES_US.items()
                    if other != name
                },
                roofline_us=4.0 if is_fast else None,
                roofline_fraction=4.0 / micros if is_fast else None,
            )
        )
    return rows


def skipped_row(name="fff masked float32", reason="its activations would need more than 2 GiB"):
    return layers.SkippedRow(**layer_case(name), benchmark="layer", reason=reason)


def width_rows():
    return [row for depth in (3, 14, 15) for row in layer_rows(kind=layers.WidthRow, depth=depth)]


def machine_rows():
    rates = ("fma", "l2_bytes", "llc_bytes", "dram_bytes", "write_bytes")
    speeds = {f"{rate}_per_s": 10.0**9 * (i + 1) for i, rate in enumerate(rates)}
    sizes = {"l2_bytes": 2**20, "llc_bytes": 2**25}
    return [layers.MachineRow(threads=threads, **sizes, **speeds) for threads in (1, 2)]


def model_rows():
    speeds = {"fff": 4.0, "fff_masked": 30.0, "ff": 20.0, "ff_active": 3.0, "none": 2.0}
    return [
        models.ModelRow(
            family="1x11",
            hidden_size=768,
            num_hidden_layers=16,
            vocab_size=100,
            pass_name="forward",
            batch=1,
            sequence=128,
            n_tokens=128,
            threads=2,
            seed=0,
            other_load=0.0,
            variant=variant,
            implementation="eager",
            precision="float32",
            ffn="1x11",
            n_active=12,
            n_neurons=4095,
            n_parameters=1000,
            latency_ms=ms,
            latency_ms_low=ms * 0.9,
            latency_ms_high=ms * 1.1,
            tokens_per_s=128e3 / ms,
            rounds=5,
            calls=1,
            fastest_dense="ff eager float32",
            speedup_over={
                f"{other} eager float32": Spread(t / ms, t / ms, t / ms)
                for other, t in speeds.items()
                if other != variant
            },
        )
        for variant, ms in speeds.items()
    ]


def pretrain_rows(names=LOSSES, seeds=(0, 1, 2)):
    return [
        training.PretrainRow(
            name=name,
            ffn="1x11" if name == "fff" else name,
            n_active=12,
            n_neurons=4095,
            n_parameters=12_300_000,
            hidden_size=256,
            num_hidden_layers=4,
            tokens=6_000_000,
            steps=1000,
            seed=seed,
            validation_loss=LOSSES[name] + 0.01 * (seed - 1),
            validation_accuracy=0.3,
            tokens_per_s=5000.0,
            seconds=1200.0,
        )
        for name in names
        for seed in seeds
    ]


def curve_rows():
    return [
        training.PretrainCurveRow(
            name=name, seed=0, step=t, tokens=1000 * t, loss=9 - t / 10, learning_rate=1e-3
        )
        for name in ("fff", "other")
        for t in range(1, 20)
    ]


def task_fields(task, value, seed=0, model="ours", metric="accuracy", subset=False):
    return {
        "model": model,
        "model_dir": model,
        "model_digest": "0",
        "task": task,
        "seed": seed,
        "n_train": 10,
        "n_validation": 10,
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 2,
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "max_seq_length": 16,
        "dropout": 0.1,
        "bf16": False,
        "metric": metric,
        "value": value,
        "metrics": {metric: value},
        "subset": subset,
        "seconds": 1.0,
        "train_tokens": 100,
        "n_parameters": 1000,
    }


def glue_row(task, value, **options):
    extra = {"majority_accuracy": options.pop("majority_accuracy", None)}
    return training.GlueRow(**task_fields(task, value, **options), **extra)


def glue_rows(task="rte", subset=False):
    return [glue_row(task, 55.0 + seed, seed=seed, subset=subset) for seed in (0, 1, 2)]


def encoder_times(ms):
    speedup = Spread(1.9, 2.0, 2.1)
    return {
        "latency_text_ms": ms,
        "latency_batch_ms": 10 * ms,
        "speedup_text": speedup,
        "speedup_batch": speedup,
        "other_load_text": 0.0,
        "other_load_batch": 0.0,
    }


def sweep_row(ffn, ms, fvu, score):
    times = encoder_times(ms) | {
        "latency_batch_ms": 8 * ms,
        "speedup_text": Spread(9 / ms, 10 / ms, 11 / ms),
        "speedup_batch": Spread(1.0, 20 / ms, 3.0),
    }
    return sweep.ConvertSweepRow(
        candidates=("1x2",),
        tokens=1000,
        max_length=16,
        steps=5,
        batch_tokens=64,
        seed=0,
        ffn=tuple(ffn),
        predicted_ms=ms,
        summed_error=fvu,
        fvu_states=fvu,
        scores=(Score("stsb", "validation", "spearman", score),),
        **times,
    )


def sweep_rows():
    return [
        sweep_row([None] * 3, 10.0, 0.0, 87.0),
        sweep_row(["1x2"] * 3, 5.0, 0.3, 80.0),
        sweep_row([None, "1x2", "1x2"], 5.0, 0.123, 85.5),
        sweep.ConvertChoiceRow(ffn=(None, "1x2", "1x2")),
    ]


def converted_curve_rows():
    return [
        conversion.ConvertCurveRow(
            model=model,
            ffn=ffn,
            seed=0,
            step=step,
            metrics={
                "fvu_states": (1.0 if ffn == "none" else 0.5) / (1 + step),
                "fvu_logits": 0.5 / (1 + step),
            },
        )
        for model, ffn in (("fff", "1x2"), ("none", "none"))
        for step in (0, 10, 20)
    ]


def converted_row(model, ffn, fvu, seed=0, kind=conversion.ConvertRow, **fields):
    return kind(
        model=model,
        ffn=ffn,
        n_active=None if ffn is None else 5,
        seed=seed,
        metrics={"fvu_states": fvu},
        max_length=16,
        controls=True,
        ablations=False,
        dense_widths=(),
        tasks=(),
        **fields,
    )


def converted_layer_row(**fields):
    defaults = {"model": "fff", "layer": 0, "ffn": "1x2", "n_active": 3, "fvu": 0.5}
    defaults |= {"steps": 5, "batch_tokens": 64, "learning_rate": 1e-3, "split": "principal"}
    defaults |= {"routing_learning_rate": 1e-3, "seed": 0}
    return conversion.ConvertLayerRow(**(defaults | fields))


def converted_rows():
    def row(model, ffn, fvu, score, seed):
        scores = (Score("stsb", "test", "spearman", score),)
        run = {"original": "dense", "run_ffn": "1x2"}
        return converted_row(model, ffn, fvu, seed, scores=scores, **run)

    return [
        *(row("fff", "1x2", 0.25, 81.0 + seed, seed) for seed in (0, 1)),
        *(row("none", "none", 0.5, 80.0, seed) for seed in (0, 1)),
        row("teacher", None, 0.0, 83.0, None),
    ]


def speed_row(model, text_ms, **fields):
    ratios = {
        "speedup_text_over_fastest": Spread(1.9, 2.0, 2.1),
        "speedup_batch_over_fastest": Spread(1.4, 1.5, 1.6),
    }
    defaults = {"started": "10:00", "implementation": "eager", "precision": "float32"}
    defaults |= {"weight_dtype": "float32", "cosine_text": 1.0, "cosine_batch": 1.0}
    return models.ConvertSpeedRow(
        model=model, **encoder_times(text_ms), **ratios, **(defaults | fields)
    )


def speed_rows():
    run = {"original": "dense", "run_ffn": "1x2"}
    onnx = run | {"implementation": "ONNX Runtime", "precision": "int8"}
    return [
        speed_row("fff", 4.0, **run),
        speed_row("fff_int8", 3.0, weight_dtype="int8", **run),
        speed_row("none", 2.0, **run),
        speed_row("teacher", 9.0, **run),
        speed_row("fff", 8.0, **onnx),
        speed_row("teacher", 6.0, **onnx),
    ]


# Variant, engine, precision, operator -> milliseconds of a call.
WAYS_MS = {
    ("fff", "PyTorch", "float32", None): 40.0,
    ("fff", "ONNX Runtime", "int8", "native"): 10.0,
    ("fff", "ONNX Runtime", "int8", "standard"): 50.0,
    ("ff", "PyTorch", "float32", None): 80.0,
    ("ff", "ONNX Runtime", "int8", "native"): 25.0,
    ("ff", "OpenVINO", "int8", "standard"): 20.0,
    ("ff_active", "ONNX Runtime", "int8", "native"): 9.5,
    ("none", "ONNX Runtime", "int8", "native"): 9.0,
}


def engine_case(way, model, load, **fields):
    variant, engine, precision, operator = way
    return {
        "started": "now",
        "model": model,
        "run_ffn": "1x6x40",
        "load": load,
        "threads": 1,
        "variant": variant,
        "ffn": "1x6x40" if variant == "fff" else "original",
        "engine": engine,
        "precision": precision,
        "operator": operator,
        **fields,
    }


def engine_row(way, ms, model="bert-base", load="1x128", **fields):
    return engines.EngineRow(
        **engine_case(way, model, load, **fields),
        n_texts=1,
        n_tokens=128,
        latency_ms=ms,
        latency_ms_low=0.9 * ms,
        latency_ms_high=1.1 * ms,
        latency_ms_p99=2 * ms,
        first_ms=5 * ms,
        texts_per_s=1e3 / ms,
        tokens_per_s=128e3 / ms,
        rounds=3,
        calls=1,
        import_s=0.25,
        load_s=0.5,
        peak_bytes=2**28,
        file_bytes=30_000_000,
        cores_used=1.0,
        cosine=0.999,
        cosine_least=0.99,
        other_load=0.0,
        speed_over_none=Spread(8.0 / ms, 9.0 / ms, 10.0 / ms),
        speed_over_original=Spread(19.0 / ms, 20.0 / ms, 21.0 / ms),
    )


def engine_rows(**fields):
    return [engine_row(way, ms, **fields) for way, ms in WAYS_MS.items()]


def engine_skipped_row(way=("ff", "OpenVINO", "int8", "standard"), reason="not installed: nncf"):
    return engines.EngineSkippedRow(**engine_case(way, "bert-base", "1x128"), reason=reason)


def all_rows():
    return [
        *layer_rows(),
        *layer_rows(1000),
        *layer_rows(1000, cache="cold"),
        *width_rows(),
        *machine_rows(),
        *model_rows(),
        *pretrain_rows(),
        *curve_rows(),
        *glue_rows(),
        *glue_rows("sst2", subset=True),
        *sweep_rows(),
        *converted_curve_rows(),
        *converted_rows(),
        *speed_rows(),
        glue_row("library", 61.0, majority_accuracy=0.05),
    ]
