"""Where the FF layers of dense models sit, and the same models with other FF layers.

The classes of converted models, such as `ConvertedBertModel`, are attributes of this module, so
that they are pickled by name; `model` makes them when they are first needed.
"""

from importlib import import_module


def __getattr__(name: str) -> type:
    """Return a class of converted models by its name, see `model.class_of_name`.

    Raises AttributeError for names of no such class.
    """
    if not name.startswith("Converted"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.model").class_of_name(name)
