"""What people answer to an incident: take it, or silence its kind for a while.

Both are recorded in the alerts' own database, which the alerts' part reads each second, whoever wrote them there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

from tieline.alerts.incidents import Incident, take
from tieline.store.alerts import AlertStore, Silence

MAX_SILENCE_MINUTES = 7 * 24 * 60
MAX_WHY = 500
# Of one incident: it is told when it is raised, grows worse and escalates.
MOST_LINKS = 8


def acknowledge(store: AlertStore, key: str, by: str, now: float) -> bool:
    """Somebody has taken an incident; False where none is open under that name. Raises StoreError."""
    for body in store.incidents():
        one = msgspec.json.decode(body, type=Incident)
        if one.key == key and one.state == "open":
            _taken(store, one, by, now)
            return True
    return False


def new_link(incident: Incident) -> str:
    """A secret with which somebody may take this incident once; what is kept of it is its digest."""
    secret = secrets.token_urlsafe(24)
    incident.links = [*incident.links[1 - MOST_LINKS :], _digest(secret)]
    return secret


def linked(store: AlertStore, secret: str) -> Incident | None:
    """The incident that a link is for; None where the link is used up, or was none. Raises StoreError."""
    digest = _digest(secret)
    for body in store.incidents():
        one = msgspec.json.decode(body, type=Incident)
        if one.state == "open" and any(hmac.compare_digest(digest, known) for known in one.links):
            return one
    return None


def acknowledge_by_link(store: AlertStore, secret: str, by: str, now: float) -> Incident | None:
    """Somebody has taken the incident that a link is for, and the link is used up. Raises StoreError."""
    one = linked(store, secret)
    if one is not None:
        _taken(store, one, by, now)
    return one


def _taken(store: AlertStore, one: Incident, by: str, now: float) -> None:
    take(one, by)
    store.put([(one.id, now, msgspec.json.encode(one))], [], now)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def silence(store: AlertStore, what: str, minutes: float, by: str, why: str, now: float) -> Silence:
    """Nothing is sent of `what` for a while; it ends by itself. Raises ValueError, StoreError."""
    if not 0 < minutes <= MAX_SILENCE_MINUTES:
        raise ValueError("minutes: above 0 and up to 7 days (10,080 minutes); then say it again")
    if not why.strip():
        raise ValueError("why: say why, for whoever reads this tomorrow")
    one = Silence(what, now + 60 * minutes, by, " ".join(why.split())[:MAX_WHY])
    store.silence(one)
    return one
