"""Reports of evaluations: one HTML file with nothing beside it, of one model or of several side by side.

Made of `Results` and files of predictions alone; the same inputs give the same bytes. `parts`, `summary`,
`radar_chart` and `gallery` own what is shown, `charts` and `bars` how it is drawn, `markup` that data cannot
break the page.
"""

from __future__ import annotations

from evaluation.report.comparison import COMPARISON_NAME, write_comparison
from evaluation.report.gallery import Pictures, Wanted
from evaluation.report.single import REPORT_NAME, write_report

__all__ = [
    "COMPARISON_NAME",
    "REPORT_NAME",
    "Pictures",
    "Wanted",
    "write_comparison",
    "write_report",
]
