"""Reports: result rows -> tables, figures and pages."""

from typing import TYPE_CHECKING

from ultrafastbert.imports.lazy import lazy_names

# By name, since tables need no library of the extra `report`, but figures do.
if TYPE_CHECKING:
    from ultrafastbert.report.answer import answers
    from ultrafastbert.report.model_card import write_model_card
    from ultrafastbert.report.results import update_results
    from ultrafastbert.report.write import write_report
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "answer": ["answers"],
            "model_card": ["write_model_card"],
            "results": ["update_results"],
            "write": ["write_report"],
        },
    )

__all__ = ["answers", "update_results", "write_model_card", "write_report"]
