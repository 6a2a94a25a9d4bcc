"""Reports: result rows -> tables, figures and pages."""

from ultrafastbert.report.answer import answers
from ultrafastbert.report.model_card import write_model_card
from ultrafastbert.report.results import update_results
from ultrafastbert.report.write import write_report

__all__ = ["answers", "update_results", "write_model_card", "write_report"]
