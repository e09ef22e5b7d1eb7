"""What an identity provider's ID token proves (OpenID Connect Core 1.0, 3.1.3.7), and which account it means here.

Pure: a token, the provider's keys and the time in, claims out. Only asymmetric signatures are taken, so that nobody who
knows the provider's public key, or no key at all, makes a token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tieline.people.accounts import Account, PeopleError
from tieline.people.rights import ROLES, Role

ALGORITHMS: Final = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]
# Two clocks of well-kept machines; a token lives for minutes.
LEEWAY_S: Final = 60
# Tokens with hundreds of groups take some kilobytes; nothing that signs a person in takes this much.
MAX_TOKEN: Final = 32_768
MAX_GROUPS: Final = 1_000
_ID: Final = re.compile(r"[^a-z0-9._@+-]")


class TokenError(PeopleError):
    """Why a token proves nothing, in words for the log and for whoever wanted to sign in."""


def claims_of(token: str, keys: KeySet, issuer: str, client_id: str, nonce: str, now: datetime) -> Mapping[str, Any]:
    """The claims of a token that this provider made for this client, in answer to this sign-in. Raises TokenError."""
    if len(token) > MAX_TOKEN:
        raise TokenError(f"id_token: longer than {MAX_TOKEN} characters")
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        now_s = int(now.timestamp())
        jwt.JWTClaimsRegistry(
            now=now_s,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
        ).validate(claims)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise TokenError(f"id_token: {error}") from error
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client_id:
        raise TokenError("id_token: azp: it was made for another client")
    if "azp" in claims and claims["azp"] != client_id:
        raise TokenError("id_token: azp: it was made for another client")
    if not isinstance(claims.get("nonce"), str) or not hmac.compare_digest(claims["nonce"].encode(), nonce.encode()):
        raise TokenError("id_token: nonce: it does not answer this sign-in")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise TokenError("id_token: sub: it names nobody")
    return claims


def account_of(claims: Mapping[str, Any], roles: Mapping[str, tuple[Role, ...]], groups_claim: str) -> Account:
    """Whom the claims mean: an account with the roles of all the person's groups. Raises TokenError where no group has
    a role here."""
    groups = claims.get(groups_claim, [])
    listed = groups if isinstance(groups, list) else [groups]
    if len(listed) > MAX_GROUPS:
        raise TokenError(f"{groups_claim}: more than {MAX_GROUPS} groups; have the provider send those of this console")
    held = {role for group in listed if isinstance(group, str) for role in roles.get(group, ())}
    if not held:
        raise TokenError(f"{groups_claim}: none of your groups has a role here; ask an admin")
    wanted = next((str(claims[name]) for name in ("preferred_username", "email", "sub") if claims.get(name)), "")
    id_ = _ID.sub("-", wanted.lower()).lstrip("._@+-")[:80] or "person"
    name = " ".join(str(claims.get("name") or wanted).split())[:60]
    email = str(claims.get("email") or "")[:200]
    return Account(id_, name if name.isprintable() else id_, tuple(r for r in ROLES if r in held), email=email)
