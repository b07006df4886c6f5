"""The root secret and what is derived from it. One secret is kept; every key is made from it for one purpose.

A key for another purpose, or another root, has nothing in common with it (HKDF-SHA-256, RFC 5869).
"""

import hashlib
import os
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.config import settings


@lru_cache(maxsize=1)
def root() -> bytes:
    """SECRET_KEY, or the one that the first start made in DATA_DIR."""
    return (settings.secret_key or _kept(settings.data_dir / "secret_key")).encode()


@lru_cache(maxsize=64)
def derive_key(purpose: str) -> bytes:
    """32 bytes for one purpose."""
    return derive_from(root(), purpose)


def derive_from(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose, from a secret that need not be the present one."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=b"neoforge/" + purpose.encode()).derive(secret)


@lru_cache(maxsize=1)
def key_id() -> str:
    """A short public name of the root secret; rows keep it, so that they know what they were made with."""
    return key_id_of(root())


def key_id_of(secret: bytes) -> str:
    """The name of a secret that need not be the present one."""
    return hashlib.sha256(derive_from(secret, "key-id")).hexdigest()[:8]


def start_secrets() -> None:
    """Have the secret ready: made on the first start where none is given."""
    root()


def private_folder(folder: Path) -> Path:
    """`folder`, made if need be, which only its owner may enter."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _kept(file: Path) -> str:
    """The secret in `file`. Several processes may start at once: the first one's is everybody's."""
    private_folder(file.parent)
    if not file.exists():
        draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_urlsafe(48))
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:  # another process was first
            pass
        finally:
            draft.unlink()
    return file.read_text().strip()
