"""`bench/gpu_power.py` where there is no GPU: one clear line; and what it writes is what dispatch reads."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tieline.dispatch import load_table

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "gpu_power.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("gpu_power", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_power"] = module
    spec.loader.exec_module(module)
    return module


class FakeCard:
    """A card that draws 200 W and counts its energy, by a clock of the test's own."""

    name, limit_w, clock_mhz, power_w = "NVIDIA Test 100", 700.0, 1500.0, 200.0
    energy_j = None


class FakeCuda:
    class OutOfMemoryError(RuntimeError):
        pass

    @staticmethod
    def synchronize():
        pass

    empty_cache = synchronize


class FakeTorch:
    __version__, bfloat16, cuda = "0", None, FakeCuda


def test_without_a_gpu_it_says_so_in_one_line(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.Card, "open", classmethod(lambda cls, index: None))
    monkeypatch.setattr(sys, "argv", ["gpu_power.py"])
    bench.main()
    out = capsys.readouterr().out
    assert out == "No NVIDIA GPU on this machine: nothing was measured. Dispatch keeps the tables it ships with.\n"


def test_the_script_runs_by_itself():
    found = subprocess.run([sys.executable, SCRIPT, "--context", "2"], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "--context needs 16 tokens or more" in found.stderr


def test_its_table_is_one_that_dispatch_loads(bench, monkeypatch, tmp_path):
    """Figures in place of a card's: a batch that is no faster, one that does not fit, and the host in idle."""
    speeds = {1: 90.0, 2: 175.0, 4: 340.0, 8: 330.0, 16: 1200.0}

    def decode(torch, card, model, batch, context, seconds):
        if batch not in speeds:
            raise FakeCuda.OutOfMemoryError
        return speeds[batch], 300.0 + batch, 11.0, 1500.0

    monkeypatch.setattr(bench, "_decode", decode)
    monkeypatch.setattr(bench, "_prefill", lambda *a: (5_000.0, 600.0))
    monkeypatch.setattr(bench, "_draw", lambda card, seconds: 100.0)
    monkeypatch.setattr(bench, "_load_times", lambda torch, model: (6.0, 21.0, "measured: here"))
    monkeypatch.setattr(bench, "Decoder", lambda *a: object())
    monkeypatch.setattr(bench.time, "sleep", lambda seconds: None)
    made = bench.measure(FakeTorch, FakeCard(), bench.SIZES["8b"], "8b", 1024, 5.0, 0.35)
    path = tmp_path / "table.json"
    path.write_text(bench.as_json(made))
    table = load_table(str(path))
    assert [row[0] for row in table.rows] == [1, 2, 4, 16]
    assert table.name == "llama-3.1-8b-shape_1xtest-100"
    assert (table.idle_w, table.asleep_w, table.power_cap_w) == (135.0, 135.0, 700.0)
    assert (table.load_s_warm, table.load_s_cold) == (6.0, 21.0)
    assert table.power_w(0.0) == 135.0
    assert table.power_w(1200.0) == pytest.approx(316.0 * 1.35)
    assert json.loads(path.read_text())["prefill_rows"][0] == [1, 5000.0, 600.0]


def test_a_capture_that_failed_for_memory_is_memory_and_another_error_is_not(bench):
    for error in (
        FakeCuda.OutOfMemoryError("tried to allocate"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: operation failed due to a previous error during capture"),
    ):
        assert bench.no_room(FakeTorch, error)
    assert not bench.no_room(FakeTorch, RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_the_counter_is_used_and_readings_are_checked_against_it(bench, monkeypatch):
    class Counting(FakeCard):
        """230 W by the counter, 200 W by readings: what a card that averages over a second shows after a step."""

        began = None

        @property
        def energy_j(self):
            return 230.0 * clock[0]

    clock = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    meter = bench.Meter(Counting())
    with meter:
        meter._samples += [200.0] * 10
        clock[0] = 5.0
    assert meter.mean_w == pytest.approx(230.0)
    assert meter.apart == pytest.approx(200.0 / 230.0 - 1.0)
    without = bench.Meter(FakeCard())
    with without:
        without._samples += [200.0] * 10
        clock[0] = 10.0
    assert without.mean_w == pytest.approx(200.0)
    assert without.apart is None


class FakeNvml:
    """The getters of one split card; a setter would be an AttributeError."""

    def __init__(self, mig=1):
        self.mig, self.asked = mig, []

    def __getattr__(self, name):
        def getter(handle, *out):
            self.asked.append(name)
            if name == "nvmlDeviceGetUUID":
                out[0].value = b"GPU-1234"
            elif name == "nvmlDeviceGetName":
                out[0].value = b"NVIDIA Test 100"
            elif name == "nvmlDeviceGetMigMode":
                out[0]._obj.value = self.mig
            elif name == "nvmlDeviceGetPowerUsage":
                out[0]._obj.value = 345_678
            elif name == "nvmlDeviceGetTotalEnergyConsumption":
                out[0]._obj.value = 12_345_678_901
            else:
                return 3  # not supported
            return 0

        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)
        return getter


def test_a_card_is_only_read_in_its_own_units_and_named_so_that_torch_sees_the_same(bench, monkeypatch, capsys):
    nvml = FakeNvml()
    card = bench.Card(nvml, None)
    assert (card.power_w, card.energy_j) == (345.678, 12_345_678.901)
    assert (card.limit_w, card.clock_mhz) == (None, None)
    assert (card.uuid, card.split) == ("GPU-1234", True)
    assert all(name.startswith("nvmlDeviceGet") for name in nvml.asked)
    monkeypatch.setattr(bench.Card, "open", classmethod(lambda cls, index: card))
    monkeypatch.setattr(sys, "argv", ["gpu_power.py"])
    bench.main()
    assert "is split (MIG)" in capsys.readouterr().out
    whole = bench.Card(FakeNvml(mig=0), None)
    monkeypatch.setattr(bench.Card, "open", classmethod(lambda cls, index: whole))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setitem(sys.modules, "torch", None)
    bench.main()
    assert bench.os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1234"
    assert "torch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "enough"), [("2.5.0", True), ("2.10.1+cu128", True), ("3.0a0", True), ("2.4.1+cu121", False)]
)
def test_a_torch_without_grouped_attention_is_refused(bench, version, enough):
    assert bench.new_enough(version) is enough


def test_a_card_too_small_for_one_stream_is_one_line(bench, monkeypatch):
    def decode(*_):
        raise FakeCuda.OutOfMemoryError

    for name in ("_decode", "_draw", "_load_times", "Decoder"):
        monkeypatch.setattr(bench, name, {"_decode": decode}.get(name, lambda *a: (1.0, 2.0, "")))
    monkeypatch.setattr(bench, "_draw", lambda card, seconds: 100.0)
    monkeypatch.setattr(bench.time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit, match="give a smaller --size"):
        bench.measure(FakeTorch, FakeCard(), bench.SIZES["8b"], "8b", 1024, 5.0, 0.35)


def test_the_arithmetic_holds_where_torch_is(bench, capsys):
    torch = pytest.importorskip("torch", reason="torch is no dependency of the project")
    bench.check(torch)
    assert "decode agrees with prefill" in capsys.readouterr().out
