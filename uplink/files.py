"""The files that a target names: secrets that are ours alone, certificates that can be used."""

import ssl
from pathlib import Path

from common.config import rejected_secret
from uplink.certificates import validity_of
from uplink.contract import TargetRefused
from uplink.settings import TargetSettings


def secret_in(settings: TargetSettings, key: str) -> str | None:
    """Return the secret in the file that a key names, None where it names none.

    Raises TargetRefused when it cannot be read.
    """
    file = settings.file(key)
    if file is None:
        return None
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise TargetRefused(f"{key} {file} cannot be read: {error}") from error


def wrong_files(settings: TargetSettings) -> list[tuple[str, str]]:
    """Return (key, what is wrong) for every file that could not be used."""
    wrong: list[tuple[str, str]] = []
    ca_file, cert_file, key_file = settings.ca_file, settings.cert_file, settings.key_file
    for key in settings.config.secrets:
        secret = settings.file(key)
        if secret is not None and (text := rejected_secret(secret)):
            wrong.append((key, f"{secret} {text}"))
    if ca_file is not None and (text := _wrong_authorities(ca_file)):
        wrong.append(("ca_file", f"{ca_file} {text}"))
    if cert_file is None or key_file is None:
        return wrong
    if text := _wrong_certificate(cert_file):
        wrong.append(("cert_file", f"{cert_file} {text}"))
    elif key_file.exists():  # Else it was found above.
        wrong += _wrong_pair(cert_file, key_file)
    return wrong


def _wrong_authorities(ca_file: Path) -> str | None:
    try:
        if text := _cut_off(ca_file):
            return text
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError:
        return "holds no PEM certificate"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _wrong_certificate(cert_file: Path) -> str | None:
    try:
        if text := _cut_off(cert_file):
            return text
        validity_of(cert_file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
    return None


def _cut_off(pem_file: Path) -> str | None:
    """Return that a file ends in the middle, None when it is whole or no PEM at all.

    Cut within the next BEGIN line, OpenSSL takes what is whole before it, and is glad: an authority
    is missing, or the middle of a chain.
    """
    lines = [line.strip() for line in pem_file.read_bytes().splitlines() if line.strip()]
    begun = sum(line.startswith(b"-----BEGIN ") for line in lines)
    ended = sum(line.startswith(b"-----END ") for line in lines)
    last = lines[-1] if lines else b""
    if begun == ended and (not last.startswith(b"-") or last.endswith(b"-----")):
        return None
    return "ends in the middle of a certificate; write it anew, or wait until it is written"


def _wrong_pair(cert_file: Path, key_file: Path) -> list[tuple[str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # An empty password instead of a question on the terminal for an encrypted key.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [("key_file", f"{key_file} is not the key of {cert_file}")]
        text = f"{key_file} is not a PEM private key without a passphrase ({error.reason})"
        return [("key_file", text)]
    except OSError as error:
        return [("key_file", f"{key_file} cannot be read: {error.strerror}")]
    return []
