"""Keys that are made at first start: one secret each, kept, and never another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.config.test_config import SMALL, TENANTS

from tieline.app import console_part, up
from tieline.app.gateway_part import PORTAL, settings_of
from tieline.gateway.settings import hash_key


def _prepared(folder: Path, text: str) -> up.Runtime:
    (folder / "fleet.toml").write_text(SMALL + text)
    return up.prepare(
        up.Options(data_dir=folder / "data", config=folder / "fleet.toml", console_port=0, gateway_port=0)
    )


def test_each_generated_key_has_its_own_secret(tmp_path: Path) -> None:
    more = '[[tenant]]\nid = "other"\nname = "O"\n[[tenant.key]]\nid = "o"\ngenerate = true\n'
    runtime = _prepared(tmp_path, TENANTS + more)
    config = runtime.load_config()
    found = {key.id: key for key in settings_of(config, runtime).keys}
    assert len({key.sha256 for key in found.values()}) == 4  # the platform's own is one
    assert found.pop(PORTAL).sha256 == hash_key(runtime.portal_key_path.read_text().strip())
    # What is printed as a tenant's key is a tenant's key.
    assert found["k"].sha256 == hash_key(runtime.demo_key or "")
    assert found["k"].role == "user"
    paths = [runtime.key_path(name, config) for name in found]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    again = _prepared(tmp_path, TENANTS + more)
    same = {key.id: key.sha256 for key in settings_of(config, again).keys if key.id != PORTAL}
    assert same == {key.id: key.sha256 for key in found.values()}
    lines = "".join(up._make_keys(runtime, config))
    assert all(path.read_text().strip() not in lines for path in paths)
    assert "boss" in lines
    assert "admin" in lines


def test_an_admin_alone_is_not_the_ready_key(tmp_path: Path) -> None:
    runtime = _prepared(tmp_path, TENANTS.replace('id = "k"', 'id = "k"\nrole = "billing"'))
    keys = settings_of(runtime.load_config(), runtime).keys
    assert hash_key(runtime.demo_key or "") not in {key.sha256 for key in keys}


def test_a_fleet_without_tenants_has_no_ready_key_whatever_lies_in_its_folder(tmp_path: Path) -> None:
    assert _prepared(tmp_path, TENANTS).demo_key is not None
    runtime = _prepared(tmp_path, "")
    assert up.ready_key(runtime, runtime.load_config()) is None
    assert console_part._chat_key(runtime, runtime.load_config()) is None


def test_a_secret_that_was_lost_is_named(tmp_path: Path) -> None:
    runtime = _prepared(tmp_path, TENANTS)
    config = runtime.load_config()
    runtime.key_path("boss", config).unlink()
    with pytest.raises(ValueError, match="boss"):
        settings_of(config, runtime)
