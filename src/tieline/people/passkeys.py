"""Passkeys: signing in with a key that never leaves its device (W3C Web Authentication, Level 3).

A passkey belongs to a name, its relying party: `localhost`, or the TLS name that browsers reach the console by; an
address cannot be one. What a device sends is judged by the `webauthn` library against the challenge it was given, which
holds for five minutes and once. The device has to have asked for a finger, a face or a number (user verification).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import webauthn
from webauthn.helpers import options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from tieline.people.accounts import Account, People, PeopleError
from tieline.store.people import PasskeyRow

HOLDS: Final = timedelta(minutes=5)
# Challenges given and not answered; the oldest are forgotten first.
MAX_OPEN: Final = 10_000
MAX_NAME: Final = 60
_VERIFIED: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The name that browsers reach the console by, and the origin with its scheme and port."""

    name: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Challenge:
    bytes: bytes
    account: str | None  # None: whoever signs in
    until: datetime


class Passkeys:
    """Challenges that are open, and what is made of their answers. Raises PeopleError."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._open: dict[str, _Challenge] = {}

    def offer(self, account: Account, site: RelyingParty, now: datetime) -> dict[str, Any]:
        """What the browser is told to make a passkey with, and the name of the challenge."""
        had = self._people.store.passkeys(account.id)
        name, challenge = self._challenge(account.id, now)
        options = webauthn.generate_registration_options(
            rp_id=site.name,
            rp_name="Tieline",
            user_name=account.id,
            user_display_name=account.name,
            # No name that a device would tell to whoever asks.
            user_id=hashlib.sha256(account.id.encode()).digest(),
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_VERIFIED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(one.id) for one in had],
        )
        return {"challenge": name, "options": options_to_json_dict(options)}

    def add(
        self, account: Account, challenge: str, credential: dict[str, Any], label: str, site: RelyingParty,
        address: str, now: datetime,
    ) -> None:  # fmt: skip
        """Keep the passkey that a device made."""
        label = " ".join(label.split())
        if not label or len(label) > MAX_NAME or not label.isprintable():
            raise PeopleError(f"name: what the passkey is called, 1 to {MAX_NAME} characters")
        given = self._given(challenge, account.id, now)
        try:
            made = webauthn.verify_registration_response(
                credential=credential, expected_challenge=given, expected_rp_id=site.name, expected_origin=site.origin,
                require_user_verification=True,
            )  # fmt: skip
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise PeopleError(f"passkey: the device's answer was not taken ({_brief(error)}); try again") from error
        seconds = int(now.timestamp())
        row = PasskeyRow(
            made.credential_id, account.id, made.credential_public_key, made.sign_count, label, seconds, None
        )
        self._people.add_passkey(account.id, row, address, now)

    def ask(self, site: RelyingParty, now: datetime) -> dict[str, Any]:
        """What the browser is told to sign in with; the device knows whose passkeys it holds."""
        name, challenge = self._challenge(None, now)
        options = webauthn.generate_authentication_options(
            rp_id=site.name, challenge=challenge, user_verification=_VERIFIED
        )
        return {"challenge": name, "options": options_to_json_dict(options)}

    def sign_in(
        self, challenge: str, credential: dict[str, Any], site: RelyingParty, address: str, now: datetime
    ) -> Account:
        """Whose passkey signed the challenge. Raises ThrottledError, or PeopleError that tells no more than that."""
        self._people.throttled(address, now)
        given = self._given(challenge, None, now)
        try:
            raw = webauthn.base64url_to_bytes(str(credential.get("id", "")))
            row = self._people.store.passkey(raw)
            if row is None:
                raise PeopleError("unknown")
            proof = webauthn.verify_authentication_response(
                credential=credential, expected_challenge=given, expected_rp_id=site.name, expected_origin=site.origin,
                credential_public_key=row.key, credential_current_sign_count=row.count, require_user_verification=True,
            )  # fmt: skip
            account = self._people.account(row.account)
            if account is None or account.disabled:
                raise PeopleError("disabled")
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            self._people.throttle.failed(f"address {address}", now.timestamp())
            raise PeopleError("this passkey signs nobody in here; use a password, or ask an admin") from error
        self._people.store.passkey_used(row.id, proof.new_sign_count, int(now.timestamp()))
        return account

    def _challenge(self, account: str | None, now: datetime) -> tuple[str, bytes]:
        self._open = {name: one for name, one in self._open.items() if one.until > now}
        while len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        name, challenge = secrets.token_urlsafe(16), secrets.token_bytes(32)
        self._open[name] = _Challenge(challenge, account, now + HOLDS)
        return name, challenge

    def _given(self, name: str, account: str | None, now: datetime) -> bytes:
        """The challenge of that name, which is over with this."""
        one = self._open.pop(name, None)
        if one is None or one.until <= now or one.account != account:
            raise PeopleError("challenge: it has ended or was used; begin again")
        return one.bytes


def _brief(error: Exception) -> str:
    return str(error)[:120] or type(error).__name__
