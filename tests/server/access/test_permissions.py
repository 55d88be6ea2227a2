"""The table of permissions, and that nothing gets round it."""

import pytest
from fastapi import APIRouter

from farfunc_protocol.errors import Forbidden
from farfunc_server.access.permissions import ROUTES, Permission, check, may
from farfunc_server.access.principal import ANYONE, OPERATOR, Principal, Role
from farfunc_server.app import ROUTERS
from farfunc_server.routes.guard import GuardedRoute, check_guarded


def test_of_the_routers_nothing_is_left_out():
    check_guarded(ROUTERS)


def test_a_route_without_a_row_is_not_made():
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(KeyError):
        router.get("/v1/forgotten")(lambda: None)


def test_a_route_that_is_not_guarded_ends_the_start():
    router = APIRouter()
    router.get("/v1/forgotten")(lambda: None)
    with pytest.raises(RuntimeError, match="has no permission"):
        check_guarded([*ROUTERS, router])


def test_a_row_without_a_route_ends_the_start(monkeypatch):
    monkeypatch.setitem(ROUTES, ("GET", "/v1/gone"), Permission.READ)
    with pytest.raises(RuntimeError, match="/v1/gone"):
        check_guarded(ROUTERS)


def test_the_roles():
    def all_of(role):
        return {permission.value for permission in Permission if may(Principal("a", role), permission)}

    assert all_of(Role.METRICS) == {"open", "metrics"}
    assert all_of(Role.READ_ONLY) == {"open", "read"}
    assert all_of(Role.MEMBER) == {"open", "read", "evaluate", "write"}
    assert all_of(Role.ADMIN) == {"open", "read", "evaluate", "write", "administer", "metrics"}
    for principal in (ANYONE, OPERATOR):
        assert all(may(principal, permission) for permission in Permission)


def test_what_is_refused_says_who_may():
    with pytest.raises(Forbidden, match="'read-only' may not") as caught:
        check(Principal("a", Role.READ_ONLY), Permission.EVALUATE)
    assert "admin or member" in caught.value.remedy
    with pytest.raises(Forbidden, match="operator"):
        check(Principal("a", Role.ADMIN), Permission.OPERATE)
