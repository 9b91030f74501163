"""Certificates of the settings: what can be used, what is refused with the name of its setting, what was replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from server.certificates import CertificateUnusable, Watch, authorities, pair
from server.edge_client import LastingTrust, Trust, trust_of
from server.settings import Tls
from tests.certificates import authority, certificate, moved, placed


def test_a_certificate_is_said_with_all_that_it_names(tmp_path: Path) -> None:
    made = certificate("faces.example.com", "10.0.0.5", days=3)
    files = placed(made, tmp_path)
    found = pair(*files, "LUNA_TLS__")
    assert found.name == "faces.example.com"
    assert found.names == ("faces.example.com", "10.0.0.5")
    assert found.ends == made.certificate.not_valid_after_utc
    assert found.pem == made.pem


def test_without_other_names_the_common_name_counts(tmp_path: Path) -> None:
    assert pair(*placed(certificate(), tmp_path), "LUNA_TLS__").names == ("a certificate of tests",)


def _gone(folder: Path) -> None:
    (folder / "server.pem").unlink()


def _no_key(folder: Path) -> None:
    (folder / "server.key").unlink()


def _no_pem(folder: Path) -> None:
    (folder / "server.pem").write_text("certificate")


def _no_pem_key(folder: Path) -> None:
    (folder / "server.key").write_bytes((folder / "server.pem").read_bytes())


def _other_key(folder: Path) -> None:
    moved(folder / "server.key", certificate("a").key)


def _locked(folder: Path) -> None:
    moved(folder / "server.key", certificate("a").locked_key(b"open sesame"))


def _expired(folder: Path) -> None:
    placed(certificate("a", begins=-3, days=-1), folder)


def _early(folder: Path) -> None:
    placed(certificate("a", begins=1), folder)


def _short(folder: Path) -> None:
    placed(certificate("a", key=rsa.generate_private_key(65537, 1024)), folder)


def _edwards(folder: Path) -> None:
    placed(certificate("a", key=ed25519.Ed25519PrivateKey.generate()), folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_gone, r"^LUNA_TLS__CERTIFICATE: .*server\.pem cannot be read: No such file"),
        (_no_key, r"^LUNA_TLS__KEY: .*server\.key cannot be read: No such file"),
        (_no_pem, r"^LUNA_TLS__CERTIFICATE: .*server\.pem holds no certificate in PEM$"),
        (_no_pem_key, r"^LUNA_TLS__KEY: .*server\.key holds no private key in PEM$"),
        (_other_key, r"^LUNA_TLS__KEY: .*server\.key is not the key of the certificate in .*server\.pem"),
        (_locked, r"^LUNA_TLS__KEY: .*server\.key has a password"),
        (_expired, r"^LUNA_TLS__CERTIFICATE: .*server\.pem has expired on \d{4}-"),
        (_early, r"^LUNA_TLS__CERTIFICATE: .*server\.pem is not valid before \d{4}-"),
        (_short, r"^LUNA_TLS__KEY: .*server\.key is neither RSA of 2048 bits"),
        (_edwards, r"^LUNA_TLS__KEY: .*server\.key is neither RSA"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    files = placed(certificate("a"), tmp_path)
    spoil(tmp_path)
    with pytest.raises(CertificateUnusable, match=said):
        pair(*files, "LUNA_TLS__")


def test_rsa_of_2048_bits_is_taken(tmp_path: Path) -> None:
    assert (
        pair(*placed(certificate("a", key=rsa.generate_private_key(65537, 2048)), tmp_path), "LUNA_TLS__").name == "a"
    )


def test_all_authorities_of_a_file_count_and_nothing_else_of_it(tmp_path: Path) -> None:
    first, second = authority(), authority("another")
    (tmp_path / "ca.pem").write_bytes(b"# words\n" + first.pem + second.pem + first.key)
    assert authorities(tmp_path / "ca.pem", "LUNA_TLS__CA") == first.pem + second.pem
    with pytest.raises(CertificateUnusable, match=r"LUNA_TLS__CLIENT_CA: .*none\.pem cannot be read"):
        authorities(tmp_path / "none.pem", "LUNA_TLS__CLIENT_CA")


def test_files_are_seen_to_be_replaced_in_every_way_that_people_do_it(tmp_path: Path) -> None:
    link, file, other = tmp_path / "link", tmp_path / "one", tmp_path / "two"
    file.write_text("one")
    other.write_text("one")
    link.symlink_to(file)
    watch = Watch([link])
    assert not watch.changed()
    ways: list[Callable[[], object]] = [
        lambda: file.write_text("written over"),
        lambda: moved(file, b"moved"),
        lambda: (link.unlink(), link.symlink_to(other)),
        lambda: os.utime(other, (1, 1)),
        other.unlink,
        lambda: other.write_text("back"),
    ]
    for way in ways:
        way()
        assert watch.changed()
        assert not watch.changed()


def test_without_certificates_clients_speak_plain_text() -> None:
    assert trust_of(Tls()) is None
    assert LastingTrust(Tls()).context() is None


def test_on_the_machine_of_the_service_its_own_certificate_is_believed_and_no_other(tmp_path: Path) -> None:
    made, signs = certificate("*.example.com"), authority()
    chain, key = placed(made, tmp_path)
    with chain.open("ab") as file:
        file.write(signs.pem)
    assert trust_of(Tls(certificate=chain, key=key)) == Trust(made.pem, "any.example.com")


def test_elsewhere_authorities_are_believed_and_the_name_is_checked(tmp_path: Path) -> None:
    signs = authority()
    (tmp_path / "ca.pem").write_bytes(signs.pem)
    own = placed(certificate("me", by=signs), tmp_path, "me")
    tls = Tls(ca=tmp_path / "ca.pem", client_certificate=own[0], client_key=own[1])
    found = trust_of(tls)
    assert found == Trust(signs.pem, "", own)
    assert found.context().check_hostname
    moved(own[1], certificate("other").key)
    with pytest.raises(CertificateUnusable, match="LUNA_TLS__CLIENT_KEY"):
        trust_of(tls)


def test_after_a_replacement_the_certificate_before_is_believed_too(tmp_path: Path) -> None:
    files = placed(certificate("one"), tmp_path)
    lasting = LastingTrust(Tls(certificate=files[0], key=files[1]))
    serials = []
    for made in (certificate("two"), certificate("three")):
        placed(made, tmp_path)
        context = lasting.context()
        assert context is not None
        stats = context.cert_store_stats()
        serials.append(stats["x509"])
    assert serials == [2, 2]
    files[0].write_text("no certificate")
    assert lasting.context() is not None
