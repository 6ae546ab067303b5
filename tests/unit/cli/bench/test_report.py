"""Summary and report: for people, for scripts, and without a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from pyromq.cli.bench.meter import Meter
from pyromq.cli.bench.report import report_page
from pyromq.cli.bench.result import HEADER, Result, result_of, row_line, summary_lines


def result(topic: str = "Orders") -> Result:
    meter = Meter(50.0)
    for number in range(1, 101):
        meter.succeeded(number * 1000, count=2, size_bytes=1_000)
    meter.has_failed("SendFailed SYSTEM_BUSY", "<busy>", count=3)
    meter.end_interval(52.0)
    meter.succeeded(500_000, count=2, size_bytes=1_000)
    meter.end_interval(54.0)
    return result_of(
        meter,
        kind="batch",
        topic=topic,
        namesrv="a:1",
        options={"workers": 4},
        latency_is="from a request to its answer",
        more={"order_gaps": 0, "since_stored_ms": {"p50": 1.5}},
    )


class Page(HTMLParser):
    """Elements with their attributes, texts of scripts, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        last = self.elements[-1][0] if self.elements else ""
        if last == "script" and self.rawdata is not None and self.cdata_elem == "script":
            self.scripts.append(data)
        elif self.cdata_elem == "style":
            self.styles.append(data)
        else:
            self.text += data


def test_the_summary_says_what_happened() -> None:
    lines = list(summary_lines(result()))
    assert lines == [
        "batch on Orders: 202 messages in 4.0 s, 50 per second, 0.03 MB/s; 3 failed",
        "latency in ms, from a request to its answer: mean 54.95, p50 51.20, p90 91.14, "
        "p99 100.35, p99.9 500.00, max 500.00",
        "order gaps: 0",
        "since stored ms: p50 1.50",
        "failed, 3 × SendFailed SYSTEM_BUSY: <busy>",
    ]


def test_rows_stand_under_their_heads() -> None:
    rows = [row_line(row) for row in result().intervals]
    assert rows[0].split() == [
        "2.0s", "200", "100", "0.05", "50.17", "99.33", "100.00", "3",
    ]  # fmt: skip
    assert {len(row) for row in rows} == {len(HEADER)}


def test_the_json_has_everything() -> None:
    read = json.loads(json.dumps(result().json()))
    assert (read["kind"], read["messages"], read["failed"]) == ("batch", 202, 3)
    assert read["latency_ms"]["max"] == 500.0
    assert [row["messages_per_second"] for row in read["intervals"]] == [100.0, 1.0]
    assert read["errors"] == {"SendFailed SYSTEM_BUSY": 3}


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = report_page(result(), "2026-11-27 12:00 UTC")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "base", "object", "embed"), tag
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes), attributes
    assert not re.search(r"@import|url\(", "".join(page.styles))
    own = [script for script in page.scripts if "uPlot=function" not in script]
    assert not re.search(r"fetch\(|import[ (]|XMLHttpRequest|https?:", "".join(own))
    library = "".join(page.scripts)
    assert not re.search(r"fetch\(|XMLHttpRequest|importScripts|sendBeacon", library)
    assert "MIT License" in library


def test_the_page_shows_the_run() -> None:
    text = report_page(result(), "2026-11-27 12:00 UTC")
    page = Page(text)
    for line in summary_lines(result()):
        assert line in page.text
    data = next(script for script in page.scripts if script.startswith("{"))
    assert json.loads(data) == json.loads(json.dumps(result().json()))
    places = {attributes.get("id") for tag, attributes in page.elements if tag == "div"}
    drawn = set(re.findall(r'^chart\("(\w+)"', text, re.MULTILINE))
    assert places == drawn == {"rate", "latency", "failed"}


def test_names_cannot_break_the_page() -> None:
    evil = "</script><script>alert(1)</script><img src=x>"
    page = Page(report_page(result(evil), "now"))
    assert evil in page.text
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not any(tag == "img" for tag, _ in page.elements)
