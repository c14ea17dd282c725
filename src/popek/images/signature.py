"""Who signed a release file: OpenPGP cleartext signatures (RFC 9580 section 7) against Debian's archive keys.

The keys that come with Popek (keys/README) decide; the host's own Debian keyring, where there is one, adds to them,
so that a host which learnt of newer keys from its distribution can use them. No file is fetched here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from popek.images.errors import BadSignature, ImageError

HOST_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)


def archive_keys() -> list[bytes]:
    """The certificates that may sign Debian's archive, each file as it is on disk."""
    shipped = files("popek.images") / "keys"
    found = [
        entry.read_bytes() for entry in sorted(shipped.iterdir(), key=lambda e: e.name) if entry.name.endswith(".asc")
    ]
    for path in HOST_KEYRINGS:
        try:
            found.append(path.read_bytes())
            break
        except OSError:
            continue
    return found


def verified(signed: bytes, keys: Iterable[bytes], name: str) -> str:
    """The text inside a clear-signed message, if one of `keys` signed it; BadSignature otherwise."""
    try:
        import pysequoia
    except ImportError:
        return _verified_by_gpgv(signed, keys, name)
    certificates = [certificate for data in keys for certificate in pysequoia.Cert.split_bytes(data)]
    try:
        result = pysequoia.verify(signed, lambda _: certificates)
    except Exception as error:  # the library raises RuntimeError with a stack trace in it
        reason = str(error).partition("\n")[0].rstrip(".")
        raise BadSignature(f"{name} has no valid signature of Debian's archive keys: {reason}") from None
    if not result.valid_sigs or result.bytes is None:
        raise BadSignature(f"{name} has no valid signature of Debian's archive keys")
    return bytes(result.bytes).decode("utf-8", "replace")


def _verified_by_gpgv(signed: bytes, keys: Iterable[bytes], name: str) -> str:
    """Hosts for which pysequoia has no wheel: GnuPG's verifier, which is part of Debian and Ubuntu."""
    gpgv = shutil.which("gpgv")
    if gpgv is None:
        raise ImageError("nothing here can check OpenPGP signatures", "pip install pysequoia, or install gpgv")
    with tempfile.TemporaryDirectory(prefix="popek-") as folder:
        rings = []
        for number, data in enumerate(keys):
            ring = Path(folder, f"{number}.gpg")
            ring.write_bytes(_dearmoured(data))
            rings += ["--keyring", str(ring)]
        message = Path(folder, "message")
        message.write_bytes(signed)
        run = subprocess.run(
            [gpgv, "--homedir", folder, "--status-fd", "2", *rings, "--output", "-", str(message)],
            capture_output=True,
            check=False,
        )
    states = run.stderr.splitlines()
    good = any(line.startswith(b"[GNUPG:] GOODSIG ") for line in states)
    if not good or any(line.startswith(b"[GNUPG:] BADSIG ") for line in states) or not run.stdout:
        raise BadSignature(f"{name} has no valid signature of Debian's archive keys")
    return run.stdout.decode("utf-8", "replace")


def _dearmoured(data: bytes) -> bytes:
    """RFC 9580 section 6: the base64 body between the header's blank line and the checksum."""
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    import base64

    body = data.replace(b"\r", b"").partition(b"\n\n")[2].partition(b"-----END")[0]
    return base64.b64decode(b"".join(line for line in body.split(b"\n") if not line.startswith(b"=")))
