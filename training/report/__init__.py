"""What a run leaves behind, and how it is shown: report.json for machines, the rest for people.

    record      every figure of a run, and its file     found        which report is meant
    terminal    tables in a terminal                    page         one HTML file
    sections    what the page says, part by part        charts       its drawings
    comparison  two runs side by side                   browser      opens a page

Whatever shows a run reads it from the record alone, so a page can be made again for any run.
"""

from training.report.record import RunReport, read_report, write_report
from training.report.terminal import print_report

__all__ = ["RunReport", "print_report", "read_report", "write_report"]
