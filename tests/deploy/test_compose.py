"""Compose files: valid by the specification's own schema, and hardened as docs/server.md says."""

import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml

from support.paths import ROOT

FILES = ["docker-compose.yml", "deploy/docker-compose.one.yml", "deploy/docker-compose.gpu.yml"]
POOL = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = POOL["services"]
ONCE = {"migrate", "bucket", "objects-owner"}
"""They end when they are done."""


@pytest.mark.parametrize("file", FILES)
def test_it_is_valid_by_the_compose_specification(file):
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load((ROOT / file).read_text())
    assert [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)] == []


def test_the_schema_finds_faults():
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for fault in ({"imagee": "x"}, {"image": 1}, {"image": "x", "healthcheck": {"tests": []}}):
        assert list(validator.iter_errors({"services": {"server": fault}}))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_has_to(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    if name == "objects-owner":  # gives a volume away, and has no network
        assert (service["cap_add"], service["network_mode"]) == (["CHOWN"], "none")
    elif service.get("build"):
        assert re.search(r"^USER 10001:10001$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    else:
        assert int(service["user"].partition(":")[0]) > 0
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= limits.keys()


@pytest.mark.parametrize("name", SERVICES.keys() - ONCE)
def test_what_goes_on_is_asked_how_it_is(name):
    assert {"test", "interval", "timeout", "retries"} <= SERVICES[name]["healthcheck"].keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ONCE)
def test_what_is_done_once_is_waited_for(name):
    assert any(
        service.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
        for service in SERVICES.values()
    )


def test_images_are_pinned():
    images = {service["image"] for service in SERVICES.values()} - {"farfunc:latest"}
    assert all(re.search(r":[^:]*\d", image) for image in images)


def test_nothing_but_nginx_and_grafana_is_published_and_on_this_machine_unless_told():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"nginx", "grafana"}
    assert all("127.0.0.1" in port for ports in published.values() for port in ports)
    assert POOL["networks"]["inside"]["internal"] is True
    assert all(SERVICES[name]["networks"] == ["inside"] for name in ("postgres", "objects", "migrate", "bucket"))


def test_no_secret_stands_in_the_file_and_every_one_is_made(tmp_path):
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            if re.search(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY|DATABASE$|_USER$", variable):
                assert variable.endswith("_FILE") or variable == "POSTGRES_USER", (name, variable)
        known = {secret if isinstance(secret, str) else secret["source"] for secret in service.get("secrets", ())}
        assert known <= POOL["secrets"].keys()
    folder = tmp_path / "secrets"
    subprocess.run([ROOT / "deploy" / "make-secrets.sh", folder], check=True, capture_output=True)
    needed = {secret["file"].removeprefix("deploy/secrets/") for secret in POOL["secrets"].values()}
    assert {path.name for path in folder.iterdir()} == needed
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len({(folder / name).read_text() for name in ("token", "postgres_password", "grafana_password")}) == 3
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run([ROOT / "deploy" / "make-secrets.sh", folder], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/secrets/token"], cwd=ROOT, check=False, env={**os.environ}
    )
    assert ignored.returncode in (0, 128)  # 128: no repository, as in a source distribution


def test_what_is_mounted_is_there_and_what_is_named_is_declared():
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in POOL["volumes"]
        for network in service.get("networks", ()):
            assert network in POOL["networks"]
        for other in service.get("depends_on", ()):
            assert other in SERVICES


def test_prometheus_and_nginx_find_the_server_where_it_is():
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["dns_sd_configs"][0]["names"] == ["server"]
    assert scraped["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert "metrics_token" in SERVICES["prometheus"]["secrets"]
    assert "server server:8017" in (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    common = set(SERVICES["server"]["networks"])
    assert all(common & set(SERVICES[name]["networks"]) for name in ("nginx", "prometheus"))


def test_the_overlay_for_gpus_adds_to_services_that_are_there():
    overlay = yaml.safe_load((ROOT / "deploy" / "docker-compose.gpu.yml").read_text())
    for base in FILES[:2]:
        assert overlay["services"].keys() <= yaml.safe_load((ROOT / base).read_text())["services"].keys()


def test_the_servers_variables_are_settings():
    from farfunc_server.settings import Settings

    known = {f"FARFUNC_{name.upper()}" for name in Settings.__dataclass_fields__}
    for base in FILES[:2]:
        environment = yaml.safe_load((ROOT / base).read_text())["services"]["server"]["environment"]
        named = {name.removesuffix("_FILE") for name in environment if name.startswith("FARFUNC_")}
        assert named <= known
