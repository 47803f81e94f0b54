"""Who may call what: one decision, made before any endpoint runs.

With an API key set, everything but the open routes wants it.  Without one, the process listens on loopback only
(app/wsgi.py sees to that), and what is left to refuse is a web page that talks to loopback from the user's browser.
Refuses to read bodies and to know what the call does.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from proto.errors import Refused

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_BEARER = "bearer "


def check_caller(api_key: SecretStr | None, *, method: str, open_route: bool, environ: Mapping[str, Any]) -> None:
    """Return when it is allowed; raise Refused: ``unauthenticated``, ``cross-origin`` or ``foreign-host``."""
    host = environ.get("HTTP_HOST", "")
    if method not in _SAFE and (origin := environ.get("HTTP_ORIGIN")) is not None and not _same_site(origin, host):
        raise Refused("cross-origin", "A page of another origin may not call this; its Origin is not this Host.")
    if open_route:
        return
    if api_key is None:
        if not _on_loopback(host):
            # A page of evil.example, a name that now leads to this loopback address, is of the same origin as itself.
            raise Refused(
                "foreign-host", "Without an API key only loopback's own names are served: set CLOUDPUSH_API_KEY."
            )
        return
    if not hmac.compare_digest(_shown_key(environ).encode(), api_key.get_secret_value().encode()):
        raise Refused("unauthenticated", "Send the API key as Authorization: Bearer, or as X-API-Key.")


def _shown_key(environ: Mapping[str, Any]) -> str:
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    if authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    return str(environ.get("HTTP_X_API_KEY", ""))


@lru_cache(1024)
def _on_loopback(host: str) -> bool:
    if not host:
        return True  # no browser leaves it out
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_site(origin: str, host: str) -> bool:
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(place) and place.lower() == host.lower()
