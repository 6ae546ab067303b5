"""What the measuring script computes and says: medians, ratios, aims, tables, page, picture."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import run_brokers, run_flow, run_java, run_starts, run_topics
from bench.judge import APACHE, OURS, REGULAR, Comparison, verdict
from bench.life import WORK_DATA_MAX, Measurement, short
from bench.loads import SCENARIOS, WARM_UP_DATA_MAX, MeasureFailed, Numbers
from bench.machine import Memory, cpu_seconds, forget_files, machine_class, many_maps_and_files
from bench.measure import page_name
from bench.options import parse
from bench.picture import bars, picture
from bench.report import Page, Section, heading, latency_cells, number, speed_cells, table
from bench.servers import Pyromq, children
from bench.works import LOAD_WORKS, WORKS
from tests.support.processes import retries


def numbers(speed: float, cpu: float, busy: int = 0, **more: Any) -> Numbers:
    return {
        "messages_per_second": speed,
        "cpu_us_per_message": cpu,
        "messages_per_cpu_second": 1e6 / cpu,
        "latency_us": {"p50": speed / 100, "p99": 2.25, "p999": 3},
        "client_cpu_us_per_message": 0.5,
        "errors": {"2": {"count": busy, "remark": ""}} if busy else {},
        **more,
    }


def comparison(**changes: Any) -> Comparison:
    given: dict[str, Any] = {
        "work": "pipelined",
        "text": "sends",
        "flush": "ASYNC_FLUSH",
        "header": "json",
        "sides": {
            OURS: [numbers(1000 * n, 2 / n) for n in (1, 2, 4)],
            APACHE: [numbers(100 * n, 20 / n, busy=n) for n in (1, 2, 4)],
        },
        "ceiling": numbers(10_000, 0.1),
    }
    return Comparison(**(given | changes))


def test_medians_and_ratios_of_the_rounds() -> None:
    it = comparison()
    assert it.median(OURS, "messages_per_second") == 2000
    assert it.median(APACHE, "latency_us", "p50") == 2
    assert it.ratio(OURS, "messages_per_cpu_second") == pytest.approx(10)
    assert it.median(REGULAR, "messages_per_second") is None
    assert it.ratio(REGULAR, "messages_per_second") is None
    assert it.aims(OURS) == (12, 10)
    assert it.aims(REGULAR) == (4, None)
    assert comparison(work="no such").aims(OURS) == (None, None)


def test_a_ratio_says_whether_its_aim_is_met() -> None:
    assert verdict(None, 3) == "–"
    assert verdict(3.04, None) == "3.0×"
    assert verdict(3.0, 3) == "**3.0×** (≥ 3)"
    assert verdict(2.99, 3) == "3.0× (aim 3: missed)"


def test_near_the_generators_ceiling_only_cpu_counts() -> None:
    assert not comparison().is_bound_by_generator(OURS)
    bound = comparison(ceiling=numbers(2_800, 0.1))
    assert bound.is_bound_by_generator(OURS)
    assert not bound.is_bound_by_generator(REGULAR)
    assert bound.ceiling_share(OURS) == pytest.approx(2000 / 2800)
    cells = speed_cells(bound, OURS)
    assert cells[9] == "(10.0×: the generator's limit)"
    assert cells[10] == "2,800 (71%)"
    assert not comparison(ceiling=None).is_bound_by_generator(OURS)


def test_a_row_has_both_sides_and_the_spread() -> None:
    assert speed_cells(comparison(), OURS) == [
        "sends", "ASYNC_FLUSH", "json", OURS, "1.00 (0.50–2.00)", "10.00 (5.00–20.00)",
        "10.0× (aim 12: missed)", "2,000", "200", "**10.0×** (≥ 10)", "10,000 (20%)",
    ]  # fmt: skip
    assert latency_cells(comparison(), OURS)[4:] == [
        "20.0", "2.0", "2.2", "2.2", "3.0", "3.0", "0 / 7",
    ]  # fmt: skip


def test_a_side_that_failed_is_named_in_its_row() -> None:
    failed = comparison(sides={OURS: [numbers(10, 1)]}, remarks={APACHE: "Apache: too slow"})
    cells = speed_cells(failed, OURS)
    assert cells[5:7] == ["Apache: too slow", "–"]
    ours_failed = comparison(sides={APACHE: [numbers(10, 1)]}, remarks={OURS: "pyromq: died"})
    assert speed_cells(ours_failed, OURS)[3:6] == ["pyromq: died", "–", "1.00 (1.00–1.00)"]
    assert len(latency_cells(ours_failed, OURS)) == 11


def page(written: list[str]) -> Page:
    return Page("title", ["how"], written.append)


def test_the_page_is_written_whenever_something_is_found() -> None:
    written: list[str] = []
    it = page(written)
    it.compare(comparison())
    section = Section("Memory", "In MiB.", ("server", "MiB"))
    it.add(section, ("pyromq", "1"))
    it.add(Section("Memory", "In MiB.", ("server", "MiB")), ("Apache", "2"))
    it.remark("restart: no disk")
    assert len(written) == 4
    text = written[-1]
    assert text.startswith("# title\n\n- how\n- **Not as wanted:** restart: no disk\n")
    order = (
        "## Throughput",
        "## Latency",
        "## Memory\nIn MiB.",
        "| pyromq | 1 |",
        "| Apache | 2 |",
    )
    assert [text.count(part) for part in order] == [1] * len(order)
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_tables_have_a_cell_for_every_head() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    assert (number(None), number(1234.5), number(1.25, 1)) == ("–", "1,234", "1.2")
    assert run_starts.ready_cells("pyromq", [3.0, 0.5, 1.0]) == ["pyromq", "1.00", "0.50–3.00", "3"]
    memory = run_starts.memory_cells("idle", OURS, "one process", Memory(2048, 1024, 3072))
    assert memory == ["idle", OURS, "one process", "2.0", "1.0", "3.0"]


def test_the_heading_says_how_it_was_measured_and_where_nothing_is() -> None:
    text = "\n".join(
        heading(
            versions=["pyromq 1.2.3", "Apache RocketMQ 5.5.0"], settings=["a=b"], rounds=3,
            run_seconds=2.0, warm_up=8.0, file_system="ext4", command="make bench",
        )
    )  # fmt: skip
    for said in (
        f"{len(os.sched_getaffinity(0))} cores of ",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        "pyromq 1.2.3; Apache RocketMQ 5.5.0. Commit: ",
        "Settings of all servers: a=b. Data in a temporary directory on ext4.",
        "`make bench`",
    ):
        assert said in text
    for hidden in (socket.gethostname(), str(Path.cwd()), str(Path.home()), tempfile.gettempdir()):
        assert hidden not in text


def test_a_pages_name_has_date_machine_and_commit() -> None:
    name = page_name(parse([]), "abc1234 with changes")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d+-core-[a-z-]+-abc1234-changed", name)
    assert page_name(parse(["--label=look"]), "abc1234").endswith("-look")
    assert machine_class().startswith(f"{len(os.sched_getaffinity(0))}-core-")


def test_the_picture_has_a_bar_for_each_row_with_both_sides() -> None:
    rows = bars([
        comparison(text="a < b"),
        comparison(text="half", sides={OURS: [numbers(1, 1)]}),
        comparison(sides={REGULAR: [numbers(1, 10)], APACHE: [numbers(1, 5)]}),
    ])  # fmt: skip
    labels = ["a < b · json · async", "sends · json · async · express lane off"]
    assert [row.label for row in rows] == labels
    assert [row.ratio for row in rows] == pytest.approx([10, 0.5])
    drawn = ET.fromstring(picture("t & u", rows))
    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "t & u" in texts
    assert "a < b · json · async" in texts
    assert "10.0×" in texts
    assert "Nothing was compared." in picture("none", [])


def measurement(options: Sequence[str], written: list[str], *, ends_in: float = 60) -> Measurement:
    return Measurement(parse(options), Path(), page(written), time.monotonic() + ends_in)


class ToyServer(Pyromq):
    """Never started."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_rounds_alternate_and_a_side_that_fails_does_not_stop_the_other() -> None:
    asked: list[str] = []

    def one(server: Any) -> Numbers:
        asked.append(server.name)
        if server.name == APACHE and asked.count(APACHE) == 3:
            raise MeasureFailed("it | died\n")
        return numbers(100 * len(asked), 1)

    written: list[str] = []
    it = measurement(["--rounds=3"], written)
    row = it.compare([ToyServer(OURS), ToyServer(APACHE)], one, work="w", text="t", flush="f",
                     header="h")  # fmt: skip
    assert asked == [OURS, APACHE, OURS, APACHE, OURS, APACHE, OURS]
    speeds = [numbers["messages_per_second"] for numbers in row.sides[OURS]]
    assert speeds == [300, 500, 700], "the first round is not counted"
    assert APACHE not in row.sides
    assert row.remarks == {APACHE: "Apache: it / died"}
    assert "| t | f | h | pyromq |" in written[-1]


