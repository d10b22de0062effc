"""Evaluation of tasks: evaluators (`--eval`), and reports with their tables and files.

This folder holds the evaluation of networks at test time. Metrics themselves are in `pcpad.metrics`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.tasks.evaluation.evaluators import Border as Border
    from pcpad.tasks.evaluation.evaluators import Evaluator as Evaluator
    from pcpad.tasks.evaluation.evaluators import Regular as Regular
    from pcpad.tasks.evaluation.evaluators import Tile as Tile
    from pcpad.tasks.evaluation.files import EvaluationFiles as EvaluationFiles
    from pcpad.tasks.evaluation.report import Report as Report
    from pcpad.tasks.evaluation.report import ReportRow as ReportRow

    __all__: list[str]
else:
    from pcpad._lazy import attach

    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Border": "pcpad.tasks.evaluation.evaluators",
            "Evaluator": "pcpad.tasks.evaluation.evaluators",
            "EvaluationFiles": "pcpad.tasks.evaluation.files",
            "Regular": "pcpad.tasks.evaluation.evaluators",
            "Report": "pcpad.tasks.evaluation.report",
            "ReportRow": "pcpad.tasks.evaluation.report",
            "Tile": "pcpad.tasks.evaluation.evaluators",
        },
    )
