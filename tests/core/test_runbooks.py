"""Each alert has a runbook."""

import re
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_each_alert_has_a_runbook_and_no_runbook_is_of_an_alert_that_is_gone() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text()))
    titles = re.findall(r"^## (.+)$", (DEPLOY / "runbooks" / "README.md").read_text(), re.MULTILINE)
    named = {word for title in titles for word in title.split(", ") if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", word)}
    assert alerts
    assert named == alerts
