"""Made-up sentences of few words."""

NOUNS = ["tree", "leaf", "node", "path", "token", "layer", "neuron", "weight", "model", "kernel"]
VERBS = ["visits", "skips", "reads", "writes", "finds", "loses", "keeps"]
ADJECTIVES = ["small", "fast", "dense", "sparse", "deep", "wide"]


def sentence(generator):
    a, b = generator.sample(NOUNS, 2)
    return (
        f"The {generator.choice(ADJECTIVES)} {a} {generator.choice(VERBS)} the "
        f"{generator.choice(ADJECTIVES)} {b}."
    )
