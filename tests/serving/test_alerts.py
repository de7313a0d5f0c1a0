"""Alert rules and dashboard: they ask for metrics that the server exports, and lead to chapters that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from serving.app import App
from serving.scheduling.events import StreamEvent
from tests.serving.fakes import fake_vocoder

OWN = re.compile(r"\bseqgen[_:][a-z0-9_:]+")
LABELS = re.compile(r"\{([^}]*)\}")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Names of the samples that a server exports, each with its labels."""
    app = App(fake_vocoder(), threads=1)
    metrics = app.metrics
    lease = SimpleNamespace(model=fake_vocoder(), closed=False)
    metrics.record(lease, StreamEvent((0, 0), b"", seconds=1.0, first=0.01, lead=0.1))
    metrics.answered("/v1/vocode", 200)
    metrics.reloaded(["keys"])
    app.connections.dropped["idle"] += 1
    found: dict[str, set[str]] = {}
    for line in metrics.text().splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"([a-z0-9_]+)(?:\{(.*)\})? ", line).groups()
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


@pytest.fixture(scope="module")
def rules(repository: Path) -> list[dict]:
    groups = yaml.safe_load((repository / "serving" / "deploy" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> dict:
    return json.loads((repository / "serving" / "deploy" / "grafana.json").read_text())


def asked(dashboard: dict) -> list[str]:
    """Expressions of a dashboard, as Prometheus is asked them."""
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = {"$__rate_interval": "5m", "$job": "seqgen-serve", "$instance": ".*"}
    for name, value in variables.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def strange(expression: str, exported: dict[str, set[str]], recorded: set[str]) -> list[str]:
    """What an expression asks for that nobody exports: names, and labels of a name."""
    found = []
    for match in OWN.finditer(expression):
        name = match.group()
        if name in recorded:
            continue
        if name not in exported:
            found.append(name)
            continue
        selector = LABELS.match(expression, match.end())
        labels = set(re.findall(r"(\w+)\s*[=!]", selector.group(1))) if selector else set()
        found += [f"{name}: {label}" for label in labels - exported[name] - {"job", "instance", "le"}]
    return found


def test_metrics_that_nobody_exports_are_seen(exported):
    assert strange("rate(seqgen_strems_total[5m])", exported, set()) == ["seqgen_strems_total"]
    assert strange('seqgen_slots_free{voice="a"}', exported, set()) == ["seqgen_slots_free: voice"]
    assert strange('rate(seqgen_requests_total{status="507",job="x"}[5m])', exported, set()) == []


def test_rules_and_panels_ask_for_what_the_server_exports(rules, dashboard, exported):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    expressions = [rule["expr"] for rule in rules] + asked(dashboard)
    assert [one for expression in expressions for one in strange(expression, exported, recorded)] == []
    assert all(OWN.search(expression) or "up{" in expression for expression in expressions)


def test_grouping_is_by_labels_that_there_are(rules, dashboard, exported):
    known = {"job", "instance", "le"} | set().union(*exported.values())
    for expression in [rule["expr"] for rule in rules] + asked(dashboard):
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            assert set(re.findall(r"\w+", labels)) <= known


def test_legends_and_summaries_show_labels_that_there_are(rules, dashboard, exported):
    known = {"job", "instance", "le"} | set().union(*exported.values())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known
    for rule in rules:
        shown = rule.get("annotations", {}).get("summary", "")
        assert set(re.findall(r"\$labels\.(\w+)", shown)) <= known


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as its readers make them."""
    titles = re.findall(r"(?m)^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_alert_leads_to_a_chapter_of_the_runbook(rules, repository):
    for rule in (rule for rule in rules if "alert" in rule):
        assert rule["labels"]["severity"] in ("critical", "warning")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors((repository / page).read_text()), rule["alert"]


def test_the_runbook_leads_to_its_own_chapters(repository):
    text = (repository / "docs" / "runbook.md").read_text()
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(text)


def test_the_autoscaler_goes_by_a_rule_that_there_is(rules, repository):
    manifest = (repository / "serving" / "deploy" / "kubernetes.yaml").read_text()
    recorded = {rule["record"] for rule in rules if "record" in rule}
    (series,) = set(re.findall(r"seqgen:[a-z_:]+", manifest))
    assert series in recorded
    (scaler,) = (one for one in yaml.safe_load_all(manifest) if one["kind"] == "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f"name: {{as: {name}}}" in manifest


def test_panels_do_not_lie_on_each_other(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_prometheus_understands_rules_and_panels(repository, dashboard, tmp_path):
    panels = tmp_path / "panels.yaml"
    rows = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked(dashboard))]
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rows}]}))
    rules = repository / "serving" / "deploy" / "alerts.yaml"
    command = ["promtool", "check", "rules", str(rules), str(panels)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_prometheus_understands_the_metrics():
    metrics = App(fake_vocoder(), threads=2).metrics
    metrics.answered("/v1/vocode", 200)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.text(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
