"""Mosquitto's password hashes, made and checked without its tools.

The form is `$7$ITERATIONS$SALT$HASH`, salt and hash in base64: PBKDF2 with SHA-512 over the
UTF-8 password, 64 bytes long (`mosquitto_passwd.c`, `password_mosq.c`).
"""

import hashlib
import hmac
import os
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

# The default of mosquitto_passwd. Stretching protects passwords that can be guessed; ours are
# random tokens of 256 bits, which cannot. And Mosquitto checks every connected client again,
# on its only thread, each time the accounts change: a high count would stall the whole fleet.
ITERATIONS: Final = 101
# Mosquitto 2.0 reads salts of 12 bytes only; later versions read any length.
SALT_BYTES: Final = 12
HASH_BYTES: Final = 64
# What an attacker's own hash may cost us in `verify_password`.
MAX_ITERATIONS: Final = 1_000_000

_FORM: Final = re.compile(r"\$7\$([1-9][0-9]{0,6})\$([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]+=*)")


def hash_password(password: str, *, salt: bytes | None = None) -> str:
    """Hashes a password in the form that Mosquitto's password file holds.

    Args:
        password: a random token; see `ITERATIONS` for why it must not be a chosen word.
        salt: `SALT_BYTES` bytes; random if not given.

    Raises:
        ValueError: the salt has another length.
    """
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    digest = _digest(password, salt, ITERATIONS)
    return f"$7${ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def verify_password(password: str, password_hash: str) -> bool:
    """Whether the hash was made from the password; False for a hash of another form."""
    match = _FORM.fullmatch(password_hash)
    if match is None or int(match[1]) > MAX_ITERATIONS:
        return False
    try:
        salt, expected = b64decode(match[2], validate=True), b64decode(match[3], validate=True)
    except Base64Error:
        return False
    return hmac.compare_digest(_digest(password, salt, int(match[1])), expected)


def is_password_hash(text: str) -> bool:
    """Whether `text` has the form of a hash, so that it fits into one line of the file."""
    return _FORM.fullmatch(text) is not None


def _digest(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, HASH_BYTES)
