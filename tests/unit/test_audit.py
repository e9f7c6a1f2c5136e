"""What the audit makes of pip-audit's answers, and that what accepted findings say of our code is so."""

import importlib.util
import re
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TODAY = date(2026, 11, 30)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


audit = load("audit")
ARROW = audit.Accepted("pyarrow", "CVE-2023-47248", "no file of it is read", date(2027, 1, 1))


def answer(*vulns: dict[str, Any]) -> dict[str, Any]:
    """What pip-audit 2.10 writes of a lock with one package."""
    return {"a.lock": {"dependencies": [{"name": "pyarrow", "version": "10.0.1", "vulns": list(vulns)}], "fixes": []}}


FOUND = {"id": "PYSEC-2023-238", "aliases": ["CVE-2023-47248", "GHSA-5wvp-7f3h-6wmm"], "fix_versions": ["14.0.1"]}


def test_a_finding_that_was_accepted_by_any_of_its_names_passes() -> None:
    assert audit.judge(answer(FOUND), [ARROW], TODAY) == (["nothing but what security/accepted.toml accepts (1)"], 0)


def test_a_finding_that_nobody_accepted_fails_and_is_named_with_its_remedy() -> None:
    lines, code = audit.judge(answer(FOUND), [], TODAY)
    assert (lines, code) == (["a.lock: pyarrow 10.0.1 has PYSEC-2023-238, fixed in 14.0.1"], 1)
    other = audit.Accepted("protobuf", "CVE-2023-47248", "of another package", date(2027, 1, 1))
    assert audit.judge(answer(FOUND), [other], TODAY)[1] == 1


def test_an_accepted_finding_that_is_gone_or_whose_day_is_over_fails() -> None:
    assert audit.judge(answer(), [ARROW], TODAY) == (
        ["pyarrow CVE-2023-47248: no longer found, take it out of security/accepted.toml"],
        1,
    )
    lines, code = audit.judge(answer(FOUND), [ARROW], date(2027, 1, 2))
    assert (lines, code) == (["pyarrow CVE-2023-47248: accepted until 2027-01-01, look at it again"], 1)


@pytest.mark.parametrize(
    "unanswered",
    [
        {"a.lock": None},
        {"a.lock": {"dependencies": [], "fixes": []}},
        # What pip-audit writes where the index has no vulnerabilities to tell, beside 'No known vulnerabilities found'.
        {"a.lock": {"dependencies": [{"name": "pyarrow", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}},
    ],
)
def test_no_answer_is_no_good_news_and_no_reason_to_take_an_accepted_one_out(unanswered: dict[str, Any]) -> None:
    lines, code = audit.judge(unanswered, [ARROW], TODAY)
    assert code == 2
    assert "could not ask" in lines[0] and not any("take it out" in line for line in lines)


def test_a_finding_among_packages_that_were_not_answered_for_still_fails() -> None:
    partly = answer(FOUND)
    partly["a.lock"]["dependencies"].append({"name": "tfx", "skip_reason": "Dependency not found on PyPI"})
    assert audit.judge(partly, [], TODAY)[1] == 1


def test_every_accepted_finding_is_of_a_pinned_package_and_says_what_can_be_reached() -> None:
    locks = "\n".join((CHECKOUT / lock).read_text() for lock in audit.LOCKS)
    for finding in audit.read_accepted():
        assert re.search(rf"^{re.escape(finding.package)}==", locks, re.MULTILINE), finding.package
        assert len(finding.reach) > 60 and isinstance(finding.until, date)


def test_a_file_of_accepted_findings_that_lacks_something_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "accepted.toml"
    file.write_text('[[finding]]\npackage = "pyarrow"\nid = "CVE-2023-47248"\n')
    with pytest.raises(ValueError, match="each \\[\\[finding\\]\\] has package, id, reach and until"):
        audit.read_accepted(file)


def test_our_code_reads_neither_files_of_arrow_nor_messages_from_json() -> None:
    """What accepted.toml says of pyarrow and protobuf."""
    rooms = ("dags", "headlines", "lineage", "modules", "plugins", "retraining", "serving", "tfx_components")
    for path in (path for room in rooms for path in (CHECKOUT / room).rglob("*.py")):
        text = path.read_text()
        assert not re.search(
            r"pyarrow\.(parquet|feather|ipc)|read_(parquet|feather)|\bipc\.open_|ReadFromParquet|parquet_executor", text
        ), path
        if path.is_relative_to(CHECKOUT / "serving"):
            assert not re.search(r"json_format\.Parse|\bParseDict\(", text), path