def test_what_fails_or_has_no_time_is_said_and_the_rest_goes_on() -> None:
    written: list[str] = []
    it = measurement([], written)

    def fail() -> None:
        raise MeasureFailed("no answer")

    it.attempt("first", fail)
    it.attempt("second", it.page.remark, "measured")
    late = measurement([], written, ends_in=-1)
    late.attempt("third", fail)
    assert it.page.remarks == ["first: no answer", "measured"]
    assert late.page.remarks == ["third: left out, the time was over"]
    assert short(MeasureFailed("a\nb | c" + "d" * 400)).startswith("a b / cd")


@pytest.mark.parametrize("runs", [1, 6, 18])
def test_the_runs_of_a_work_stay_under_its_bound_of_new_data(runs: int) -> None:
    it = measurement([], [])
    for load in SCENARIOS.values():
        stored = runs * it.messages_max(load, runs) * load.stored_size
        assert stored + 3 * WARM_UP_DATA_MAX <= WORK_DATA_MAX


def test_every_work_is_described_and_every_load_names_one() -> None:
    assert {work.name for work in LOAD_WORKS} <= set(WORKS)
    for work in LOAD_WORKS:
        for row in work.rows:
            assert row.load.arguments[0] in ("send", "pull")
    assert list(parse([]).works) == list(WORKS)
    assert parse(["--works", "pulls,flow"]).works == ("pulls", "flow")


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("--rounds=0", "--rounds"),
        ("--starts=0", "--starts"),
        ("--run=0.1", "--run"),
        ("--seconds=1", "--seconds"),
        ("--set=flushDiskType", "--set"),
        ("--works=pulls,nothing", "--works"),
        ("--servers=kafka", "--servers"),
        ("--label=../x", "--label"),
        ("--label=A", "--label"),
    ],
)
def test_bad_options_are_named(word: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse([word])
    assert left.value.code == 2
    assert named in capsys.readouterr().err


def test_a_rate_that_is_not_held_is_said_so() -> None:
    ends = {"p50": 10, "p99": 100, "p999": 200}
    sides = {
        OURS: [numbers(990, 2, end_to_end_us=ends)],
        APACHE: [numbers(700, 20, end_to_end_us={name: 3 * us for name, us in ends.items()})],
    }
    it = Comparison("flow", "1,000/s", "ASYNC_FLUSH", "json", sides)
    assert run_flow.flow_cells(it, 1000) == [
        "1,000/s", "990 / 700 (not held)", "10 / 30", "100 / 300", "200 / 600", "yes, 3.0×",
        "2.0 / 20.0", "**10.0×** (≥ 6)",
    ]  # fmt: skip
    alone = Comparison("flow", "1,000/s", "ASYNC_FLUSH", "json", {OURS: sides[OURS]},
                       {APACHE: "Apache: gone"})  # fmt: skip
    assert run_flow.flow_cells(alone, 1000)[1:3] == ["990 / Apache: gone", "10 / –"]


def test_several_generators_are_counted_together() -> None:
    two = [
        {"messages": 100, "messages_per_second": 50, "server_cpu_seconds": 0.001,
         "client_cpu_us_per_message": 1},
        {"messages": 300, "messages_per_second": 150, "server_cpu_seconds": 0.003,
         "client_cpu_us_per_message": 3},
    ]  # fmt: skip
    assert list(run_brokers.together(two)) == pytest.approx([200, 10, 2.5])


def test_the_figures_of_javas_programs_are_read() -> None:
    lines = [
        "Current Time: 2026 | Send TPS: 1 | Max RT(ms): 9 | Average RT(ms):   1.5 | Send Failed: 0",
        "Current Time: 2026 | Send TPS: 70000 | Send MPS: 9 | Max RT(ms): 42"
        " | Average RT(ms):   0.85 | Average Message RT(ms):   0.05 | Send Failed: 0",
        "other",
    ]
    assert run_java.figures(lines, run_java.PROGRAMS[1].line) == (0.85, 42)
    consumed = (
        "Current Time: 2026 | Consume TPS: 5 | AVG(B2C) RT(ms):   2.250 | AVG(S2C) RT(ms):   1.000"
        " | MAX(B2C) RT(ms): 77 | MAX(S2C) RT(ms): 70 | Consume Fail: 0"
    )
    assert run_java.figures([consumed], run_java.PROGRAMS[2].line) == (2.25, 77)


def test_ratios_of_javas_programs() -> None:
    ours, theirs = run_java.Counted(300, 5, 1, 2), run_java.Counted(100, 20, 3, 4)
    assert run_java.java_cells("P", {OURS: ours, APACHE: theirs}) == [
        "P", "300 / 100", "3.0×", "5.00 / 20.00", "4.0×", "1.00 / 3.00", "2 / 4",
    ]  # fmt: skip
    assert run_java.java_cells("P", {OURS: ours})[1:3] == ["300 / –", "–"]


def test_seeded_topics_are_those_that_the_generator_sends_to() -> None:
    table = json.loads(run_topics.topics_json(3))["topicConfigTable"]
    assert list(table) == ["Seed-00000", "Seed-00001", "Seed-00002"]
    assert all(table[name]["topicName"] == name for name in table)
    assert {entry["writeQueueNums"] for entry in table.values()} == {8}


def test_more_files_than_are_allowed_are_not_tried() -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    run_topics.need_files(min(allowed, 1_000))
    if allowed != resource.RLIM_INFINITY:
        with pytest.raises(MeasureFailed, match="are allowed here"):
            run_topics.need_files(allowed + 1)


def test_a_measurement_that_is_told_to_stop_ends_its_servers(tmp_path: Path) -> None:
    """What it changed of the machine is put back in the same way."""
    command = [sys.executable, "-m", "bench.measure", "--works=memory", "--servers=pyromq",
               "--touch-gib=0", "--label=stopped"]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    page = Path(run_java.__file__).parent / "results"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while "memory" not in process.stderr.readline().split()[-1:]:
                assert process.poll() is None
            for _ in retries(20):
                if list(tmp_path.glob("measure-*/pyromq/lock")):
                    break
            process.terminate()
            process.communicate(timeout=20)
        finally:
            process.kill()
            for found in page.glob("*-stopped.md"):
                found.unlink()
    assert process.returncode == 128 + 15
    assert list(tmp_path.iterdir()) == []


def test_limits_are_put_back() -> None:
    sysctl = Path("/proc/sys/vm/max_map_count")
    before = sysctl.read_text(), resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = int(before[0]) + 1
    with many_maps_and_files(wanted) as refused:
        assert "max_map_count" in refused or int(sysctl.read_text()) == wanted
    assert (sysctl.read_text(), resource.getrlimit(resource.RLIMIT_NOFILE)) == before


def test_the_cpu_of_another_process_is_its_own_and_its_children_are_found() -> None:
    program = "sum(range(3_000_000)); print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"done\n"
        seconds = cpu_seconds(busy.pid)
        assert 0.005 < seconds < 60
        assert busy.pid in children(os.getpid())
        assert Memory.peak_kb(busy.pid) >= Memory.of(busy.pid).private_kb > 0
        busy.communicate(b"\n")


def test_forgotten_files_keep_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x" * 10_000)
    forget_files(tmp_path)
    assert (tmp_path / "sub" / "file").read_bytes() == b"x" * 10_000


def test_both_servers_begin_with_seeded_topics(tmp_path: Path) -> None:
    """Here ours; Apache's format is what it is written in."""
    written: list[str] = []
    it = Measurement(
        parse(["--servers=pyromq", "--warm-up=0"]), tmp_path, page(written), time.monotonic() + 60
    )
    seeds = {"config/topics.json": run_topics.topics_json(2)}
    with it.serving("topics", "ASYNC_FLUSH", seeded=seeds) as (server,):
        assert run_java.stored(server, run_java.create_topic(server, "Bench")) == 0
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2]))):
            pass
        text = (tmp_path / "pyromq" / "config" / "topics.json").read_text()
        assert "Seed-00001" in text
    assert list(tmp_path.iterdir()) == []
    assert "| topics | ASYNC_FLUSH | pyromq |" in written[-1]
