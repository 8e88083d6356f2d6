"""Every rule and figure, evaluated by the monitor and by a real Prometheus on the same samples: the same numbers."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.monitor.definition.loading import shipped
from services.monitor.definition.rules import Definition
from services.monitor.windows.windows import UP, Sample, Target, WindowBounds, Windows

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="needs Prometheus (Debian: prometheus)"
)
START, STEP, ROUNDS = 1_790_000_000, 2, 420
AT = START + (ROUNDS - 1) * STEP
# Between samples: one at a window's very start is outside for Prometheus 3, as for us, and inside for Prometheus 2.
TIMES = (AT + 0.25, AT + 1.5)
BOUNDS = ("0.1", "0.5", "1.0", "5.0", "+Inf")
INSTANCES = ("10.0.0.1:7410", "10.0.0.2:7410")
SPARE = ("one", "two")  # values of labels that a quantity keeps and does not narrow
Series = tuple[Target, str, tuple[tuple[str, str], ...]]


def all_series(definition: Definition) -> list[Series]:
    """For every selection its labels in every combination, for two instances."""
    wanted: dict[Series, None] = {}
    quantities = [c.quantity for rule in definition.rules for c in rule.conditions]
    for quantity in quantities + [figure.quantity for figure in definition.figures]:
        for selection in (each for each in quantity.selections if each.name != UP):
            values = dict.fromkeys(quantity.by, SPARE) | dict(selection.where)
            jobs = values.pop("job", ("strongroom-test",))
            values.pop("instance", None)
            if selection.name.endswith("_bucket"):
                values["le"] = BOUNDS
            names = sorted(values)
            for job, instance in itertools.product(jobs, INSTANCES):
                for combination in itertools.product(*(values[name] for name in names)):
                    labels = tuple(zip(names, combination, strict=True))
                    wanted[Target(job, instance), selection.name, labels] = None
    return list(wanted)


def bare_targets(definition: Definition) -> list[Target]:
    """Of rules that ask only whether a target is up."""
    where = [pair for selection in definition.selections for pair in selection.where]
    jobs = {job for label, values in where for job in values if label == "job"}
    return [Target(job, instance) for job in sorted(jobs) for instance in INSTANCES]


class Walk:
    """One series: a counter that is reset now and then, a gauge, or a histogram's bucket."""

    def __init__(self, series: Series, random: random.Random) -> None:
        _, self._name, labels = series
        self._random, self.value = random, 0.0
        self._rate = random.choice((0.0, 0.2, 3.0)) * (1 + BOUNDS.index(dict(labels).get("le", BOUNDS[0])))

    def step(self, at: int) -> float:
        if self._name.endswith(("_total", "_sum", "_count", "_bucket")):
            self.value = 0.0 if self._random.random() < 0.003 else self.value + self._random.random() * self._rate
        elif "timestamp" in self._name or "start_time" in self._name:
            self.value = at - self._random.choice((5, 5, 200))
        else:
            self.value = self._random.choice((0.0, 0.3, 0.97, 1.0, 12.5, 40.0, 4000.0))
        return self.value


def walked(definition: Definition, file: Path) -> Windows:
    """The same samples in the monitor's windows and in a file for Prometheus; some scrapes fail on the way."""
    chance, series, bare = random.Random(21), all_series(definition), bare_targets(definition)
    walks = {each: Walk(each, chance) for each in series}
    windows = Windows(definition.selections, WindowBounds(seconds=1_000, series_per_target=5_000))
    lines: dict[Series, list[str]] = {each: [] for each in series}
    for at in range(START, START + ROUNDS * STEP, STEP):
        for target in dict.fromkeys([*(target for target, _, _ in series), *bare]):
            shown = [each for each in series if each[0] == target]
            values = {each: walks[each].step(at) for each in shown}
            up = (
                target.instance == INSTANCES[0]
                if target in bare and at > AT - 60
                else chance.random() < 0.95 or at == AT
            )
            lines.setdefault((target, "up", ()), []).append(f"{_named((target, 'up', ()))} {int(up)} {at}")
            if not up:
                windows.failed(target, at)
                continue
            assert windows.answered(target, at, [Sample(each[1], each[2], values[each]) for each in shown])
            for each in shown:
                lines[each].append(f"{_named(each)} {values[each]!r} {at}")
    file.write_text("\n".join(itertools.chain(*lines.values())) + "\n# EOF\n")
    return windows


def _named(series: Series) -> str:
    target, name, labels = series
    pairs = [*labels, ("job", target.job), ("instance", target.instance)]
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in pairs) + "}"


@contextmanager
def prometheus(samples: Path, folder: Path) -> Iterator[str]:
    """A Prometheus on these samples; yields its address."""
    config, data = folder / "empty.yml", folder / "data"
    config.write_text("")
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(samples), str(data)]
    made = subprocess.run(blocks, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"]
    command += [f"--web.listen-address={address}", "--storage.tsdb.retention.time=100y"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Windows, str]]:
    folder = tmp_path_factory.mktemp("prometheus")
    definition = shipped()
    windows = walked(definition, folder / "samples.txt")
    with prometheus(folder / "samples.txt", folder) as url:
        yield windows, url


@pytest.fixture
async def asked(both: tuple[Windows, str]):
    """`await asked(promql, at, by)`: Prometheus' answer, by the values of those labels."""
    async with httpx.AsyncClient(base_url=both[1], timeout=60, trust_env=False) as http:
        async with asyncio.timeout(60):
            while True:
                try:
                    if (await http.get("/-/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

        async def ask(promql: str, at: float, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
            reply = await http.post("/api/v1/query", data={"query": promql, "time": str(at)})
            answer = reply.json()
            assert answer["status"] == "success", f"{promql}: {answer}"
            found = {
                tuple(each["metric"].get(label, "") for label in by): float(each["value"][1])
                for each in answer["data"]["result"]
            }
            return {key: value for key, value in found.items() if not math.isnan(value)}

        yield ask


@pytest.mark.parametrize("figure", shipped().figures, ids=lambda figure: figure.id)
async def test_a_figure_is_what_prometheus_makes_of_it(figure, both, asked):
    windows, _ = both
    for at in TIMES:
        ours = figure.quantity.values(windows, at)
        assert ours == pytest.approx(await asked(figure.quantity.promql, at, figure.quantity.by), rel=1e-9, abs=1e-9)
    assert ours, "a figure that nothing was said of proves nothing"


@pytest.mark.parametrize("rule", shipped().rules, ids=lambda rule: rule.id)
async def test_a_rule_holds_where_prometheus_finds_that_it_does(rule, both, asked):
    windows, _ = both
    for at in TIMES:
        assert dict(rule.holding(windows, at)) == pytest.approx(await asked(rule.promql, at, rule.by), rel=1e-9)
        for condition in rule.conditions:
            quantity = condition.quantity
            assert quantity.values(windows, at) == pytest.approx(
                await asked(quantity.promql, at, quantity.by), rel=1e-9, abs=1e-9
            )


async def test_some_rules_hold_and_some_do_not(both):
    """Else agreement would say little."""
    holding = [bool(rule.holding(both[0], AT)) for rule in shipped().rules]
    assert 5 < sum(holding) < len(holding) - 5
