"""Watts and tokens per second of one model server on this machine's NVIDIA GPU, as a table dispatch can load.

    python bench/gpu_power.py [--size 8b|3b|1b] [--context 1024] [--seconds 5] [--gpu 0] [--out TABLE.json]

A transformer of a real size with random weights (what it says is noise; what it draws and how fast it goes is
not), bfloat16, one GPU, greedy decoding at a fixed context. Decode steps run as one CUDA graph, as serving
engines run them: otherwise small batches measure Python. Prefill is measured apart. Power is NVML's board
energy over the measured span, checked against the mean of its power readings, or that mean where a card counts no
energy. The card's settings (power limit, clocks) are only read. `--gpu` counts as nvidia-smi does; torch is shown
that card alone. Needs torch 2.5 or newer with CUDA; NVML comes with the driver. Without an
NVIDIA GPU it says so in a line and ends with code 0.

`--check` runs the same model at a toy size on the processor and prints no table: it proves the arithmetic
(decoding agrees with prefill) where there is no GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Shape:
    """A decoder as its public configuration has it."""

    like: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int

    @property
    def head(self) -> int:
        return self.width // self.heads


SIZES = {
    "8b": Shape("Llama-3.1-8B", 32, 4096, 32, 8, 14336, 128_256),
    "3b": Shape("Llama-3.2-3B", 28, 3072, 24, 8, 8192, 128_256),
    "1b": Shape("Llama-3.2-1B", 16, 2048, 32, 8, 8192, 128_256),
}
TOY = Shape("toy", 2, 64, 4, 2, 128, 97)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="8b")
    parser.add_argument("--context", type=int, default=1024, help="tokens that each stream attends to")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured per batch and phase")
    parser.add_argument("--gpu", type=int, default=0, help="index of the card")
    parser.add_argument("--host-share", type=float, default=0.35, help="host power as a share of the board's (assumed)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out" / "gpu_power.json")
    parser.add_argument("--check", action="store_true", help="prove the arithmetic on the processor; no table")
    asked = parser.parse_args()
    if asked.context < 16 or asked.seconds <= 0:
        parser.error("--context needs 16 tokens or more, --seconds more than 0")
    card = None if asked.check else Card.open(asked.gpu)
    if card is None and not asked.check:
        print("No NVIDIA GPU on this machine: nothing was measured. Dispatch keeps the tables it ships with.")
        return
    if card is not None:
        if card.split:
            print(f"{card.name} is split (MIG): its power is not one instance's, so nothing was measured.")
            return
        # CUDA counts cards by speed and NVML by bus: the one that is metered has to be the one that works.
        os.environ["CUDA_VISIBLE_DEVICES"] = card.uuid or str(asked.gpu)
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing was measured. Install it with CUDA: pip install torch")
        return
    if not new_enough(torch.__version__):
        print(f"torch {torch.__version__} is too old, 2.5 is needed: nothing was measured. pip install -U torch")
        return
    if card is None:
        check(torch)
        return
    if not torch.cuda.is_available():
        print(f"{card.name} is here, but this torch has no CUDA: nothing was measured. Install torch with CUDA.")
        return
    table = measure(torch, card, SIZES[asked.size], asked.size, asked.context, asked.seconds, asked.host_share)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(as_json(table))
    print(as_json(table), end="")
    print(f"written to {asked.out}; give its path as dispatch.gpu_table", file=sys.stderr)


def new_enough(version: str) -> bool:
    """Grouped attention (`enable_gqa`) came with torch 2.5."""
    digits = [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split("+")[0].split(".")[:2]]
    return digits >= [2, 5]


def as_json(table: dict[str, Any]) -> str:
    """One row of figures per line, as the tables of dispatch are written."""
    parts = []
    for name, value in table.items():
        if value and isinstance(value, list) and isinstance(value[0], list):
            text = "[\n" + ",\n".join(f"    {json.dumps(row)}" for row in value) + "\n  ]"
        else:
            text = json.dumps(value)
        parts.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


# --- the card ----------------------------------------------------------------


class Card:
    """One GPU through NVML, which comes with its driver. Only getters are called."""

    def __init__(self, nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def open(cls, index: int) -> Card | None:
        """None where there is no driver or no such card."""
        for name in ("libnvidia-ml.so.1", "nvml.dll"):
            try:
                nvml = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            return None
        handle = ctypes.c_void_p()
        if nvml.nvmlInit_v2() != 0 or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
            return None
        return cls(nvml, handle)

    @property
    def name(self) -> str:
        buffer = ctypes.create_string_buffer(96)
        self._nvml.nvmlDeviceGetName(self._handle, buffer, 96)
        return buffer.value.decode() or "NVIDIA GPU"

    @property
    def uuid(self) -> str:
        """ "GPU-..." as CUDA_VISIBLE_DEVICES takes it; empty on a driver too old to say."""
        buffer = ctypes.create_string_buffer(96)
        try:
            failed = self._nvml.nvmlDeviceGetUUID(self._handle, buffer, 96)
        except AttributeError:
            return ""
        return "" if failed else buffer.value.decode()

    @property
    def split(self) -> bool:
        """In multi-instance mode one board's power belongs to several instances."""
        now, soon = ctypes.c_uint(), ctypes.c_uint()
        try:
            failed = self._nvml.nvmlDeviceGetMigMode(self._handle, ctypes.byref(now), ctypes.byref(soon))
        except AttributeError:
            return False
        return not failed and now.value == 1

    @property
    def power_w(self) -> float:
        found = self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint())
        return math.nan if found is None else found / 1e3

    @property
    def energy_j(self) -> float | None:
        """Since the driver was loaded; None on cards before 2017."""
        found = self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong())
        return None if found is None else found / 1e3

    @property
    def limit_w(self) -> float | None:
        found = self._number("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint())
        return None if found is None else found / 1e3

    @property
    def clock_mhz(self) -> float | None:
        value = ctypes.c_uint()
        streaming = 1  # NVML_CLOCK_SM
        return (
            value.value
            if self._nvml.nvmlDeviceGetClockInfo(self._handle, streaming, ctypes.byref(value)) == 0
            else None
        )

    def _number(self, getter: str, value: Any) -> float | None:
        try:
            failed = getattr(self._nvml, getter)(self._handle, ctypes.byref(value))
        except AttributeError:  # an older driver
            return None
        return None if failed else float(value.value)


@dataclass
class Meter:
    """Mean board power while entered: by the energy counter where there is one, and by readings."""

    card: Card
    mean_w: float = math.nan
    sampled_w: float = math.nan
    clock_mhz: float | None = None
    _samples: list[float] = field(default_factory=list)

    def __enter__(self) -> Meter:
        self._samples, self._over = [], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._began, self._from_j = time.perf_counter(), self.card.energy_j
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        took, end_j = time.perf_counter() - self._began, self.card.energy_j
        self._over.set()
        self._thread.join()
        if self._samples:
            self.sampled_w = statistics.fmean(self._samples)
        if self._from_j is not None and end_j is not None and end_j > self._from_j and took > 1.0:
            self.mean_w = (end_j - self._from_j) / took
        else:
            self.mean_w = self.sampled_w

    @property
    def apart(self) -> float | None:
        """How far readings are from the counter, as a share of it; None where there is only one of them."""
        if math.isnan(self.mean_w) or math.isnan(self.sampled_w) or self._from_j is None or self.mean_w <= 0:
            return None
        return self.sampled_w / self.mean_w - 1.0

    def _sample(self) -> None:
        # NVML refreshes its reading each 20 to 100 ms; from Ampere on it is itself a mean over a second.
        while not self._over.wait(0.05):
            if not math.isnan(reading := self.card.power_w):
                self._samples.append(reading)
                self.clock_mhz = self.card.clock_mhz


# --- the model ---------------------------------------------------------------


class Decoder:
    """Grouped attention with rotary positions and a gated feed-forward; a key-value cache given from outside."""

    def __init__(self, torch: Any, shape: Shape, device: str, dtype: Any) -> None:
        self.torch, self.shape, self.device, self.dtype = torch, shape, device, dtype
        kv = shape.kv_heads * shape.head

        def weight(rows: int, columns: int) -> Any:
            return torch.randn(rows, columns, device=device, dtype=dtype) * rows**-0.5

        self.blocks = [
            [
                weight(shape.width, shape.width + 2 * kv),
                weight(shape.width, shape.width),
                weight(shape.width, 2 * shape.hidden),
                weight(shape.hidden, shape.width),
            ]
            for _ in range(shape.layers)
        ]
        self.embed = torch.randn(shape.vocabulary, shape.width, device=device, dtype=dtype)
        self.head = weight(shape.width, shape.vocabulary)
        half = torch.arange(0, shape.head, 2, device=device, dtype=torch.float32)
        self.rate = 500_000.0 ** (-half / shape.head)

    @property
    def tensors(self) -> list[Any]:
        return [self.embed, self.head, *(w for block in self.blocks for w in block)]

    def cache(self, batch: int, length: int) -> list[tuple[Any, Any]]:
        size = (batch, self.shape.kv_heads, length, self.shape.head)
        made = [self.torch.zeros(size, device=self.device, dtype=self.dtype) for _ in range(2 * self.shape.layers)]
        return list(zip(made[::2], made[1::2], strict=True))

    def run(self, tokens: Any, cache: list[tuple[Any, Any]], places: Any, causal: bool) -> Any:
        """`tokens` (batch, new) at `places` (new,) of the cache; logits of the last place, (batch, vocabulary).

        Not causal: attends to the whole cache, which then ends at the last place.
        """
        torch, shape = self.torch, self.shape
        functional = torch.nn.functional
        batch, new = tokens.shape
        kv = shape.kv_heads * shape.head
        angle = places.to(torch.float32)[:, None] * self.rate
        cos, sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        x = self.embed[tokens]
        for (qkv, out, up, down), (keys, values) in zip(self.blocks, cache, strict=True):
            q, k, v = (self._norm(x) @ qkv).split([shape.width, kv, kv], dim=-1)
            q = self._turned(q.view(batch, new, shape.heads, shape.head).transpose(1, 2), cos, sin)
            k = self._turned(k.view(batch, new, shape.kv_heads, shape.head).transpose(1, 2), cos, sin)
            v = v.view(batch, new, shape.kv_heads, shape.head).transpose(1, 2)
            keys.index_copy_(2, places, k)
            values.index_copy_(2, places, v)
            found = functional.scaled_dot_product_attention(q, keys, values, is_causal=causal, enable_gqa=True)
            x = x + found.transpose(1, 2).reshape(batch, new, shape.width) @ out
            gate, value = (self._norm(x) @ up).chunk(2, dim=-1)
            x = x + (functional.silu(gate) * value) @ down
        return self._norm(x[:, -1]) @ self.head

    def _norm(self, x: Any) -> Any:
        return x * self.torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5).to(x.dtype)

    def _turned(self, x: Any, cos: Any, sin: Any) -> Any:
        one, two = x.chunk(2, dim=-1)
        return self.torch.cat((one * cos - two * sin, one * sin + two * cos), dim=-1)


