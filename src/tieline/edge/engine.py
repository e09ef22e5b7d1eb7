"""One llama.cpp server in its own process: `python -m tieline.edge.engine --model FILE --name NAME`.

Knows a model file and nothing of sites. Says `@ready {"url": ...}` on standard output when it serves, or
`@failed REASON` in one line; ends when its standard input does, and on Linux when its parent dies in
whatever way. Loopback only. The engine is llama.cpp's own server from the `xllamacpp` wheel: /health,
/v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /apply-template, /tokenize, /completion,
/slots, /props, /metrics.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

# What a restart cannot mend: a missing file, library or CPU feature.
EXIT_HOPELESS = 3
# llama.cpp keeps up to 8 GB of old prompts in memory by default; a slot's worth of prompts is enough here.
CACHE_RAM_MIB = 64
# Of llama.cpp's log only errors.
VERBOSITY = 1
# A prompt to be embedded has to fit into one physical batch.
BATCH_TOKENS = 2048
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> NoReturn:
    options = _parser().parse_args(arguments)
    die_with_parent(os.getppid())
    threading.Thread(target=_until_stdin_ends, daemon=True).start()
    if not options.model.is_file():
        _fail(f"no model file at {options.model}; give the path of a GGUF file")
    try:
        import xllamacpp
    except ImportError as error:
        _fail(missing_library(str(error)))
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, options))
    except Exception as error:  # the wheel raises RuntimeError, MemoryError and its own for a bad file
        _fail(f"cannot serve {options.model}: {str(error).splitlines()[0] if str(error) else error!r}")
    print("@ready " + json.dumps({"url": server.listening_address}), flush=True)
    _until_stdin_ends()


def missing_library(text: str) -> str:
    """An import error of the wheel as one line a person can act on."""
    if "libgomp" in text:
        return "the engine needs the system library libgomp.so.1; on Debian or Ubuntu: apt-get install libgomp1"
    if "xllamacpp" in text:
        return "the engine is not installed; pip install 'tieline[platform]'"
    return f"the engine cannot be loaded: {text}"


def _parameters(xllamacpp: Any, options: argparse.Namespace) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.model_alias = {options.name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context * options.slots
    parameters.n_batch = parameters.n_ubatch = min(BATCH_TOKENS, max(options.context, 32))
    parameters.cont_batching = True
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.cache_ram_mib = CACHE_RAM_MIB
    parameters.use_jinja = True
    parameters.endpoint_slots = parameters.endpoint_metrics = parameters.endpoint_props = True
    parameters.ui = False
    parameters.verbosity = VERBOSITY
    if options.embeddings:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return parameters


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tieline.edge.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--name", required=True, help="the name it answers under")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--slots", type=int, default=8, help="requests served at once")
    parser.add_argument("--context", type=int, default=1024, help="tokens per slot")
    parser.add_argument("--threads", type=int, default=1, help="two were slower for a small model")
    parser.add_argument("--no-embeddings", dest="embeddings", action="store_false")
    return parser


def die_with_parent(parent: int) -> None:
    """On Linux the kernel ends us with our parent; the check after it covers a parent that was faster."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _until_stdin_ends() -> NoReturn:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os._exit(0)  # llama.cpp's threads are not waited for: nothing of theirs outlives a request


def _fail(why: str) -> NoReturn:
    print(f"@failed {why}", flush=True)
    os._exit(EXIT_HOPELESS)


if __name__ == "__main__":
    main()
