"""Names of a package that are imported when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from ultrafastbert.imports.extras import name_extra
from ultrafastbert.imports.moved import moved_to


def lazy_names(
    package: str, names: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Args:
        package: its full name.
        names: the names that each module has, such as {"fff.layer": ["FastFeedForward"]}; modules
            are named as seen from the package.
        modules: modules of the package that are attributes of it, too.
    """
    places = {name: module for module, found in names.items() for name in found}
    modules = frozenset(modules)

    def get(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in places:
            full = f"{package}.{name}"
            raise AttributeError(
                moved_to(full) or f"module {package!r} has no attribute {name!r}",
                name=name,
                obj=sys.modules[package],
            )
        try:
            value = getattr(import_module(f"{package}.{places[name]}"), name)
        except ModuleNotFoundError as error:
            raise name_extra(error) from error
        setattr(sys.modules[package], name, value)  # the next use finds it at once
        return value

    def names_of_package() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places, *modules})

    return get, names_of_package
