"""Published numbers to set beside one's own, with their source and its caveats."""

GLUE_SOURCE = (
    "Published rows: arXiv 2311.10770, table 1, by their authors' scripts on the development sets; "
    "BERT-base's are from the test sets. Their models read billions of tokens on a GPU."
)
GLUE_TASKS = ("rte", "mrpc", "stsb", "sst2", "mnli", "qnli", "qqp", "cola")
# Per cent, in the order of the tasks.
_GLUE_VALUES = {
    "BERT-base": (66.4, 88.9, 85.8, 93.5, 83.4, 90.5, 71.2, 51.3),
    "DistilBERT": (59.9, 87.5, 86.9, 91.3, 82.2, 89.2, 71.3, 52.1),
    "crammedBERT-4095": (57.6, 89.1, 85.9, 91.9, 81.3, 90.9, 87.6, 47.9),
    "UltraFastBERT-3072x0": (56.7, 88.9, 86.3, 92.3, 82.9, 92.3, 88.0, 48.4),
    "UltraFastBERT-1x11": (57.8, 88.1, 86.1, 89.7, 80.2, 89.3, 87.1, 37.1),
    "UltraFastBERT-1x11-long": (60.7, 87.5, 86.4, 89.9, 81.3, 89.7, 87.6, 35.1),
}
GLUE = {model: dict(zip(GLUE_TASKS, values, strict=True)) for model, values in _GLUE_VALUES.items()}

LAYER_SPEED_OF = ("1x11", 768)  # family, hidden size
# Implementation -> times faster than the dense layer of 4095 neurons written with the same
# routines, and than dense level 3, the fastest there on CPUs.
LAYER_SPEED = {
    "fff blas1 float32": ("130.7x (CPU)", "48x (CPU)"),
    "fff blas2 float32": ("255.1x (CPU)", "78x (CPU)"),
    "fff gather float32": ("39.45x (GPU)", "-"),
    "fff native float32": ("117.83x (GPU, naive CUDA)", "-"),
}
LAYER_SPEED_SOURCE = (
    "Published: arXiv 2311.10770, table 2, one layer, 128 x 128 tokens, other machines. The "
    "released CPU code does not compute the layer: level 2 reads and writes one row for all tokens "
    "and leaves out the activation, level 1 reads its output as weights, and weights are never "
    "initialised."
)

STATIC_COLUMNS = ("STS (MTEB)", "retrieval (MTEB)", "speed on a CPU")
STATIC = {
    "all-MiniLM-L6-v2": ("78.95", "42.92", "1x"),
    "potion-base-32M, static": ("73.93", "32.67", "35x"),
}
STATIC_SOURCE = (
    "Published: results of model2vec (github.com/MinishLab/model2vec); the speed is that of texts "
    "classified, beside a classifier on MiniLM. Static embeddings look up a vector for each token "
    "and take the mean: no attention, no FF layers. They are the better choice where many times "
    "the throughput is worth 5 points of similarity and 10 of retrieval: deduplication, a first "
    "filter, features of a classifier, devices without room for a Transformer. Where the order of "
    "words counts, and for search, they are not."
)
