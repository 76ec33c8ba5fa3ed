"""The Pareto page in a real browser: what it draws is what the library computes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.fronts.paper import paper_points
from orchestrator.fronts.pareto import Point, front, points, shown
from orchestrator.tracking.store import MLFLOW_SETTINGS, STORE_FILE
from orchestrator.ui.address import Address
from orchestrator.ui.ports import choose_port
from orchestrator.ui.server import page_link, read_cursor, serve
from tests.sweeps import events, run

pytestmark = pytest.mark.browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
HOSTILE = {
    "markup": '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>',
    "quotes": "\"'`; DROP TABLE runs; --",
    "lines": "one\ntwo\r\n\tthree",
    "long": "x" * 6000,
    "foreign": "Größe 模型 🙂 \u202etxet",
    "formula": "=HYPERLINK(1)",
}


@dataclass
class Site:
    """A server on a sweep's store, and what a browser said of it."""

    directory: Path
    base: str
    link: str
    browser: Any
    problems: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, extra: str = "", *, link: str | None = None, **context: Any) -> Any:
        """Opens the page, and waits until it is drawn."""
        options = {"viewport": DESKTOP, "accept_downloads": True} | context
        page = self.browser.new_context(**options).new_page()
        page.set_default_timeout(60_000)
        page.on(
            "console", lambda m: m.type in ("error", "warning") and self.problems.append(m.text)
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda r: self._note(r.url))
        page.goto((link or self.link) + extra)
        page.wait_for_selector("body[data-ready]")
        return page

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _note(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "blob:")):
            self.elsewhere.append(url)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sweep") / "run"
    assert run(directory, "local", search={"trials": 8, "seed": 3})
    return directory


@pytest.fixture(scope="module")
def site(sweep: Path) -> Iterator[Site]:
    cursor = read_cursor(sweep)
    address = Address("127.0.0.1", choose_port("127.0.0.1", None))
    with serve(sweep, cursor, address), playwright.sync_playwright() as driver:
        # Chromium has no sandbox as root, and opens nothing here but our own pages
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = Site(sweep, address.url, page_link(cursor, address.url)[1], browser)
        yield found
        browser.close()
        assert found.problems == []
        assert found.elsewhere == []


def complete(directory: Path, **wanted: Any) -> list[Point]:
    (found,) = points(events(directory)).values()
    return [p for p in found if all(p.params.get(k) == v for k, v in wanted.items())]


def corners(best: list[Point]) -> list[tuple[float, float]]:
    return [
        (
            shown("peak_bytes", p.values["peak_bytes"]),
            shown("val_accuracy", p.values["val_accuracy"]),
        )
        for p in best
    ]


def drawn_front(page: Any) -> list[tuple[float, float]]:
    """The step line, without its last corner, which only leads to the right."""
    trace = page.evaluate("(({x, y}) => ({x, y}))(document.getElementById('plot').data[0])")
    return list(zip(trace["x"], trace["y"], strict=True))[:-1]


def drawn_trials(page: Any) -> int:
    count = "document.getElementById('plot').data.slice(1).reduce((n, t) => n + t.x.length, 0)"
    return page.evaluate(count)


