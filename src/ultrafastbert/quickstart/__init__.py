"""First results in minutes: a model trained beside its controls, or a trained one made fast."""

from typing import TYPE_CHECKING

from ultrafastbert.imports.lazy import lazy_names

if TYPE_CHECKING:
    from ultrafastbert.quickstart.convert import quickstart_convert
    from ultrafastbert.quickstart.pretrain import QuickstartConfig, quickstart
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {"convert": ["quickstart_convert"], "pretrain": ["QuickstartConfig", "quickstart"]},
    )

__all__ = ["QuickstartConfig", "quickstart", "quickstart_convert"]
