"""What people answer to an incident: take it, or silence its kind for a while.

Both are recorded in the alerts' own database, which the alerts' part reads each second, whoever wrote them there.
"""

from __future__ import annotations

import msgspec

from tieline.alerts.incidents import Incident
from tieline.store.alerts import AlertStore, Silence

MAX_SILENCE_MINUTES = 7 * 24 * 60
MAX_WHY = 500


def acknowledge(store: AlertStore, key: str, by: str, now: float) -> bool:
    """Somebody has taken an incident; False where none is open under that name. Raises StoreError."""
    for body in store.incidents():
        one = msgspec.json.decode(body, type=Incident)
        if one.key == key and one.state == "open":
            one.state, one.acknowledged_by = "acknowledged", by
            store.put([(one.id, now, msgspec.json.encode(one))], [], now)
            return True
    return False


def silence(store: AlertStore, what: str, minutes: float, by: str, why: str, now: float) -> Silence:
    """Nothing is sent of `what` for a while; it ends by itself. Raises ValueError, StoreError."""
    if not 0 < minutes <= MAX_SILENCE_MINUTES:
        raise ValueError("minutes: above 0 and up to 7 days (10,080 minutes); then say it again")
    if not why.strip():
        raise ValueError("why: say why, for whoever reads this tomorrow")
    one = Silence(what, now + 60 * minutes, by, " ".join(why.split())[:MAX_WHY])
    store.silence(one)
    return one
