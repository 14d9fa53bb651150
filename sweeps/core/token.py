"""The token of Ray: whoever has it may run code as this user, on every machine of the cluster."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path


def keep_to_us() -> None:
    """Make the token that Ray here asks of everyone, and let no other user of this machine read it.

    A Ray started by us listens on every address of the machine. It makes the token itself where there is none, as a file that all may read
    (`ray._private.authentication`, 2.60). Nothing where the token is elsewhere (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`) or switched off
    (`RAY_AUTH_MODE=disabled`), or the home folder cannot be written: there Ray says why."""
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):
        if not token.exists():
            token.parent.mkdir(parents=True, exist_ok=True)
            # Readable by us alone from the start. Linked, not renamed: of two processes that start at once, both use the first one's.
            with tempfile.NamedTemporaryFile("w", dir=token.parent) as made:
                made.write(secrets.token_hex(32))
                made.flush()
                with suppress(FileExistsError):
                    os.link(made.name, token)
        token.chmod(0o600)
