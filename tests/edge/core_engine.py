"""A model server that starts processes of its own as vLLM does: a core that heeds no SIGTERM, and a helper that leaves
its session. Run as `python -m tests.edge.core_engine PORT FILE`; FILE gets their pids."""

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path

IDLES = "import signal, time, os\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile os.getppid(): time.sleep(1)"


class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = {"/health": b"", "/metrics": b'vllm:num_requests_running{model_name="m"} 0.0\n'}
        body = known.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    core = subprocess.Popen([sys.executable, "-c", IDLES])
    helper = subprocess.Popen([sys.executable, "-c", IDLES], start_new_session=True)
    Path(sys.argv[2]).write_text(f"{os.getpid()} {core.pid} {helper.pid}")
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()


if __name__ == "__main__":
    main()
