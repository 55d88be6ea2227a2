"""Where a server may listen, and what it needs for that."""

from pathlib import Path

import pytest

from farfunc_protocol.errors import ServerError
from farfunc_server.access.exposure import check_exposure
from farfunc_server.settings import Settings, read_settings
from support.paths import ROOT

IDENTITIES = [
    {"token": "x"},
    {"access": "tokens"},
    {"oidc_issuer": "https://login.example", "oidc_audience": "farfunc"},
]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_nothing(host):
    check_exposure(Settings(host=host))


def test_a_unix_socket_needs_nothing():
    check_exposure(Settings(host="0.0.0.0", uds=Path("x")))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "gpu.example"])
def test_beyond_it_both_are_needed(host):
    with pytest.raises(ServerError, match="open to everyone") as caught:
        check_exposure(Settings(host=host))
    assert all(word in caught.value.remedy for word in ("FARFUNC_TOKEN", "--behind-tls", "--insecure"))
    with pytest.raises(ServerError, match="open to everyone") as caught:
        check_exposure(Settings(host=host, behind_tls=True))
    assert "put a proxy" not in caught.value.remedy
    for identity in IDENTITIES:
        with pytest.raises(ServerError, match="plain text") as caught:
            check_exposure(Settings(host=host, **identity))
        assert "FARFUNC_TOKEN" not in caught.value.remedy
        check_exposure(Settings(host=host, behind_tls=True, **identity))
    check_exposure(Settings(host=host, insecure=True))


def test_the_switches_need_no_value():
    assert read_settings(["--behind-tls", "--insecure"], {}).behind_tls
    assert read_settings([], {"FARFUNC_INSECURE": "true"}).insecure
    assert not read_settings(["--insecure", "false"], {"FARFUNC_INSECURE": "true"}).insecure


def test_the_containers_start_as_their_files_say():
    """The image alone asks for a decision; compose has made it, for a port that only the machine itself reaches."""
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    compose = (ROOT / "deploy" / "docker-compose.one.yml").read_text(encoding="utf-8")
    assert "FARFUNC_HOST=0.0.0.0" in image
    assert "FARFUNC_INSECURE" not in image.split("ENV ")[1]
    assert '"127.0.0.1:${FARFUNC_PORT:-8017}:8017"' in compose
    assert "FARFUNC_INSECURE" in compose