def until(page: Any, expression: str) -> None:
    """Waits in this process: the page lets nothing be evaluated in it but from outside."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def wait_drawn(page: Any, act: Any) -> None:
    before = int(page.evaluate("document.body.dataset.drawn"))
    act()
    until(page, f"Number(document.body.dataset.drawn) > {before}")


def rows(page: Any) -> list[list[str]]:
    return page.evaluate(
        "[...document.querySelectorAll('#table tbody tr')]"
        ".map(r => [...r.cells].slice(1).map(c => c.textContent))"
    )


def test_the_front_drawn_is_the_front_computed(site: Site) -> None:
    page = site.open()
    best = front(complete(site.directory), OBJECTIVES)
    assert len(best) > 1
    assert drawn_front(page) == [pytest.approx(corner) for corner in corners(best)]
    assert drawn_trials(page) == len(complete(site.directory)) == 8
    assert [row[0] for row in rows(page)] == [point.trial for point in best]


def test_a_filter_leaves_the_front_of_what_passes(site: Site) -> None:
    page = site.open()
    methods = {point.params["method"] for point in complete(site.directory)}
    kept = complete(site.directory)
    page.click("#filters-box summary")
    for method in sorted(methods)[:-1]:
        wait_drawn(page, lambda m=method: page.click(f"#filters input[value='{m}']"))
        kept = [point for point in kept if point.params["method"] != method]
        assert drawn_trials(page) == len(kept)
        expected = corners(front(kept, OBJECTIVES))
        assert drawn_front(page) == [pytest.approx(corner) for corner in expected]
    address = page.url
    again = site.open(link=address)
    assert drawn_trials(again) == len(kept)  # the address is the view
    again.click("#filters-box summary")
    wait_drawn(again, lambda: again.click("#clear"))
    assert drawn_trials(again) == 8


def test_brushing_fills_the_table(site: Site) -> None:
    page = site.open()
    area = page.query_selector("#plot .nsewdrag").bounding_box()
    left, top = area["x"] + 2, area["y"] + 2
    middle = left + area["width"] * 0.5
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(middle, top + area["height"] - 4, steps=5)
    page.mouse.up()
    page.wait_for_selector("#unbrush:not([hidden])")
    edge = page.evaluate(
        f"(g => g._fullLayout.xaxis.p2d({middle} - {area['x']}))(document.getElementById('plot'))"
    )
    inside = [p for p in complete(site.directory) if p.values["peak_bytes"] / 1e6 <= edge]
    assert 0 < len(inside) < 8
    assert {row[0] for row in rows(page)} == {p.trial for p in inside}
    again = site.open(link=page.url)
    assert {row[0] for row in rows(again)} == {p.trial for p in inside}
    page.click("#unbrush")
    page.wait_for_selector("#unbrush", state="hidden")


def test_the_table_sorts(site: Site) -> None:
    page = site.open("&rows=shown")
    memory = [float(row[1]) for row in rows(page)]
    assert memory == sorted(memory)
    page.click("#table th:nth-child(4) button")
    accuracy = [float(row[2]) for row in rows(page)]
    assert accuracy == sorted(accuracy)
    page.click("#table th:nth-child(4) button")
    assert [float(row[2]) for row in rows(page)] == accuracy[::-1]


def test_the_budget_line_is_dragged_and_names_the_best(site: Site) -> None:
    best = front(complete(site.directory), OBJECTIVES)
    sizes = [size for size, _ in corners(best)]
    start, goal = sizes[-1] * 1.01, (sizes[0] + sizes[1]) / 2
    page = site.open(f"&budget={start}")
    assert best[-1].trial in page.inner_text("#best")
    place = (
        "(value => { const g = document.getElementById('plot');"
        " return g._fullLayout._size.l + g.getBoundingClientRect().x"
        " + g._fullLayout.xaxis.d2p(value); })"
    )
    area = page.query_selector("#plot .nsewdrag").bounding_box()
    height = area["y"] + area["height"] * 0.5
    page.mouse.move(page.evaluate(f"{place}({start})"), height)
    page.mouse.down()
    page.mouse.move(page.evaluate(f"{place}({goal})"), height, steps=8)
    page.mouse.up()
    until(page, f"document.getElementById('best').innerText.includes('{best[0].trial}')")
    named = f"{site.directory}:{best[0].trial}"
    assert f"tinytl train --from {named}" in page.inner_text("#best")
    assert f"tinytl export {named}" in page.inner_text("#best")
    page.fill("#budget", str(sizes[0] / 2))
    page.keyboard.press("Tab")
    until(page, "document.getElementById('best').innerText.includes('no trial needs')")


def test_a_click_leads_to_the_run(site: Site) -> None:
    best = front(complete(site.directory), OBJECTIVES)
    page = site.open()
    page.click(f"#table button:text-is('{best[0].trial}')")
    panel = page.locator("#panel")
    assert best[0].trial in panel.locator("h2").inner_text()
    page.wait_for_selector("#panel .plot .main-svg")
    text = panel.inner_text()
    for expected in ("optimizer", "Curves", "Parameters", best[0].params["method"]):
        assert expected in text
    page.click("#panel a:text-is('run page')")
    page.wait_for_selector(f"text={best[0].trial}")
    assert "/#/experiments/" in page.url
    site.problems.clear()  # MLflow's own page may warn
    site.elsewhere.clear()


def test_the_study_s_run_links_to_the_page(site: Site) -> None:
    study = next(iter(read_cursor(site.directory).studies.values()))
    note = client(site).get_run(study).data.tags["mlflow.note.content"]
    address = f"tinytl/pareto?study={study}"
    assert f"]({address})" in note
    page = site.open(link=f"{site.base}/{address}")
    assert drawn_trials(page) == 8
    description = site.browser.new_page()
    runs = site.link.replace("tinytl/pareto?experiment=", "#/experiments/")
    description.goto(f"{runs}/runs/{study}?workflowType=machine_learning")
    with description.context.expect_page() as opened:
        description.click("a:text-is('Pareto page')")
    opened.value.wait_for_selector("body[data-ready]")


def test_the_keyboard_is_enough(site: Site) -> None:
    page = site.open()
    page.focus("#table td button >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel:not([hidden])")
    page.keyboard.press("Escape")
    page.wait_for_selector("#panel", state="hidden")
    names = page.evaluate(
        "[...document.querySelectorAll('select, input, button, a')].filter(e => e.offsetParent"
        " && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))"
        ".map(e => e.id)"
    )
    assert names == []


def test_axes_switch(site: Site) -> None:
    page = site.open("&x=modeled_bytes&y=test_accuracy&xlog=0")
    best = front(complete(site.directory), {"test_accuracy": "max", "modeled_bytes": "min"})
    expected = [(p.values["modeled_bytes"] / 1e6, p.values["test_accuracy"] * 100) for p in best]
    assert drawn_front(page) == [pytest.approx(corner) for corner in expected]
    kind = "document.getElementById('plot')._fullLayout.xaxis.type"
    assert page.evaluate(kind) == "linear"
    wait_drawn(page, lambda: page.check("#xlog"))
    assert page.evaluate(kind) == "log"


def test_what_is_exported(site: Site, tmp_path: Path) -> None:
    page = site.open("&rows=shown")
    signatures = {"png": b"\x89PNG", "svg": b"<svg"}
    for kind in ("png", "svg", "csv"):
        with page.expect_download() as download:
            page.click(f"#{kind}")
        download.value.save_as(tmp_path / kind)
        assert (tmp_path / kind).read_bytes().startswith(signatures.get(kind, b"trial,"))
    with (tmp_path / "csv").open(newline="") as file:
        found = {row["trial"]: row for row in csv.DictReader(file)}
    for point in complete(site.directory):
        assert float(found[point.trial]["peak_bytes"]) == point.values["peak_bytes"]
        assert found[point.trial]["method"] == point.params["method"]


def test_it_follows_a_running_sweep(site: Site) -> None:
    page = site.open()
    assert drawn_trials(page) == 8
    add_run(site, "digits-9999", {"method": "last"}, accuracy=0.99, peak_bytes=1000)
    began = time.monotonic()
    until(page, "document.getElementById('plot').data.at(0).y.at(-1) > 98")
    assert time.monotonic() - began < 30
    assert "digits-9999" in {row[0] for row in rows(page)}
    client(site).delete_run(find_run(site, "digits-9999"))


def test_it_lies_below_the_server_s_prefix(site: Site) -> None:
    port = choose_port("127.0.0.1", None)
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "tinytl", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--static-prefix", "/ml"]
    command += ["--backend-store-uri", f"sqlite:///{site.directory / STORE_FILE}"]
    server = subprocess.Popen(
        command, env=os.environ | MLFLOW_SETTINGS, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    below = f"http://127.0.0.1:{port}/ml"
    try:
        deadline = time.monotonic() + 120
        while not answers(f"{below}/health"):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        other = replace(site, base=below, link=site.link.replace(site.base, below))
        page = other.open()
        assert drawn_trials(page) == 8
        assert page.get_attribute("#runs", "href").startswith("../#/experiments/")
        page.close()  # or it would go on asking the server that is gone
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False


def test_two_experiments_are_laid_over_each_other(site: Site) -> None:
    other = client(site).create_experiment("other")
    params = {"method": "last", "only_there": "7"}
    sweep = {"tinytl.sweep": "another", "tinytl.study": "elsewhere"}
    client(site).create_run(other, tags=sweep)
    add_run(site, "elsewhere-0", params, accuracy=0.3, peak_bytes=2000, tags=sweep, into=other)
    page = site.open(f"&experiment={other}&rows=shown")
    assert drawn_trials(page) == 9 + 2  # and the second front, of one point, with its last corner
    assert {"elsewhere-0", "digits-0000"} <= {row[0] for row in rows(page)}
    page.select_option("#overlay", "")
    until(page, "document.querySelectorAll('#studies input').length == 1")
    client(site).delete_experiment(other)


def test_hostile_text_is_shown_as_text(site: Site) -> None:
    name = HOSTILE["markup"][:200]
    add_run(site, name, HOSTILE, accuracy=0.5, peak_bytes=900, tags={"note": HOSTILE["markup"]})
    page = site.open("&rows=shown&color=markup&f=" + json.dumps(["foreign", [HOSTILE["foreign"]]]))
    page.click("#filters-box summary")
    assert drawn_trials(page) == 1
    assert rows(page)[0][0] == name
    page.click("#table button >> nth=-1")
    page.wait_for_selector("#panel .plot, #panel dl")
    for text in (HOSTILE["markup"], HOSTILE["quotes"], HOSTILE["foreign"]):
        assert text in page.evaluate("document.getElementById('panel').textContent")
    page.hover("#plot .nsewdrag")
    with page.expect_download() as download:
        page.click("#csv")
    text = Path(download.value.path()).read_text()
    assert "'=HYPERLINK" in text
    assert page.evaluate("window.hacked") is None
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide)
    client(site).delete_run(find_run(site, name))


LOOKS = [("desktop", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]


@pytest.mark.parametrize(("name", "viewport", "scheme"), LOOKS, ids=[look[0] for look in LOOKS])
def test_how_it_looks(site: Site, tmp_path: Path, name: str, viewport: dict, scheme: str) -> None:
    page = site.open("&budget=3", viewport=viewport, color_scheme=scheme)
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / f"pareto_{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.getElementById('plot').getBoundingClientRect().width > 250")


def test_the_paper_is_laid_beside_its_datasets(site: Site) -> None:
    assert len(paper_points()["cars"]) == 16
    page = site.open()
    assert page.is_hidden("#paper-box")  # it has no figure for digits


def test_an_experiment_that_is_not_there(site: Site) -> None:
    page = site.open(link=f"{site.base}/tinytl/pareto?experiment=987654")
    assert "no experiment 987654" in page.inner_text("#message")
    assert drawn_trials(page) > 0  # of one that is there


# ---- runs beside those of the sweep


def client(site: Site) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(site.base)


def find_run(site: Site, trial: str) -> str:
    from urllib.parse import parse_qs, urlsplit

    experiment = parse_qs(urlsplit(site.link).query)["experiment"][0]
    found = client(site).search_runs([experiment], max_results=1000)
    return next(r.info.run_id for r in found if r.data.tags.get("tinytl.trial") == trial)


def add_run(
    site: Site, trial: str, params: dict[str, str], *, accuracy: float, peak_bytes: int,
    tags: dict[str, str] | None = None, into: str | None = None,
) -> None:  # fmt: skip
    from mlflow.entities import Metric, Param, RunTag

    other = client(site).get_run(find_run(site, complete(site.directory)[0].trial))
    own = {k: other.data.tags[k] for k in ("tinytl.sweep", "tinytl.study", "mlflow.parentRunId")}
    experiment = into or other.info.experiment_id
    created = client(site).create_run(experiment, tags=own, run_name=trial[:200])
    values = {"val_accuracy": accuracy, "peak_bytes": peak_bytes}
    own = {"tinytl.trial": trial, "tinytl.state": "complete", **(tags or {})}
    client(site).log_batch(
        created.info.run_id,
        metrics=[Metric(name, value, 1, 1) for name, value in values.items()],
        params=[Param(name, value) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in own.items()],
    )
    client(site).set_terminated(created.info.run_id)
