"""The metrics, and the page that explains them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.metered import Census
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.web.hub import Stats
from tests.clock import FakeClock

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
LABELS = {"source", "code", "result", "version", "method", "route", "status"}

Row = tuple[str, str, tuple[str, ...]]


def own() -> Iterator[Row]:
    """Name, type and labels of what `Metrics` holds."""
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            kind = type(metric).__name__.lower()
            yield f"{metric._name}_total" if kind == "counter" else metric._name, kind, tuple(metric._labelnames)


def asked() -> Iterator[Row]:
    """Of what is counted elsewhere and collected on request."""
    for family in Census(Stats, {}, FakeClock()).collect():
        labels = tuple(getattr(family, "_labelnames", ()))
        yield f"{family.name}_total" if family.type == "counter" else family.name, family.type, labels


def web() -> Iterator[Row]:
    """Of what the web side registers, as its source says."""
    for file in (ROOT / "gateway" / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                continue
            first = node.args[0]
            name = str(first.value) if isinstance(first, ast.Constant) else ""
            if name.startswith("presence_gateway_"):
                kind = node.func.id.lower()
                labels = ast.literal_eval(node.args[2]) if len(node.args) > 2 else ()
                yield f"{name}_total" if kind == "counter" else name, kind, tuple(labels)


def test_every_metric_is_in_the_docs_and_no_other() -> None:
    """Name, type and labels of docs/metrics.md are those of the product."""
    rows = re.findall(r"(?m)^\| `(presence_gateway_\w+)` \| (\w+) \| ([^|]*) \| [A-Z]", PAGE.read_text())
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == {*own(), *asked(), *web()}


def test_no_label_names_a_person() -> None:
    """Series stay as few as there are sources, codes and routes, and nobody's name leaves by this door."""
    assert {label for _, _, labels in (*own(), *asked(), *web()) for label in labels} <= LABELS


def test_two_registries_do_not_meet() -> None:
    """Every gateway in one process (as in tests) counts for itself."""
    one, two = Metrics(), Metrics()
    one.composed.inc(3)
    assert one.registry.get_sample_value("presence_gateway_composed_total") == 3
    assert two.registry.get_sample_value("presence_gateway_composed_total") == 0


def test_the_page_is_what_prometheus_reads() -> None:
    """Rendered text parses back, with a help text for each metric and the process's own numbers beside ours."""
    metrics = Metrics()
    metrics.fetch.labels("hq").observe(0.2)
    metrics.fetch_errors.labels("hq", "net.reset").inc()
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert families["presence_gateway_fetch_seconds"].type == "histogram"
    assert all(family.documentation for name, family in families.items() if name.startswith("presence_gateway_"))
    assert "process_resident_memory_bytes" in families
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
