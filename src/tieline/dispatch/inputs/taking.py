"""Reserves that take load: what must be free to be drawn, and what a site can draw. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tieline.fleet import Site
from tieline.fleet.physics import aux_share, derate
from tieline.records import Commitment


def free_w(commitments: Iterable[Commitment], start: datetime, end: datetime) -> float:
    """Load that must be free to be drawn in [start, end): sold to whom it is taken for, and not called."""
    standing = (c for c in commitments if c.takes and c.status == "accepted")
    return sum(c.power_w for c in standing if c.at < end and c.until > start)


def drawable_w(site: Site, temp_c: float | None) -> float:
    """The most that a site can draw in this weather, all of its units running."""
    cooled = ((group.rated_w, site.cooling_of(group)) for group in site.rig_groups)
    mining_w = sum(rated_w * derate(by, temp_c) * (1.0 + aux_share(by, temp_c)) for rated_w, by in cooled)
    return min(site.interconnect.limit_w, mining_w + sum(node.rated_w for node in site.node_groups))
