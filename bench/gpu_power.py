"""Watts and tokens per second of one model server on this machine's NVIDIA GPU, as a table dispatch can load.

    python bench/gpu_power.py [--size 8b|1b] [--seconds 5] [--out table.json]

A transformer of a real size with random weights (what it says is noise; what it draws and how fast it goes is
not), bfloat16, one GPU. Power is NVML's board power, sampled while decoding; prefill is measured apart. The
card's settings are only read. Needs torch with CUDA and pynvml; without an NVIDIA GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# (layers, width, heads, key-value heads, feed-forward, vocabulary): the shapes of Llama-3.1-8B and 3.2-1B.
SIZES = {"8b": (32, 4096, 32, 8, 14336, 128_256), "1b": (16, 2048, 32, 8, 8192, 128_256)}
CONTEXT = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="8b")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured per batch size")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out" / "gpu_power.json")
    asked = parser.parse_args()
    if shutil.which("nvidia-smi") is None or not _has_gpu():
        print("No NVIDIA GPU on this machine: nothing was measured. Dispatch keeps the tables it ships with.")
        return
    try:
        import pynvml
        import torch
    except ImportError as error:
        sys.exit(f"An NVIDIA GPU is here, but {error.name} is not; pip install torch nvidia-ml-py")
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    name = pynvml.nvmlDeviceGetName(handle)
    name = name.decode() if isinstance(name, bytes) else name
    meter = _Meter(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
    print(f"{name}: idle first, then decode at batches {', '.join(map(str, BATCHES))}")
    time.sleep(3.0)
    with meter:
        time.sleep(5.0)
    idle_w = meter.mean_w
    begin = time.perf_counter()
    model = _Model(torch, SIZES[asked.size])
    torch.cuda.synchronize()
    load_s = time.perf_counter() - begin
    with meter:
        time.sleep(3.0)
    loaded_w = meter.mean_w
    rows, prefill = [], []
    for batch in BATCHES:
        try:
            speed, watts, step_ms = _decode(torch, model, meter, batch, asked.seconds)
            tokens, draw = _prefill(torch, model, meter, min(batch, 16), asked.seconds / 2)
        except torch.cuda.OutOfMemoryError:
            print(f"batch {batch}: out of memory, left out")
            break
        rows.append([batch, round(speed, 1), round(watts, 1), round(step_ms, 3)])
        prefill.append([min(batch, 16), round(tokens, 1), round(draw, 1)])
        print(
            f"batch {batch:4d}: {speed:9.0f} tok/s  {watts:6.1f} W  {step_ms:7.2f} ms a step; "
            f"prefill {tokens:9.0f} tok/s"
        )
    # A table must rise; a larger batch that is no faster adds nothing.
    rising = [row for n, row in enumerate(rows) if all(row[1] > before[1] for before in rows[:n])]
    limit_w = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1e3
    table = {
        "name": f"random-{asked.size}_{name.lower().replace(' ', '-')}",
        "model": f"transformer of the shape of Llama {asked.size}, random weights, bfloat16",
        "gpu": name,
        "gpus": 1,
        "source": f"measured by bench/gpu_power.py, torch {torch.__version__}, NVML board power, context {CONTEXT}",
        "host_share": 0.35,
        "host_source": "assumed: host, network and fans add 35 % to the board",
        "idle_w": round(loaded_w, 1),
        "idle_source": "measured: weights loaded, nothing served",
        "asleep_w": round(idle_w, 1),
        "power_cap_w": limit_w,
        "load_s_warm": round(load_s, 1),
        "load_s_cold": 300.0,
        "load_source": "warm: weights made on the card here, not read from a disk; cold: assumed",
        "columns": ["batch", "output_tokens_per_s", "board_w", "itl_p95_ms"],
        "rows": rising,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(table, indent=1) + "\n")
    asked.out.with_suffix(".prefill.json").write_text(json.dumps(prefill) + "\n")
    print(f"written to {asked.out}; give its path as dispatch.gpu_table")


def _has_gpu() -> bool:
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return found.returncode == 0 and "GPU" in found.stdout


class _Meter:
    """Samples a power reading every 50 ms while entered."""

    def __init__(self, read) -> None:
        self._read, self._on, self._samples = read, False, []

    def __enter__(self):
        self._samples, self._on = [], True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._on = False
        self._thread.join()

    def _run(self) -> None:
        while self._on:
            self._samples.append(self._read())
            time.sleep(0.05)

    @property
    def mean_w(self) -> float:
        # The first fifth is the ramp.
        kept = self._samples[len(self._samples) // 5 :]
        return sum(kept) / len(kept) if kept else float("nan")


class _Model:
    """Attention with grouped keys, a gated feed-forward, random weights; a key-value cache given from outside."""

    def __init__(self, torch, size) -> None:
        self.torch = torch
        self.layers, self.width, self.heads, self.kv_heads, self.hidden, self.vocabulary = size
        self.head = self.width // self.heads

        def weight(rows, columns):
            return torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16) * 0.02

        kv = self.kv_heads * self.head
        self.blocks = [
            (
                weight(self.width, self.width + 2 * kv),
                weight(self.width, self.width),
                weight(self.width, 2 * self.hidden),
                weight(self.hidden, self.width),
            )
            for _ in range(self.layers)
        ]
        self.embed = weight(self.vocabulary, self.width)

    def cache(self, batch, length):
        shape = (self.layers, 2, batch, self.kv_heads, length, self.head)
        return self.torch.zeros(shape, device="cuda", dtype=self.torch.bfloat16)

    def run(self, tokens, cache, at):
        """tokens (batch, new); writes the cache at `at`; returns the next token of each row."""
        functional = self.torch.nn.functional
        x = self.embed[tokens]
        batch, new, _ = x.shape
        kv = self.kv_heads * self.head
        for n, (qkv, out, up, down) in enumerate(self.blocks):
            normed = functional.layer_norm(x, (self.width,))
            q, k, v = (normed @ qkv).split([self.width, kv, kv], dim=-1)
            q = q.view(batch, new, self.heads, self.head).transpose(1, 2)
            k = k.view(batch, new, self.kv_heads, self.head).transpose(1, 2)
            v = v.view(batch, new, self.kv_heads, self.head).transpose(1, 2)
            cache[n, 0, :, :, at : at + new] = k
            cache[n, 1, :, :, at : at + new] = v
            keys, vals = cache[n, 0, :, :, : at + new], cache[n, 1, :, :, : at + new]
            found = functional.scaled_dot_product_attention(q, keys, vals, is_causal=new > 1, enable_gqa=True)
            x = x + found.transpose(1, 2).reshape(batch, new, self.width) @ out
            gate, value = (functional.layer_norm(x, (self.width,)) @ up).chunk(2, dim=-1)
            x = x + (functional.silu(gate) * value) @ down
        return (x[:, -1] @ self.embed.T).argmax(dim=-1, keepdim=True)


def _decode(torch, model, meter, batch, seconds):
    with torch.inference_mode():
        cache = model.cache(batch, CONTEXT + 64)
        tokens = torch.zeros(batch, 1, dtype=torch.long, device="cuda")
        for n in range(8):
            tokens = model.run(tokens, cache, CONTEXT + n)
        torch.cuda.synchronize()
        times, steps, begin = [], 0, time.perf_counter()
        with meter:
            while time.perf_counter() - begin < seconds:
                start = time.perf_counter()
                tokens = model.run(tokens, cache, CONTEXT + steps % 64)
                torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
                steps += 1
        took = time.perf_counter() - begin
    times.sort()
    return steps * batch / took, meter.mean_w, times[int(len(times) * 0.95)] * 1e3


def _prefill(torch, model, meter, batch, seconds):
    with torch.inference_mode():
        cache = model.cache(batch, CONTEXT)
        tokens = torch.zeros(batch, CONTEXT, dtype=torch.long, device="cuda")
        model.run(tokens, cache, 0)
        torch.cuda.synchronize()
        rounds, begin = 0, time.perf_counter()
        with meter:
            while time.perf_counter() - begin < seconds:
                model.run(tokens, cache, 0)
                torch.cuda.synchronize()
                rounds += 1
        took = time.perf_counter() - begin
    return rounds * batch * CONTEXT / took, meter.mean_w


if __name__ == "__main__":
    main()
