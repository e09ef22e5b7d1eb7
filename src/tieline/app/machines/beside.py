"""Accounts and incidents: in a machine's own files, or in the store where several machines share them."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from tieline.app.machines.book import is_shared
from tieline.app.runtime import ALERTS_FILE, PEOPLE_FILE
from tieline.store.alerts import AlertStore
from tieline.store.database import closed_on_failure
from tieline.store.people import PeopleStore
from tieline.store.place import place_of

log = logging.getLogger("tieline.console")


def people_of(data: Path) -> PeopleStore:
    """The accounts of a data folder. Those that one machine of several had in its file, in versions before, are taken
    over where the store has none yet. Raises StoreError."""
    path = data / PEOPLE_FILE
    if not is_shared(data):
        return PeopleStore(path)
    store = PeopleStore(None, server=place_of(data))
    with closed_on_failure(store):
        if path.exists():
            with closing(PeopleStore(path)) as own:
                taken = store.take_in(own)
            if taken:
                log.warning("%d accounts of %s are now in the store, for every console", taken, path)
    return store


def alerts_of(data: Path) -> AlertStore:
    """The incidents of a data folder. Raises StoreError."""
    return AlertStore(None, server=place_of(data)) if is_shared(data) else AlertStore(data / ALERTS_FILE)
