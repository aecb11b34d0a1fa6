"""The real measurements at tiny sizes, and the file they end in."""

from __future__ import annotations

import json

import pytest
import torch

from aliasfree.errors import ArgumentError, BackendError
from benchmarks import growth, network, ops, sampling, sections
from benchmarks.__main__ import main
from benchmarks.bars import BARS, judge
from benchmarks.memory import PeakTask, measure_peak
from benchmarks.results import Row, Settings
from benchmarks.sections import measure_sections
from benchmarks.timing import Quartiles

QUICK = Settings(extent="quick")


def has_sense(row: Row) -> bool:
    """Positive, finite, ordered figures."""
    numbers = [(q.lower, q.median, q.upper) for q in (*row.seconds.values(), *row.ratios.values())]
    return bool(numbers) and all(0 < low <= mid <= high < float("inf") for low, mid, high in numbers)


@pytest.mark.parametrize("operation", ["filtered GELU", "upsampling", "downsampling"])
@pytest.mark.parametrize("backward", [False, True])
def test_an_op_is_measured_against_all_others(operation, backward):
    row = ops.measure_case(ops.OpCase(operation, "2N", (1, 4, 8, 8), backward), QUICK)
    against = {"conv", "memory floor", "arithmetic floor"} | ({"plain"} if operation == "filtered GELU" else set())
    assert set(row.ratios) == {"literal / ours", *(f"ours / {name}" for name in against)}
    assert has_sense(row)
    assert row.rounds == 3
    assert row.seconds["ours"].median > 0


def test_an_op_is_measured_in_the_dtype_and_by_the_backend_asked_for():
    settings = Settings(extent="quick", dtype=torch.bfloat16, backend="reference")
    row = ops.measure_case(ops.OpCase("filtered GELU", "hq", (1, 2, 8, 8), True), settings)
    assert row.dtype == "bfloat16"
    assert has_sense(row)
    with pytest.raises(Exception, match="unknown backend"):
        ops.measure_case(ops.OpCase("upsampling", "hq", (1, 2, 8, 8), False), Settings(backend="nonsense"))


def test_the_cases_grow_with_the_extent_and_hold_those_of_the_bars():
    quick, default, full = (set(ops.cases(Settings(extent=extent))) for extent in ("quick", "default", "full"))
    assert quick < default < full
    assert set(ops.cases(Settings(bars=True))) <= quick
    assert {case.shape[2] for case in default} == {16, 32, 64, 128, 256}
    assert {case.shape[1] for case in full} == {32, 64, 128, 256}
    assert {case.filter for case in quick} == {"2N", "hq", "radial"}


def test_the_peak_of_the_literal_algorithm_holds_its_planes_at_the_higher_rate():
    task = PeakTask("activation", "2N", (4, 16, 64, 64), contender="literal", threads=1)
    size = 4 * 16 * 64 * 64 * 4
    assert 8 * size < measure_peak(task) < 24 * size  # before and after the GELU, four times the input each


@pytest.mark.parametrize(("mode", "dtype"), [("forward", "bfloat16"), ("training step", "float32")])
def test_networks_are_measured_together(mode, dtype):
    rows = network.measure_mode(mode, dtype, (1, 3, 8, 8), QUICK)
    assert [row.variant for row in rows] == ["A", "D-2N", "D-hq"]
    assert all(has_sense(row) and "slow / ours" in row.ratios for row in rows)
    assert ["ours / A" in row.ratios for row in rows] == [False, True, True]
    assert ("slow float32 / ours" in rows[1].ratios) == (dtype == "bfloat16")


def test_a_chain_of_which_a_part_is_timed_is_scaled_and_says_so():
    chain = sampling.Sampler("ancestral, T = 1000", "ddpm", 999, 2)
    row = sampling.measure_sampler(chain, (2, 3, 8, 8), QUICK)
    assert has_sense(row)
    assert row.note == "2 steps timed, scaled to 999"
    assert row.values["steps timed"] == 2
    assert row.values["images/s ours"] == pytest.approx(2 / row.seconds["ours"].median, rel=1e-6)
    whole = sampling.measure_sampler(sampling.Sampler("DPM-Solver++", "dpm++", 2, 2), (2, 3, 8, 8), QUICK)
    assert whole.note == ""
    assert whole.seconds["ours"].median < row.seconds["ours"].median / 20


def test_the_samplers_of_a_full_run_are_timed_whole_but_for_the_chain():
    assert [(s.scheduler, s.steps, s.timed) for s in sampling.samplers(Settings())] == [
        ("ddpm", 999, 20),
        ("ddim", 50, 50),
        ("dpm++", 20, 20),
    ]


def test_a_rotation_is_measured_against_the_network():
    assert set(sampling.measure_rotation((2, 3, 8, 8), QUICK).ratios) == {"ours / network"}


