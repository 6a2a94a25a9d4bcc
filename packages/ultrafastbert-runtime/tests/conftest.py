import random

import pytest
from tiny import WORDS, write_folder
from ultrafastbert_runtime import Encoder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of an encoder with the mean of its tokens."""
    return write_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def encoder(folder):
    return Encoder(folder, threads=1)


@pytest.fixture(scope="session")
def texts():
    """Texts of mixed lengths, also empty and longer than the model reads."""
    draw = random.Random(0)
    lengths = [0, 1, *(draw.randint(1, 30) for _ in range(200)), 60, 39, 38, 37]
    return [" ".join(draw.choices(WORDS, k=n)) for n in lengths]
