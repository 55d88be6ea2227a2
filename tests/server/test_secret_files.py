"""Secrets in files."""

import pytest

from farfunc_protocol.errors import ServerError
from farfunc_server.secret_files import adopt_secret_files


def test_a_file_stands_for_the_variable(tmp_path):
    path = tmp_path / "secret"
    path.write_text(" s3cret \n")
    environment = {"FARFUNC_TOKEN_FILE": str(path), "AWS_SECRET_ACCESS_KEY_FILE": str(path), "FARFUNC_PORT": "1"}
    adopt_secret_files(environment)
    assert environment == {"FARFUNC_TOKEN": " s3cret ", "AWS_SECRET_ACCESS_KEY": " s3cret ", "FARFUNC_PORT": "1"}


def test_others_variables_are_left_alone():
    given = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "POSTGRES_PASSWORD_FILE": "/nowhere", "FARFUNC_TOKEN_FILE": ""}
    environment = dict(given)
    adopt_secret_files(environment)
    assert environment == given


def test_a_file_that_cannot_be_read_and_a_secret_given_twice_are_refused(tmp_path):
    with pytest.raises(ServerError, match="cannot be read"):
        adopt_secret_files({"FARFUNC_TOKEN_FILE": str(tmp_path / "none")})
    with pytest.raises(ServerError, match="both"):
        adopt_secret_files({"FARFUNC_TOKEN_FILE": str(tmp_path), "FARFUNC_TOKEN": "x"})
