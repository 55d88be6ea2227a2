"""The systemd unit and nginx's configuration, as systemd and nginx themselves judge them."""

import re
import shutil
import subprocess

import pytest

from support.paths import ROOT
from support.proxies import make_certificate, nginx_program

UNIT = ROOT / "deploy" / "systemd" / "farfunc.service"


def analyze(*words):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_systemd_takes_the_unit(tmp_path):
    text = UNIT.read_text()
    path = tmp_path / "farfunc.service"
    path.write_text(text.replace("/opt/farfunc/bin/farfunc", "/bin/true"))
    (tmp_path / "farfunc.service.d").mkdir()
    shutil.copy(UNIT.with_name("gpu.conf"), tmp_path / "farfunc.service.d")
    done = analyze("verify", path)
    told = [line for line in (done.stdout + done.stderr).splitlines() if "farfunc" in line]
    assert (done.returncode, told) == (0, [])


def test_systemd_calls_it_hardened():
    done = analyze("security", "--offline=true", UNIT)
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")
    found = re.search(r"Overall exposure level for farfunc.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0  # of 10


def test_nginx_takes_its_configuration(tmp_path):
    program = nginx_program()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    make_certificate(tmp_path)
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    text = text.replace("/etc/farfunc/tls", str(tmp_path)).replace("server server:8017", "server 127.0.0.1:8017")
    path = tmp_path / "nginx.conf"
    path.write_text(text.replace("/tmp/nginx", f"{tmp_path}/nginx"))
    done = subprocess.run(
        [program, "-t", "-c", path, "-e", tmp_path / "error.log"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.replace("stderr warn", "").lower().replace('the "user" directive', "")
