"""Five seeded faults on a whole fleet with two sites: `make fleet-test` runs a hundred, with six."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
def test_five_faults_lose_nothing_bill_nothing_twice_and_leave_no_request_without_an_answer() -> None:
    """A host slowed, a standby cut off, a gateway killed, the primary killed and a standby promoted, the coordinator
    killed."""
    told = "--faults 5 --seed 2 --sites 2 --brisk 4 --clients 2 --agree"
    words = ["bench/fleet.py", *told.split()]
    run = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = run.communicate(timeout=300)
    finally:
        run.terminate()  # whatever ends the test: its hosts and processes end with it
        run.wait(60)
    assert run.returncode == 0, said[-4000:]
    assert "\n0 violations" in said
