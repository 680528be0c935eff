"""Where the service listens, and whether it may do so unguarded.

BentoML listens on every address unless told otherwise, as it must in a container. So a service
that others can reach has to have keys, or somebody's word that it is guarded elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import socket

import click
from bentoml._internal.configuration.containers import BentoMLContainer

from service.errors import SettingsRefused
from service.settings import Settings


def check_guarded(settings: Settings) -> None:
    """Raises SettingsRefused if others can reach the service and nothing guards it."""
    host = listening_host()
    if settings.api_keys or settings.guarded_elsewhere or host is None or is_loopback(host):
        return
    raise SettingsRefused(
        f"Nothing guards it on {host}, which others can reach: set USHER_API_KEYS to the keys "
        "callers shall send, or USHER_GUARDED_ELSEWHERE=1 if something else keeps others away, or "
        "listen on 127.0.0.1 (--host)."
    )


def listening_host() -> str | None:
    """The address `bentoml serve` listens on; None where no command of BentoML's runs this process.

    Before there are workers it is what the command was told. A worker asks its socket, which is
    right however it was started.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    if (descriptor := context.params.get("fd")) is not None:
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            address = listener.getsockname()
        return str(address[0]) if isinstance(address, tuple) else None  # a unix socket has a path
    if "host" in context.params:
        return str(context.params["host"] or BentoMLContainer.http.host.get())
    return None


def is_loopback(host: str) -> bool:
    """Whether an address is only this machine's; what is no address is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
