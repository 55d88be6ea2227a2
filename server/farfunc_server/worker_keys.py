"""What workers know a function by: its identity, and whose plans of it these are.

Two tenants that have the same function have plans of their own. With common ones each could tell from the counts of
``GET /v1/plans``, or from how fast its first call is, that another has the function, too.
"""

from __future__ import annotations

from .access.principal import DEFAULT_TENANT

__all__ = ["identity_of", "tenant_of", "worker_key"]


def worker_key(id: str, tenant: str) -> str:
    """The key of a tenant's plans of a function.

    >>> key = worker_key("sha256:00", "robotics")
    >>> identity_of(key), tenant_of(key), worker_key("sha256:00", "default")
    ('sha256:00', 'robotics', 'sha256:00')
    """
    return id if tenant == DEFAULT_TENANT else f"{id}@{tenant}"


def identity_of(key: str) -> str:
    """The function's identity."""
    return key.partition("@")[0]


def tenant_of(key: str) -> str:
    """Whose plans these are."""
    return key.partition("@")[2] or DEFAULT_TENANT
