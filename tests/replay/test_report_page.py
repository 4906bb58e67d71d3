"""The page of a replay: complete in itself, safe, and with the numbers of the report."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from capture_files import at, ipv4, udp
from page_reader import Element, read_page, table
from replayed_policies import ALTERNATING

from classifier.config import parse_policy
from classifier.replay import Replay
from classifier.report import Subject, page, units

IN = "192.168.1.2"
CAPACITY = ALTERNATING.replace(
    'gateway6 = "2001:db8::1"',
    'gateway6 = "2001:db8::1"\ncapacity = { down = "8kbit", up = "1gbit" }',
)
OTHER = ALTERNATING.replace('"nth"', '"nth"\nsticky = "remote"').replace(
    "[uplinks.b]", "[uplinks.c]"
)
OTHER = OTHER.replace('["a", "b"]', '["a", "c"]')


def frames():
    packets = []
    for number in range(40):
        to = f"198.51.100.{number % 7}" if number % 10 else "10.0.0.1"
        packets.append(at(number * 1.5, ipv4(IN, to, 17, udp(1000 + number, 443, bytes(number)))))
        back = ipv4(to, IN, 17, udp(443, 1000 + number, bytes(300)))
        packets.append(at(number * 1.5 + 0.2, back))
    return packets


def reported(policy, capture, against=None):
    run = Replay(policy, seed=1, watch=True, against=against, keep=False)
    run.read(capture)
    return run.report()


@pytest.fixture
def compared(raw):
    policy, other = parse_policy(CAPACITY), parse_policy(OTHER)
    report = reported(policy, raw(frames()), other)
    made = page(report, Subject(policy, "gateway.toml", ["office.pcap"], "other.toml"))
    return report, read_page(made), made


def test_it_needs_nothing_but_itself(compared):
    _, document, made = compared
    for element in document.walk():
        assert element.tag not in {
            "script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "use",
        }  # fmt: skip
        for name in element.attributes:
            assert not name.startswith("on") and name not in {"src", "href", "xlink:href", "action"}
    assert "url(" not in made and "@import" not in made and "://" not in made
    (policy,) = [
        meta.attributes["content"]
        for meta in document.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_it_fits_a_phone_and_the_dark(compared):
    _, document, made = compared
    metas = [meta.attributes for meta in document.all("meta")]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert "prefers-color-scheme:dark" in made
    assert all(t in made for t in ('<html lang="en">', '<meta charset="utf-8">'))


def test_the_numbers_of_the_uplinks_are_those_of_the_report(compared):
    report, document, _ = compared
    for number, one in enumerate((report, report.against.report)):
        rows = table(document, "What each uplink would have carried", number)
        by_name = {row[0]: row for row in rows[1:]}
        for name, use in one.uplinks.items():
            cells = by_name[name]
            assert cells[1] == str(use.flows)
            assert cells[2] == f"{use.share:.1%}".replace("%", " %")
            assert cells[3] == str(use.packets)
            assert cells[4] == units.size(use.bytes).replace("\u00a0", " ")
        assert by_name["(direct)"][1] == str(one.direct.flows)
    peak = report.figures.loads["a"].peak_down
    (cell,) = {row[6] for row in table(document, "What each uplink would have carried")[1:2]}
    expected = f"{units.rate(peak)} ({units.percent(peak / 1000)})"
    assert cell == expected.replace("\u00a0", " ")


def test_the_comparison_says_what_moves(compared):
    report, document, _ = compared
    rows = table(document, "Flows that go another way, most first")[1:]
    assert [(row[0], row[1], int(row[2])) for row in rows] == [
        (move.source, move.target, move.amount.flows) for move in report.against.moves
    ]
    text = document.text.replace("\u00a0", " ")
    assert f"{report.against.moved}flows go another way" in text
    assert f"{report.figures.sticky_breaks}sticky breaks with gateway.toml" in text
    assert f"{report.against.report.figures.sticky_breaks}sticky breaks with other.toml" in text


def test_rules_remotes_and_times_are_tables_too(compared):
    report, document, _ = compared
    rules = table(document, "Flows by rule and way")[1:]
    assert [(row[0], row[1], int(row[2])) for row in rules] == [
        (rule.name, "(direct)" if way == "direct" else way, amount.flows)
        for rule in report.figures.rules
        for way, amount in rule.ways.items()
    ]
    remotes = table(document, "Top remotes")[1:]
    assert [(row[0], int(row[1]), int(row[2])) for row in remotes] == [
        (remote.address, remote.bytes, remote.flows) for remote in report.figures.remotes
    ]
    times = table(document, "New flows and bytes over time")
    for column, way in ((1, "a"), (3, "b"), (5, "direct")):
        assert sum(int(row[column]) for row in times[1:]) == sum(report.figures.loads[way].flows)


def test_columns_are_as_high_as_shares(compared):
    _, document, _ = compared
    plot = next(svg for svg in document.all("svg") if "flows" in svg.attributes["aria-label"])
    groups = plot.all("g")
    assert groups
    for group in groups:
        heights = [float(rect.attributes["height"]) for rect in group.all("rect")]
        assert sum(heights) == pytest.approx(1000, abs=0.5)
        told = [float(part) for part in re.findall(r"([\d.]+)\u00a0%", group.all("title")[0].text)]
        assert told == pytest.approx([height / 10 for height in heights], abs=0.1)


def test_a_load_plot_reaches_the_capacity_where_that_is_near(compared):
    report, document, _ = compared
    # 8 kbit/s down is near, a gigabit up is not and is said in words.
    figure = next(f for f in document.all("figure") if f.all("figcaption")[0].text.startswith("a,"))
    limits = [label.text.replace("\u00a0", " ") for label in figure.all("span", class_="limit")]
    assert limits == ["capacity down 8 kbit/s"]
    assert "capacity 1 Gbit/s up lies far beyond" in figure.text.replace("\u00a0", " ")
    (capacity,), (zero,) = figure.all("line", class_="capacity"), figure.all("line", class_="zero")
    ground = float(zero.attributes["y1"])
    for_a_byte = (ground - float(capacity.attributes["y1"])) / 1000
    down, up = figure.all("path", class_="busiest")
    load = report.figures.loads["a"]
    for path, peak, reach in ((down, load.peak_down, min), (up, load.peak_up, max)):
        heights = [float(y) for y in re.findall(r"\d+ ([\d.]+)", path.attributes["d"])]
        assert abs(reach(heights) - ground) / for_a_byte == pytest.approx(peak, rel=0.01)


EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--></style><svg onload=alert(1)>",
    "&lt;b&gt; {0} %s \\u003c",
)


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_becomes_markup(raw, evil):
    quoted = evil.replace("\\", "\\\\").replace('"', '\\"')
    policy = parse_policy(ALTERNATING.replace('name = "rest"', f'name = "{quoted}"'))
    report = reported(policy, raw(frames()), policy)
    calm = reported(parse_policy(ALTERNATING), raw(frames()), parse_policy(ALTERNATING))
    made = read_page(page(report, Subject(policy, evil, [evil, evil], evil)))
    same = read_page(page(calm, Subject(parse_policy(ALTERNATING), "x", ["x", "x"], "x")))

    def shape(element: Element) -> list[object]:
        return [(e.tag, sorted(e.attributes)) for e in element.walk()]

    assert shape(made) == shape(same)
    assert evil in made.all("h1")[0].text and evil in made.all("title")[0].text
    assert evil in [row[0] for row in table(made, "Flows by rule and way")]


def test_names_with_odd_letters_do_no_harm(raw):
    policy = parse_policy(ALTERNATING)
    report = reported(policy, raw(frames()))
    odd = "\u202egpj.\x00\x1b[31m\udcff"
    made = page(report, Subject(policy, odd, [odd])).encode(errors="backslashreplace")
    heading = read_page(made.decode()).all("h1")[0]
    assert heading.children[0].tag == "bdi"
    assert heading.text == "\u202egpj.\ufffd\ufffd[31m\\udcff"


@pytest.mark.parametrize("count", [0, 1])
def test_a_capture_of_nearly_nothing_makes_a_page(policy, raw, count):
    report = reported(policy, raw(frames()[:count]), policy)
    assert read_page(page(report, Subject(policy, "a", ["b"], "c"))).all("section")


def test_many_uplinks_have_colours(raw):
    names = [f"u{number}" for number in range(20)]
    text = "".join(
        f'[uplinks.{name}]\ninterface = "eth{n}"\ngateway = "192.0.2.{n + 1}"\n'
        for n, name in enumerate(names)
    )
    text = f'[gateway]\nlan = ["l"]\n{text}[balancers.all]\nuplinks = {names}\n'
    policy = parse_policy(text.replace("'", '"') + '[[rules]]\nname = "r"\nuse = "all"\n')
    made = read_page(page(reported(policy, raw(frames())), Subject(policy, "a", ["b"])))
    keys = {key.attributes["class"] for key in made.all("i", class_="key")}
    assert len(keys) >= 16


def test_the_command_writes_the_page(policy_file, raw, tmp_path):
    out = tmp_path / "out.html"
    command = [sys.executable, "-m", "classifier", "replay", policy_file, raw(frames())]
    done = subprocess.run(
        [*command, "--against", policy_file, "--report", str(out), "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert read_page(out.read_text()).all("h1")[0].text == policy_file


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bit/s"), (125, "1 kbit/s"), (2_500_000, "20 Mbit/s"), (10**12, "8 Tbit/s")],
)
def test_rates_are_in_bits(value, text):
    assert units.rate(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize("seconds", [0, 0.05, 0.3, 7, 61, 3599, 86400 * 9, 86400 * 3000, 3e9])
def test_a_time_axis_has_few_marks(seconds):
    marks = units.time_marks(seconds)
    assert marks[0] == 0 and len(marks) <= 6 and marks[-1] <= seconds
