"""Certificates for the SuperLink and keys for the nodes, as `openssl` and `ssh-keygen` would make them."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .files import write_whole

DAYS = 825  # What browsers and Python's TLS accept at most of a server.


USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def write_node_key(path: Path) -> Path:
    """Writes a node's private key to `path` and its public key to `path`.pub; returns the latter.

    A private key whose public one is missing is kept: whoever wrote it was stopped in between.
    """
    encodings, public = serialization.Encoding, path.with_name(f"{path.name}.pub")
    key = None if public.exists() else _kept_key(path)
    if key is None:
        key = ec.generate_private_key(ec.SECP384R1())
        form, clear = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        _write_secret(path, key.private_bytes(encodings.PEM, form, clear))
    text = key.public_key().public_bytes(encodings.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_whole(public, f"{text.decode()}\n")
    return public


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """The node's key in a file; none where there is no file, or another thing in it."""
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def write_certificates(folder: Path, host: str) -> None:
    """Writes `server.key` and `server.pem` for a SuperLink at `host`, and `ca.pem`, by which the sites recognise it.

    The authority signs this one certificate and its key is forgotten; a new certificate means a new `ca.pem`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, server_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    authority = _named("PRISM fleet authority")
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    ca = _builder(authority, authority, authority_key.public_key()).add_extension(constraints, critical=True)
    usage = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    ca = ca.add_extension(x509.KeyUsage(**usage), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
    names: list[x509.GeneralName] = [_general_name(name) for name in dict.fromkeys([host, "localhost", "127.0.0.1"])]
    server = _builder(_named(host), authority, server_key.public_key())
    server = server.add_extension(x509.SubjectAlternativeName(names), critical=False)
    server = server.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    server = server.add_extension(issuer, critical=False)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    # First, for it refuses to replace a key, and certificates of another key would be of no use to its owner.
    _write_secret(folder / "server.key", server_key.private_bytes(pem, form, serialization.NoEncryption()))
    write_whole(folder / "ca.pem", ca.sign(authority_key, hashes.SHA384()).public_bytes(pem).decode())
    write_whole(folder / "server.pem", server.sign(authority_key, hashes.SHA384()).public_bytes(pem).decode())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    dates = x509.CertificateBuilder().not_valid_before(now - datetime.timedelta(hours=1))
    dates = dates.not_valid_after(now + datetime.timedelta(days=DAYS))
    return dates.subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())


def _write_secret(path: Path, content: bytes) -> None:
    """Writes a file that only its owner reads; refuses to replace one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        remedy = "name another file, or move this one away"
        raise FileExistsError(f"{path} is there already, and keys are not replaced: {remedy}") from error
    with os.fdopen(file, "wb") as opened:
        opened.write(content)
