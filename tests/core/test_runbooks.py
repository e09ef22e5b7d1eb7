"""Each alert has a runbook, and the chart knows its values."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_each_alert_has_a_runbook_and_no_runbook_is_of_an_alert_that_is_gone() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text()))
    titles = re.findall(r"^## (.+)$", (DEPLOY / "runbooks" / "README.md").read_text(), re.MULTILINE)
    named = {word for title in titles for word in title.split(", ") if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", word)}
    assert alerts
    assert named == alerts
    # Each leads to its own, by the anchor that a page of Markdown gives a heading.
    anchors = {word: re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles
               for word in title.split(", ")}  # fmt: skip
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in (one for group in rules for one in group["rules"] if "alert" in one):
        assert rule["annotations"]["runbook"] == f"deploy/runbooks/README.md#{anchors[rule['alert']]}"


def test_a_value_of_the_chart_that_does_not_exist_is_refused_by_name_wherever_it_stands() -> None:
    """Helm holds values against this schema before it makes anything; `make deploy-check` has it do so."""
    chart = DEPLOY / "helm" / "tieline"
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    named = dict(_objects(schema, schema, ()))
    assert len(named) > 15
    assert [path for path, shut in named.items() if not shut and path != ("global",)] == []
    for path in _keys(values, ()):
        assert _known(schema, schema, path), f"{'.'.join(path)} of values.yaml is none of the schema"
    for wrong in (("gatway",), ("gateway", "replica"), ("link", "server"), ("store", "passwrd"), ("outside", "on")):
        assert not _known(schema, schema, wrong)


def _resolved(schema: Any, node: Any) -> Any:
    return schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _objects(schema: Any, node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Each object and whether it refuses what it does not know: by names, or by what a name may stand for."""
    node = _resolved(schema, node)
    if node.get("type") == "object":
        yield path, "additionalProperties" in node and node["additionalProperties"] is not True
        for name, inner in node.get("properties", {}).items():
            yield from _objects(schema, inner, (*path, name))


def _keys(values: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict):
        for name, inner in values.items():
            yield (*path, name)
            yield from _keys(inner, (*path, name))


def _known(schema: Any, node: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        node = _resolved(schema, node)
        inner = node.get("properties", {}).get(name, node.get("additionalProperties", False))
        if inner is False:
            return False
        node = inner if isinstance(inner, dict) else {}
    return True
