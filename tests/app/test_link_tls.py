"""The link beyond loopback: TLS with an authority that a site pins, or not at all. Over the real server."""

import asyncio
import contextlib
import dataclasses
import ssl
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from tests.app.link_place import A, Place, place, reading

from tieline import config
from tieline.app import agent_run, link_part
from tieline.app.joins import JoinError, TokenText, read_token
from tieline.clock import wall_now
from tieline.link import LinkDownError, LinkUser, NatsLink, push
from tieline.link.certificate import CertificateError, make_certificates
from tieline.link.look import answers
from tieline.link.users import site_user
from tieline.tasks import Registry


def test_a_site_joins_over_tls_and_nobody_speaks_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        data = tmp_path / "data"
        data.mkdir()
        async with place(data, tls=True) as here:
            runtime = here.runtime
            assert await agent_run.join(here.token(A), tmp_path / "site") == A
            own = agent_run.Credentials.load(tmp_path / "site")
            assert own.url.startswith("tls://localhost:")
            user = LinkUser(own.url, site_user(A), own.password, own.authority)
            link = await NatsLink.dial(user)
            assert (await push(link, A, reading(A, 1e6))).stored == 1
            await link.close()
            plain = LinkUser(own.url.replace("tls:", "nats:"), site_user(A), own.password)
            other = make_certificates(tmp_path / "other", ["localhost"], wall_now())
            for wrong in (plain, dataclasses.replace(user, authority=other)):
                with pytest.raises(LinkDownError):
                    await NatsLink.dial(wrong, 1.0)
            # Nor with a token that pins another authority: a machine on the way is not taken for the platform.
            token = read_token(here.token(A))
            monkeypatch.setattr(agent_run, "JOIN_WAIT_S", 1.0)
            with pytest.raises(JoinError):
                await agent_run.join(str(msgspec.structs.replace(token, authority=other)), tmp_path / "no")
            # The server says nothing to who does not begin with TLS.
            reader, writer = await asyncio.open_connection("127.0.0.1", user.port)
            writer.write(b"CONNECT {}\r\nPING\r\n")
            said = await asyncio.wait_for(reader.read(100), 10)
            assert not said.startswith(b"INFO")
            writer.close()
            # What the doctor asks, of this server, of one with another's authority, and of no server at all.
            for server, authority, says in (
                (f"localhost:{user.port}", own.authority, ""), (f"localhost:{user.port}", other, "verify failed"),
                (f"localhost:{user.port}", None, "no answer within"), ("localhost:1", own.authority, "refused"),
            ):  # fmt: skip
                assert says in (why := await asyncio.to_thread(answers, server, authority)), why
                assert bool(why) == bool(says)
            assert runtime.link_authority is not None

    asyncio.run(story())


def test_the_link_does_not_listen_beyond_loopback_without_tls(tmp_path: Path) -> None:
    async def story() -> None:
        made = Place(tmp_path, tls=True)
        runtime = msgspec.structs.replace(made.runtime, link_authority=None)
        with pytest.raises(RuntimeError, match="without TLS"):
            await link_part.run(runtime, lambda _: None, Registry())
        made.store.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('host = "0.0.0.0"', "link.name"),
        ('host = "0.0.0.0"\nname = "x y"\nport = 4222', "link.name"),
        ('host = "0.0.0.0"\nname = "link.example.org"', "link.port"),
        ("port = 70000", "link.port"),
        ("tunnel_port = 0", "link.tunnel_port"),
        ('host = "0.0.0.0"\nname = "link.example.org"\nport = 4223', "link.tunnel_port"),
    ],
)
def test_what_a_file_says_of_the_link_is_checked(tmp_path: Path, lines: str, said: str) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f"[link]\n{lines}\n\n" + (Path(config.__file__).parent.parent / "app/demo/fleet.toml").read_text())
    with pytest.raises(config.ConfigError, match=said):
        config.load(file)


def test_certificates_are_kept_renewed_and_named_when_damaged(tmp_path: Path) -> None:
    now = wall_now()
    authority = make_certificates(tmp_path, ["link.example.org", "10.0.0.1"], now)
    first = (tmp_path / "server.pem").read_bytes()
    assert (tmp_path / "authority.key").stat().st_mode & 0o777 == 0o600
    ssl.create_default_context(cadata=authority)
    assert make_certificates(tmp_path, ["link.example.org", "10.0.0.1"], now + timedelta(days=300)) == authority
    assert (tmp_path / "server.pem").read_bytes() == first
    for names, days in ((["other.example.org"], 0), (["other.example.org"], 380)):
        before = (tmp_path / "server.pem").read_bytes()
        assert make_certificates(tmp_path, names, now + timedelta(days=days)) == authority
        assert (tmp_path / "server.pem").read_bytes() != before
    made = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    (tmp_path / "authority.key").write_text("x")
    with pytest.raises(CertificateError, match="restore"):
        make_certificates(tmp_path, ["a"], now)
    (tmp_path / "authority.key").unlink()
    with pytest.raises(CertificateError, match=r"authority\.key is missing"):
        make_certificates(tmp_path, ["a"], now)


def test_a_token_carries_the_authority() -> None:
    text = TokenText(url="tls://x:1", site_id="a", name="n", password="p", authority="PEM")
    assert read_token(str(text)) == text


def test_a_server_shows_the_others_a_certificate_that_they_take(tmp_path: Path) -> None:
    """Servers of one link dial each other, and each asks for the other's certificate."""
    authority = make_certificates(tmp_path, ["10.0.0.5"], wall_now())
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.verify_mode = ssl.CERT_REQUIRED
    for context in (here, there):
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
        context.load_verify_locations(cadata=authority)
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        here.wrap_bio(one, two, server_hostname="10.0.0.5"), there.wrap_bio(two, one, server_side=True)
    ]  # fmt: skip
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    two_way = [end.getpeercert() for end in ends]
    assert all(two_way)
