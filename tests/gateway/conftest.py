"""`gateway(settings)` starts one in the test's own loop, its files in the test's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.gateway.rig import Start, start


@pytest.fixture
def gateway(tmp_path: Path) -> Start:
    def begin(given: Any, *, link: Any = None, data: Path | None = None) -> Any:
        return start(given, data or tmp_path / "gateway", link=link)

    return begin
