"""Options in the `config.json` of a published model, checked as they are read."""

from collections.abc import Mapping
from typing import Any


class Options:
    """A mapping of options; `name` is what error messages call it.

    Every reader raises ValueError, which names the option and its value, for one that is missing or
    of the wrong kind.
    """

    def __init__(self, name: str, values: Any):
        if not isinstance(values, Mapping):
            raise ValueError(f"config.json has no mapping {name!r} of options")
        self.name, self.values = name, values

    def section(self, name: str) -> "Options":
        """Return the options of a mapping within this one."""
        return Options(f"{self.name}.{name}", self.values.get(name))

    def check(self, name: str, allowed: tuple[Any, ...]) -> None:
        """Raise ValueError unless an option is absent or has one of the values."""
        value = self.values.get(name, allowed[0])
        if not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed
        ):
            raise ValueError(
                f"config.json: {self.name}.{name}={value!r} is not supported, only {allowed[0]!r}"
            )

    def integer(self, name: str, least: int = 1) -> int:
        """Return a whole number from `least` to 2^31 - 1."""
        value = self._present(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise self._wrong(name, value, f"a whole number from {least}")
        return value

    def number(self, name: str) -> float:
        """Return a number of at least 0; False counts as 0."""
        value = self._present(name)
        if value is False:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise self._wrong(name, value, "a number of at least 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._present(name)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._present(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def choice(self, name: str, choices: Mapping[str, Any]) -> str:
        """Return one of the texts."""
        value = self.text(name)
        if value not in choices:
            raise self._wrong(name, value, f"one of {', '.join(choices)}")
        return value

    def _present(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"config.json has no {self.name}.{name}")
        return self.values[name]

    def _wrong(self, name: str, value: Any, wanted: str) -> ValueError:
        return ValueError(f"config.json: {self.name}.{name}={value!r} must be {wanted}")
