"""Flags, variables, and their refusals in one sentence."""

from pathlib import Path

import pytest

from farfunc_server.settings import Settings, read_settings


def test_defaults():
    assert read_settings([], {}) == Settings()
    assert Settings().host == "127.0.0.1"


def test_flags_win_over_variables():
    settings = read_settings(["--port", "0", "--spare", "no"], {"FARFUNC_PORT": "99", "FARFUNC_TIME_LIMIT": "2.5"})
    assert (settings.port, settings.time_limit, settings.spare) == (0, 2.5, False)
    assert not read_settings(["--batching=false"], {"FARFUNC_BATCHING": "true"}).batching
    assert read_settings([], {"FARFUNC_TF32": "true"}).tf32


def test_every_kind_of_value():
    environment = {
        "FARFUNC_DATA_DIR": "/x/y",
        "FARFUNC_DEVICES": "cuda:0, cuda:1",
        "FARFUNC_MEMORY_LIMIT": "1.5G",
        "FARFUNC_BODY_LIMIT": "1024",
        "FARFUNC_LOG_LEVEL": "WARNING",
        "FARFUNC_TOKEN": "secret",
        "FARFUNC_QUEUE_SIZE": "",
    }
    settings = read_settings(["--stop-with-stdin"], environment)
    assert settings.data_dir == Path("/x/y")
    assert settings.devices == ("cuda:0", "cuda:1")
    assert settings.memory_limit == 3 << 29
    assert settings.body_limit == 1024
    assert settings.log_level == "warning"
    assert settings.token == "secret"
    assert settings.stop_with_stdin
    assert settings.queue_size == Settings().queue_size
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "x", "a port from 0 to 65535, not 'x'"),
        ("--port", "70000", "a port"),
        ("--time-limit", "0", "a number of seconds"),
        ("--time-limit", "nan", "a number of seconds"),
        ("--memory-limit", "8 GX", "a size such as 8G"),
        ("--devices", "cpu,cpu", "a list such as"),
        ("--devices", "tpu", "a list such as"),
        ("--queue-size", "0", "a positive integer"),
        ("--spare", "maybe", "true or false"),
        ("--log-level", "loud", "debug, info"),
    ],
)
def test_wrong_values_are_one_sentence(option, value, words, capsys):
    with pytest.raises(SystemExit) as caught:
        read_settings([option, value], {})
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read_settings([], {f"FARFUNC_{option.removeprefix('--').replace('-', '_').upper()}": value})
    assert "FARFUNC_" in capsys.readouterr().err


def test_the_token_is_no_flag(capsys):
    with pytest.raises(SystemExit):
        read_settings(["--token", "secret"], {})
    assert "unrecognized" in capsys.readouterr().err
