"""Liveman: the manager of a cluster of live777 nodes.

``create_app(config)`` gives an aiohttp application, ``load_config(path)`` reads its configuration. What is
named here is the public API; it is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
    from liveman.app import create_app, load_config
    from liveman.config import Config
    from liveman.errors import ConfigError, Fault, LivemanError
    from liveman.ice import IceLease, IceProvider, IceRequest, IceServer

__all__ = [
    "MANAGE",
    "PUBLISH",
    "SUBSCRIBE",
    "Config",
    "ConfigError",
    "Fault",
    "IceLease",
    "IceProvider",
    "IceRequest",
    "IceServer",
    "Identity",
    "LivemanError",
    "create_app",
    "load_config",
]

_HOMES = {
    "MANAGE": "access",
    "PUBLISH": "access",
    "SUBSCRIBE": "access",
    "Config": "config",
    "ConfigError": "errors",
    "Fault": "errors",
    "IceLease": "ice",
    "IceProvider": "ice",
    "IceRequest": "ice",
    "IceServer": "ice",
    "Identity": "access",
    "LivemanError": "errors",
    "create_app": "app",
    "load_config": "app",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"liveman.{_HOMES[name]}"), name)
