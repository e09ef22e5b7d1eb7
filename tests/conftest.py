"""What every test may ask for: the folder of recorded data, where there is one."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded market, weather and demand data; the test is skipped, with the reason, without it."""
    folder = Path(os.environ.get("TIELINE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no recorded data at {folder} (set TIELINE_DATA to a folder that has it)")
    return folder
