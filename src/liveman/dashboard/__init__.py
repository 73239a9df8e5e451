"""The cluster in a browser: pages made on the server, kept up to date while they are looked at."""

from liveman.dashboard.dashboard import Dashboard

__all__ = ["Dashboard"]
