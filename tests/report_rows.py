"""Made-up result rows of every kind."""

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


def layer_rows(n_tokens=100, threads=1, cache="fresh", kind="layer", depth=11):
    rows = []
    for name, micros in TIMES_US.items():
        role, implementation, precision = name.split(maxsplit=2)
        rows.append(
            {
                "kind": kind,
                "family": f"1x{depth}",
                "hidden_size": 768,
                "pass": "forward",
                "cache": cache,
                "threads": threads,
                "n_tokens": n_tokens,
                "n_active": depth + 1,
                "n_neurons": 2 ** (depth + 1) - 1,
                "contestant": name,
                "role": role,
                "implementation": implementation,
                "precision": precision,
                "latency_us": micros * n_tokens,
                "latency_us_low": micros * n_tokens * 0.9,
                "latency_us_high": micros * n_tokens * 1.1,
                "us_per_token": micros,
                "distinct_leaves": 1994,
                "n_leaves": 2048,
                "fastest_dense": "dense packed bfloat16",
                "speedup_over": {
                    other: [0.9 * t / micros, t / micros, 1.1 * t / micros]
                    for other, t in TIMES_US.items()
                    if other != name
                },
                **({"floor_us": 4.0, "share_of_floor": 4.0 / micros} if role == "fff" else {}),
            }
        )
    return rows


def older(rows):
    """The same rows, as they were before caches had a choice and floors were computed."""
    later = ("cache", "floor_us", "share_of_floor")
    return [{k: v for k, v in row.items() if k not in later} for row in rows]


def width_rows():
    return [row for depth in (3, 14, 15) for row in layer_rows(kind="width", depth=depth)]


def machine_rows():
    rates = ("multiply_adds", "l2_bytes", "llc_bytes", "dram_bytes", "write_bytes")
    speeds = {f"{rate}_per_s": 10.0**9 * (i + 1) for i, rate in enumerate(rates)}
    return [{"kind": "machine", "threads": threads, **speeds} for threads in (1, 2)]


def model_rows():
    speeds = {"fff": 4.0, "fff_masked": 30.0, "ff": 20.0, "ff_active": 3.0, "none": 2.0}
    return [
        {
            "kind": "model",
            "family": "1x11",
            "hidden_size": 768,
            "num_hidden_layers": 16,
            "pass": "forward",
            "batch": 1,
            "sequence": 128,
            "n_tokens": 128,
            "threads": 2,
            "contestant": f"{variant} eager float32",
            "variant": variant,
            "implementation": "eager",
            "precision": "float32",
            "n_active": 12,
            "n_neurons": 4095,
            "latency_ms": ms,
            "latency_ms_low": ms * 0.9,
            "latency_ms_high": ms * 1.1,
            "tokens_per_s": 128e3 / ms,
            "fastest_dense": "ff eager float32",
            "speedup_over": {
                f"{other} eager float32": [t / ms] * 3
                for other, t in speeds.items()
                if other != variant
            },
        }
        for variant, ms in speeds.items()
    ]


def pretrain_rows(names=LOSSES, seeds=(0, 1, 2)):
    return [
        {
            "kind": "pretrain",
            "name": name,
            "ffn": "1x11" if name == "fff" else name,
            "n_active": 12,
            "n_neurons": 4095,
            "n_parameters": 12_300_000,
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "tokens": 6_000_000,
            "seed": seed,
            "validation_loss": LOSSES[name] + 0.01 * (seed - 1),
            "validation_accuracy": 0.3,
            "tokens_per_s": 5000.0,
        }
        for name in names
        for seed in seeds
    ]


def curve_rows():
    return [
        {"kind": "pretrain_curve", "name": name, "seed": 0, "tokens": 1000 * t, "loss": 9 - t / 10}
        for name in ("fff", "other")
        for t in range(1, 20)
    ]


def glue_rows(task="rte", subset=False):
    return [
        {
            "kind": "glue",
            "model": "ours",
            "task": task,
            "metric": "accuracy",
            "value": 55.0 + seed,
            "seed": seed,
            "subset": subset,
        }
        for seed in (0, 1, 2)
    ]


def sweep_rows():
    def row(ffn, ms, unexplained, score):
        return {
            "kind": "convert_sweep",
            "ffn": ffn,
            "predicted_ms": ms,
            "latency_text_ms": ms,
            "latency_batch_ms": 8 * ms,
            "speedup_text": [9 / ms, 10 / ms, 11 / ms],
            "speedup_batch": [1.0, 20 / ms, 3.0],
            "unexplained_states": unexplained,
            "stsb_validation_spearman": score,
        }

    return [
        row([None] * 3, 10.0, 0.0, 87.0),
        row(["1x2"] * 3, 5.0, 0.3, 80.0),
        row([None, "1x2", "1x2"], 5.0, 0.123, 85.5),
        {"kind": "convert_choice", "ffn": [None, "1x2", "1x2"]},
    ]


def converted_curve_rows():
    return [
        {
            "kind": "convert_curve",
            "model": model,
            "ffn": ffn,
            "seed": 0,
            "step": step,
            "unexplained_states": (1.0 if ffn == "none" else 0.5) / (1 + step),
            "unexplained_logits": 0.5 / (1 + step),
        }
        for model, ffn in (("fff", "1x2"), ("none", "none"))
        for step in (0, 10, 20)
    ]


def all_rows():
    library = {"kind": "glue", "task": "library", "model": "ours", "value": 61.0, "seed": 0}
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
        {**library, "majority_accuracy": 0.05},
    ]
