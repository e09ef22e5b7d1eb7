"""The link's own authority and its server's certificate, for sites that dial from other machines.

A site pins the authority with its token, so that nothing depends on who else may sign certificates. Made where there
are none; the server's is made anew a month before it ends, or when it is to carry another name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tieline.store.files import write_private

# An authority that ends has every site join anew.
AUTHORITY_FOR: Final = timedelta(days=3650)
SERVER_FOR, RENEW_BEFORE = timedelta(days=397), timedelta(days=30)
# Of several servers of the link each dials the others, and shows them the same certificate.
_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
# Clocks of sites are off by minutes, rarely by more.
SLACK: Final = timedelta(days=1)


class CertificateError(ValueError):
    """The authority's files cannot be used; one line says which and what to do."""


def authority_of(folder: Path) -> str:
    """The authority's certificate, PEM. Raises CertificateError."""
    try:
        return (folder / "authority.pem").read_text("ascii")
    except (OSError, ValueError) as error:
        raise CertificateError(f"{folder / 'authority.pem'}: {error}; restore it from a backup") from error


class EndingError(ValueError):
    """A certificate ends soon; one line says when and what to do."""


def check_ending(pem: bytes, what: str, mend: str, now: datetime) -> None:
    """Raises EndingError within a month of its end, and for what is no certificate."""
    try:
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError as error:
        raise EndingError(f"{what} cannot be read ({error}); {mend}") from error
    if ends - now < RENEW_BEFORE:
        raise EndingError(f"{what} is good until {ends:%Y-%m-%d %H:%M} UTC; {mend}")


def make_certificates(folder: Path, names: Sequence[str], now: datetime) -> str:
    """`authority.pem`, and `server.pem` and `server.key` for these names and addresses, in `folder` (mode 0600).
    Returns the authority's certificate, PEM. Raises CertificateError, OSError."""
    if not (folder / "authority.key").exists():
        if (folder / "authority.pem").exists():
            raise CertificateError(f"{folder / 'authority.key'} is missing; restore it from a backup")
        _make_authority(folder, now)
    try:
        authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{folder}: {error}; restore the folder, or remove it: sites then join anew") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{folder / 'authority.key'} is of another kind; restore it from a backup")
    if not _still_good(folder / "server.pem", names, now):
        _make_server(folder, names, now, authority, key)
    return authority_of(folder)


def _make_authority(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tieline link")])
    made = (
        _builder(name, name, key.public_key(), now, AUTHORITY_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / "authority.pem", made.public_bytes(serialization.Encoding.PEM))
    write_private(folder / "authority.key", _pem(key))


def _make_server(
    folder: Path, names: Sequence[str], now: datetime, authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tieline link server")])
    made = (
        _builder(name, authority.subject, key.public_key(), now, SERVER_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(one) for one in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(folder / "server.key", _pem(key))
    write_private(folder / "server.pem", made.public_bytes(serialization.Encoding.PEM))


def _still_good(path: Path, names: Sequence[str], now: datetime) -> bool:
    try:
        made = x509.load_pem_x509_certificate(path.read_bytes())
        held = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    wanted = {_alternative(one) for one in names}
    whole = set(held) == wanted and set(uses) == set(_USES) and path.with_suffix(".key").exists()
    return whole and made.not_valid_after_utc > now + RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, length: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + length)
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
