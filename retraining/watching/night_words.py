"""What became of a night in one line, as the command, and the digest, say it."""

from headlines.display import harmless
from lineage import Check, NightReport


def tell_night(report: NightReport) -> str:
    """The night's drop, the reason of its verdict, and every check that it did not pass."""
    failed = [_explain(check) for check in report.checks if not check.passed]
    checks = f" ({'; '.join(failed)})" if failed else ""
    return f"{_tell_drop(report)}{harmless(report.why or report.state).strip()}{checks}"


def _tell_drop(report: NightReport) -> str:
    if report.drop_version is None:
        return ""
    drop = f"drop v{report.drop_version}"
    if report.rows_used is not None:
        drop += f", {report.rows_used} of {report.rows_in} rows used"
    if report.rows_quarantined is not None:
        drop += f", {report.rows_quarantined} quarantined"
    return f"{drop}: "


def _explain(check: Check) -> str:
    value = "no value" if check.value is None else f"{check.value:.3f}"
    interval = "" if check.low is None else f" [{check.low:.3f}, {check.high:.3f}]"
    return f"{check.name} {value}{interval}, must be {check.rule}"