def check(torch: Any) -> None:
    """Decoding the last token after a prefill of the others gives what a prefill of all gives."""
    torch.manual_seed(0)
    model, length = Decoder(torch, TOY, "cpu", torch.float32), 12
    tokens = torch.randint(TOY.vocabulary, (3, length))
    with torch.inference_mode():
        whole = model.run(tokens, model.cache(3, length), torch.arange(length), True)
        cache, short = model.cache(3, length), model.cache(3, length - 1)
        model.run(tokens[:, :-1], short, torch.arange(length - 1), True)
        for (keys, values), (k, v) in zip(cache, short, strict=True):
            keys[:, :, :-1], values[:, :, :-1] = k, v
        last = model.run(tokens[:, -1:], cache, torch.tensor([length - 1]), False)
    worst = float((whole - last).abs().max())
    if worst > 1e-3:
        sys.exit(f"decode and prefill differ by {worst:.2g}: this torch cannot be measured with")
    print(f"decode agrees with prefill to {worst:.1e}; no GPU was used and no table is made")


# --- the measurement ---------------------------------------------------------


def measure(
    torch: Any, card: Card, shape: Shape, size: str, context: int, seconds: float, host_share: float
) -> dict[str, Any]:
    """The table: see `tieline.dispatch.inference.gpu.GpuTable` for what each figure means."""
    name, device = card.name, "cuda"
    _say(f"{name}, limit {card.limit_w or math.nan:.0f} W: idle first")
    time.sleep(3.0)
    asleep_w = _draw(card, 5.0)  # before this process has anything on the card
    model = Decoder(torch, shape, device, torch.bfloat16)
    torch.cuda.synchronize()
    warm_s, cold_s, load_source = _load_times(torch, model)
    time.sleep(2.0)
    idle_w = _draw(card, 5.0)
    if math.isnan(idle_w) or math.isnan(asleep_w):
        sys.exit(f"{name} tells neither energy nor power through NVML: nothing can be measured on it")
    rows, prefill, clocks = [], [], []
    for batch in BATCHES:
        try:
            speed, watts, p95_ms, clock = _decode(torch, card, model, batch, context, seconds)
            fed, fed_w = _prefill(torch, card, model, batch, context, seconds)
        except RuntimeError as error:
            if not no_room(torch, error):
                raise
            _say(f"batch {batch}: does not fit in this card's memory, left out")
            break
        finally:
            torch.cuda.empty_cache()
        clocks += [clock] if clock else []
        prefill.append([batch, round(fed, 1), round(fed_w, 1)])
        _say(
            f"batch {batch:3d}: decode {speed:9.1f} tok/s {watts:6.1f} W {p95_ms:7.2f} ms; "
            f"prefill {fed:10.1f} tok/s {fed_w:6.1f} W"
        )
        # A table must rise: a larger batch that is no faster adds nothing.
        if not rows or speed > rows[-1][1]:
            rows.append([batch, round(speed, 4), round(watts, 4), round(p95_ms, 4)])
    if not rows:
        sys.exit("not even one stream fits in this card's memory; give a smaller --size")
    return {
        "name": f"{shape.like.lower()}-shape_1x{name.lower().replace('nvidia ', '').replace(' ', '-')}",
        "model": f"{shape.like} in shape, random weights, bfloat16",
        "gpu": name,
        "gpus": 1,
        "source": f"bench/gpu_power.py --size {size}: measured, torch {torch.__version__}, CUDA graphs, context "
        f"{context}, {seconds:g} s a row, board only, "
        + (f"streaming clock {min(clocks):.0f} to {max(clocks):.0f} MHz" if clocks else "clock not told"),
        "host_share": host_share,
        "host_source": f"assumed: host, network and fans add {host_share:.0%} to the board",
        # Dispatch takes this figure as it stands, so the host's part is in it.
        "idle_w": round(idle_w * (1.0 + host_share), 1),
        "idle_source": f"measured: weights loaded, nothing served, {idle_w:.1f} W at the board; host as assumed",
        "asleep_w": round(asleep_w * (1.0 + host_share), 1),
        "power_cap_w": card.limit_w,
        "load_s_warm": warm_s,
        "load_s_cold": cold_s,
        "load_source": load_source,
        "columns": ["batch", "output_tokens_per_s", "board_w", "itl_p95_ms"],
        "rows": rows,
        "prefill_columns": ["batch", "input_tokens_per_s", "board_w"],
        "prefill_rows": prefill,
    }


