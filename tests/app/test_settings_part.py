"""The file's tenants, keys and models and the gateway's are two declarations: what differs between them is listed here.

The file says what an operator writes (a budget a month, a secret's place), the gateway what it was told by the file, by
its own file or over its API. A field that one of them gains is copied, or named below as its own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tieline.config import sections
from tieline.gateway import settings

# Struct of the file, of the gateway; how fields are called there; what only the file has, what only the gateway has.
PAIRS: list[tuple[Any, Any, dict[str, str], set[str], set[str]]] = [
    (
        sections.Tenant,
        settings.Tenant,
        {},
        # The first four are the gateway's `limits`; a name is shown by the console, keys lie flat at the gateway.
        {
            "budget_usd_per_month", "requests_per_minute", "tokens_per_minute", "concurrent_requests", "name", "keys",
        },
        {"limits", "projects", "disabled"},
    ),
    (
        sections.Key,
        settings.Key,
        {},
        {"env", "generate"},  # where the secret lies: the gateway is told its digest
        {"tenant", "networks", "expires", "limits", "former"},
    ),
    (
        sections.Rental,
        settings.RentedReplicas,
        {},
        set(),
        set(),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "gateways", "called", "only_ours", "only_theirs"), PAIRS)
def test_the_two_declarations_part_only_where_it_is_written_down(
    ours: Any, gateways: Any, called: dict[str, str], only_ours: set[str], only_theirs: set[str]
) -> None:
    mine = {called.get(one.name, one.name): one for one in msgspec.structs.fields(ours)}
    theirs = {one.name: one for one in msgspec.structs.fields(gateways)}
    assert set(mine) - set(theirs) == only_ours
    assert set(theirs) - set(mine) == only_theirs
    for name in set(mine) & set(theirs):
        if name != "sha256":  # the file may leave it out
            assert mine[name].default == theirs[name].default, name
            assert mine[name].required == theirs[name].required, name