def test_growth_is_measured_along_an_axis():
    row = growth.measure_op("2N", "side", (4, 64), QUICK)
    # 2 but for what each call costs at any size; so far apart that a machine at work elsewhere cannot hide it
    assert 0.5 < row.ratios["slope literal"].median < 3
    assert "slope ours" in row.ratios
    row = growth.measure_network("D-2N", "channels", (4, 8), QUICK)
    # so small a network may cost as much at twice the width, but slope and ratio say the same
    slope, ratio = row.ratios["slope ours"].median, row.ratios["ours 8 / ours 4"].median
    assert 2**slope == pytest.approx(ratio, rel=0.2)
    assert row.note == "channels 4, 8"


def test_bars_are_judged_by_the_median_of_their_row():
    def op(ratio: float) -> Row:
        return Row(
            "ops",
            "filtered GELU",
            "2N",
            ops.BAR_SHAPE,
            "float32",
            "forward",
            ratios={"literal / ours": Quartiles(ratio, 1, 99)},
        )

    assert judge([op(4.0)], "cpu")[0].measured == 4.0
    assert judge([op(4.0)], "cpu")[0].met is True
    assert judge([op(3.9)], "cpu")[0].met is False
    assert judge([op(9.0)], "cuda")[0].met is None
    assert all(verdict.met is None for verdict in judge([], "cpu"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_bar_names_a_row_that_a_run_makes(device):
    """Rows by construction, as timing the bars' shapes takes minutes."""
    shape, chain = ((16, 3, 32, 32), []) if device == "cpu" else ((64, 3, 32, 32), ["sampling"])
    dtype = "float32" if device == "cpu" else "bfloat16"
    one = Quartiles(1, 1, 1)
    every = dict.fromkeys(("literal / ours", "ours / memory floor", "ours / arithmetic floor"), one)
    op_shape = ops.BAR_SHAPE if device == "cpu" else ops.GPU_BAR_SHAPE
    rows = [
        Row("ops", "filtered GELU", f, op_shape, dtype, m, ratios=every)
        for f in ("2N", "hq")
        for m in ("forward", "forward + backward")
    ]
    rows += [
        Row("ops", "filtered GELU", f, ops.PEAK_SHAPE, dtype, "peak memory", values={"ours over input": 1.0})
        for f in ("2N", "hq")
    ]
    rows += [
        Row("network", "UNet", c, shape, d, m, ratios=dict.fromkeys(("slow / ours", "ours / A"), one))
        for c in network.CONFIGS
        for d in ("float32", "bfloat16")
        for m in ("forward", "training step")
    ]
    rows += [
        Row("sampling", s, "D-2N", shape, "float32", "999 steps", ratios={"slow / ours bfloat16": one}) for s in chain
    ]
    measured = [v.measured for v in judge(rows, device, compiled=True) if v.device == device]
    assert measured == [1.0] * sum(bar.device == device for bar in BARS)


def test_a_run_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(growth, "OP_SIZES", {"side": (4, 8)})
    monkeypatch.setattr(growth, "NETWORK_SIZES", {"channels": (4, 8)})
    out = tmp_path / "new" / "figures.json"
    threads = torch.get_num_threads()
    try:
        assert main(["--only", "growth", "--quick", "--threads", "1", "--out", str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "UNet D-2N, with channels" in printed
    assert "slope ours" in printed
    content = json.loads(out.read_text())
    assert set(content) == {"format", "machine", "versions", "threads", "environment", "settings", "rows", "bars"}
    assert set(content["machine"]) == {"cpu", "cores", "cpu capability", "gpu", "system"}
    assert content["threads"] == 1
    assert content["settings"]["extent"] == "quick"
    assert [row["variant"] for row in content["rows"]] == ["2N", "hq", "D-2N"]
    assert content["rows"][0]["shape"] == [4, 64, 4, 4]
    assert set(content["rows"][0]["ratios"]["slope literal"]) == {"median", "lower", "upper"}
    assert [bar["limit"] for bar in content["bars"]] == [bar.limit for bar in BARS]
    assert list(out.parent.iterdir()) == [out]


def test_sections_run_in_processes_of_their_own_and_hand_their_errors_on(monkeypatch):
    settings = Settings(backend="nonsense", extent="quick", bars=True)
    with pytest.raises(BackendError, match="unknown backend 'nonsense'"):
        measure_sections(["growth", "ops"], settings)  # growth has nothing for the bars
    monkeypatch.setattr(sections, "MEASURES", {})
    assert measure_sections(["growth", "growth"], Settings(bars=True)) == []  # not this process's table


def test_the_bars_are_printed_whatever_was_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--only", "growth", "--bars"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not measured") == sum(bar.device == "cpu" for bar in BARS)
    (written,) = (tmp_path / "runs" / "benchmarks").iterdir()
    assert written.name == f"cpu-{torch.get_num_threads()}-threads-growth-bars.json"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "--threads must be at least 1"),
        (["--only", "growth", "--backend", "nonsense"], "unknown backend 'nonsense'"),
        (["--out", "."], "--out names the JSON file"),
        (["--only", "network", "--peer", "nowhere"], "give --peer the root of a checkout"),
    ],
)
def test_bad_arguments_end_in_one_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ArgumentError, match="leave out --device cuda"):
        Settings(device=torch.device("cuda"))