def no_room(torch: Any, error: RuntimeError) -> bool:
    """Whether memory ran out: also while a graph was captured, where it may come as a capture that failed."""
    words = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in words or "captur" in words


def _decode(
    torch: Any, card: Card, model: Decoder, batch: int, context: int, seconds: float
) -> tuple[float, float, float, float | None]:
    """Tokens per second, board watts, p95 ms between tokens, clock."""
    with torch.inference_mode():
        cache = model.cache(batch, context)
        tokens = torch.randint(model.shape.vocabulary, (batch, 1), device=model.device)
        place = torch.tensor([context - 1], device=model.device)

        def step() -> None:
            tokens.copy_(model.run(tokens, cache, place, False).argmax(-1, keepdim=True))

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # warm up beside the main stream, as capture asks
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return _run(torch, card, graph.replay, batch, seconds)


def _prefill(torch: Any, card: Card, model: Decoder, batch: int, context: int, seconds: float) -> tuple[float, float]:
    """Input tokens per second and board watts. The prompts of a batch run a few at a time, as engines cut them."""
    at_once = max(1, min(batch, 8192 // context))
    with torch.inference_mode():
        cache = model.cache(at_once, context)
        tokens = torch.randint(model.shape.vocabulary, (at_once, context), device=model.device)
        places = torch.arange(context, device=model.device)
        rounds = -(-batch // at_once)

        def step() -> None:
            for _ in range(rounds):
                model.run(tokens, cache, places, True)

        step()
        speed, watts, _, _ = _run(torch, card, step, rounds * at_once * context, seconds)
        return speed, watts


def _run(
    torch: Any, card: Card, step: Callable[[], Any], tokens: int, seconds: float
) -> tuple[float, float, float, float | None]:
    """Half of `seconds` to warm the card, then all of it measured."""
    _until(torch, step, seconds / 2)
    with Meter(card) as meter:
        took, times = _until(torch, step, seconds)
    if (apart := meter.apart) is not None and abs(apart) > 0.05 and seconds >= 2.0:
        _say(f"  power readings are {apart:+.0%} from the energy counter, which is used")
    p95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    return tokens * len(times) / took, meter.mean_w, p95 * 1e3, meter.clock_mhz


def _until(torch: Any, step: Callable[[], Any], seconds: float) -> tuple[float, list[float]]:
    times: list[float] = []
    torch.cuda.synchronize()
    begin = before = time.perf_counter()
    while before - begin < seconds:
        step()
        torch.cuda.synchronize()
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return before - begin, sorted(times)


def _draw(card: Card, seconds: float) -> float:
    with Meter(card) as meter:
        time.sleep(seconds)
    return meter.mean_w


def _load_times(torch: Any, model: Decoder) -> tuple[float, float, str]:
    """Seconds from a file to the card: with the file in memory, and after the system dropped it."""
    wide = [w.flatten().view(torch.uint8) for w in model.tensors]
    total = sum(w.numel() for w in wide)
    assumed = 75.0, 300.0, "assumed, as vendors publish for a large model: no room here for a file of the weights"
    folder = Path(tempfile.gettempdir())
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < 2 * total or not hasattr(os, "posix_fadvise"):
        return assumed
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for w in wide:
            file.write(memoryview(w.cpu().numpy()))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cold = _read_onto(torch, file, wide)
        warm = _read_onto(torch, file, wide)
    return (
        round(warm, 1),
        round(max(cold, warm), 1),
        f"measured: {total / 1e9:.1f} GB of weights from {folder} (cold: dropped from memory first, which a folder in "
        "memory cannot be; warm: read again) to the card; "
        "an engine's own start comes on top",
    )


def _read_onto(torch: Any, file: Any, wide: list[Any]) -> float:
    begin = time.perf_counter()
    file.seek(0)
    for w in wide:
        host = torch.empty(w.numel(), dtype=torch.uint8)
        file.readinto(memoryview(host.numpy()))
        w.copy_(host)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
