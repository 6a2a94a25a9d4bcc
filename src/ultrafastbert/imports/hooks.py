"""Calls that follow the import of a module, whoever imports it.

By them operators and models are registered as soon as torch and transformers are there, and
`import ultrafastbert` waits for neither.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from threading import get_ident
from types import ModuleType
from typing import Any

Call = Callable[[], object]

OPERATORS = "ultrafastbert.fff.layer"
# What the operators consist of. A module of these may be what imports torch: then it is not
# complete when torch is, and the operators are registered once it is.
OF_OPERATORS = ("ultrafastbert.fff.", "ultrafastbert.kernels")


class _Hooks:
    """Finds modules as the other finders do, and follows the execution of some.

    It stays in `sys.meta_path`, so that calls follow `importlib.reload` as well.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self.executing: list[str] = []
        self.finding: set[tuple[int, str]] = set()  # other finders may ask all finders, too

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return the spec that the other finders give, with a loader that calls; None for most."""
        key = get_ident(), fullname
        is_followed = fullname in self.calls or fullname.startswith(OF_OPERATORS)
        if not is_followed or key in self.finding:
            return None
        self.finding.add(key)
        try:
            finders = (each for each in sys.meta_path if hasattr(each, "find_spec"))
            specs = (each.find_spec(fullname, path, target) for each in finders)
            spec = next((each for each in specs if each is not None), None)
        finally:
            self.finding.remove(key)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = _Loader(spec.loader, self)
            spec.loader = loader
        return spec

    def executed(self, name: str) -> None:
        """Make the calls that follow a module."""
        for call in self.calls.get(name, ()):
            call()
        if name.startswith(OF_OPERATORS):
            register_operators()


class _Loader:
    """The loader that a module has anyway, followed by calls."""

    def __init__(self, loader: Any, hooks: _Hooks):
        self.loader, self.hooks = loader, hooks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then make the calls."""
        # `inspect` and `importlib.resources` ask a module's loader for more than this one has.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.hooks.executing.append(module.__name__)
        try:
            self.loader.exec_module(module)
        finally:
            self.hooks.executing.remove(module.__name__)
        self.hooks.executed(module.__name__)


_hooks = _Hooks()


def after_import(name: str, call: Call) -> None:
    """Make a call whenever a module has been imported or reloaded; at once if it is there already.

    The call comes before any other thread gets the module from its import. It must not import what
    may be importing that module.
    """
    if _hooks not in sys.meta_path:
        sys.meta_path.insert(0, _hooks)
    calls = _hooks.calls.setdefault(name, [])
    if call not in calls:  # this package may be reloaded
        calls.append(call)
    if name in sys.modules:
        import_module(name)  # waits where another thread is importing it
        call()


def register_operators() -> None:
    """Register `torch.ops.ultrafastbert` if torch is there, and all that the operators need."""
    if "torch" in sys.modules and not any(map(_is_of_operators, _hooks.executing)):
        import_module(OPERATORS)


def _is_of_operators(name: str) -> bool:
    return name.startswith(OF_OPERATORS)
