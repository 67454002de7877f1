"""The metrics, and the page that explains them."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, Metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def ours(metrics: Metrics) -> list[Metric]:
    """The product's own families."""
    return [family for family in metrics.registry.collect() if family.name.startswith("presence_gateway_")]


def test_every_metric_is_in_the_docs_and_no_other() -> None:
    """Name, type and labels of docs/metrics.md are those of the registry."""
    documented = set(re.findall(r"(?m)^\| `(presence_gateway_\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text()))
    built = set()
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            kind = type(metric).__name__.lower()
            name = f"{metric._name}_total" if kind == "counter" else metric._name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            built.add((name, kind, labels or "none"))
    assert documented == built


def test_no_label_names_a_person() -> None:
    """Series stay as few as there are sources and codes, and nobody's name leaves by this door."""
    labels = {label for metric in vars(Metrics()).values() for label in getattr(metric, "_labelnames", ())}
    assert labels == {"source", "code", "result", "version"}


def test_two_registries_do_not_meet() -> None:
    """Every gateway in one process (as in tests) counts for itself."""
    one, two = Metrics(), Metrics()
    one.frames.inc(3)
    assert one.registry.get_sample_value("presence_gateway_frames_total") == 3
    assert two.registry.get_sample_value("presence_gateway_frames_total") == 0


def test_the_page_is_what_prometheus_reads() -> None:
    """Rendered text parses back, with a help text for each of our metrics and the process's own numbers beside them."""
    metrics = Metrics()
    metrics.fetch.labels("hq").observe(0.2)
    metrics.fetch_errors.labels("hq", "net.reset").inc()
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert families["presence_gateway_fetch_seconds"].type == "histogram"
    assert all(families[family.name].documentation for family in ours(metrics))
    assert "process_resident_memory_bytes" in families
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
