"""Reports: result rows -> tables, figures and pages."""

from ultrafastbert.report.answer import answers
from ultrafastbert.report.model_card import write_model_card
from ultrafastbert.report.readme import update_readme
from ultrafastbert.report.write import write_report

__all__ = ["answers", "update_readme", "write_model_card", "write_report"]
