"""Five seeded faults on a fleet of three machines: `make fleet-test` runs a hundred."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_five_faults_lose_nothing_bill_nothing_twice_and_leave_no_request_without_an_answer() -> None:
    words = ["bench/fleet.py", "--faults", "5", "--seed", "5", "--brisk", "2.5", "--clients", "2"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "\n0 violations" in done.stdout
