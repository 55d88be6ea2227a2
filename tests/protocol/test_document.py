"""Functions as files: the same bytes everywhere, readable for ever."""

import copy
import hashlib
import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from farfunc_protocol.document import (
    function_from_bytes,
    function_from_json,
    function_to_bytes,
    function_to_json,
    identity,
)
from farfunc_protocol.errors import FarfuncError, InvalidGraph, LimitExceeded, ProtocolError, UnsupportedVersion
from farfunc_protocol.graph import format_function
from farfunc_protocol.graph_json import graph_from_json, graph_to_json, tensor_type_from_text
from farfunc_protocol.limits import Limits
from farfunc_protocol.strict_json import canonical_json, parse_json
from farfunc_protocol.validate import validate_function
from golden import functions

GOLDEN = sorted(functions.FOLDER.glob("v*/*.safetensors"))
BUILT = {name: build() for name, build in functions.FUNCTIONS.items()}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_of_every_version_stay_loadable(path):
    loaded = function_from_bytes(path.read_bytes())
    validate_function(loaded)
    assert loaded == function_from_bytes(function_to_bytes(BUILT[path.stem]))


@pytest.mark.parametrize("name", BUILT)
def test_the_format_has_not_changed_without_a_new_version(name):
    """If this fails and the change is meant: raise FORMAT_VERSION, log it, run tests/golden/functions.py."""
    assert function_to_bytes(BUILT[name]) == functions.path_of(name).read_bytes()


@pytest.mark.parametrize("name", BUILT)
def test_what_is_read_is_written_again_bit_for_bit(name):
    file = function_to_bytes(BUILT[name])
    assert function_to_bytes(function_from_bytes(file)) == file
    document = parse_json(canonical_json(function_to_json(BUILT[name])))
    assert function_to_bytes(function_from_json(document)) == file


def test_the_identity_is_the_sha256_of_the_file():
    file = function_to_bytes(BUILT["sine"])
    assert identity(file) == identity([file[:10], file[10:]]) == "sha256:" + hashlib.sha256(file).hexdigest()


def test_identities_are_the_same_in_processes_with_other_hash_seeds():
    script = (
        "from golden import functions\n"
        "from farfunc_protocol.document import function_to_bytes, identity\n"
        "print(*(identity(function_to_bytes(build())) for build in functions.FUNCTIONS.values()))\n"
    )
    folder = os.path.dirname(functions.FOLDER)
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {" ".join(identity(function_to_bytes(function)) for function in BUILT.values()) + "\n"}


def test_the_sources_are_no_part_of_the_identity():
    assert function_to_bytes(replace(BUILT["sine"], sources=("a.py:1",))) == function_to_bytes(BUILT["sine"])


def test_a_function_is_printed_for_people():
    text = format_function(BUILT["nested"])
    assert "%2 = vmap(%0, %1, in_dims=[0], out_dims=[1], randomness='different') graph(" in text
    assert "    %2 = grad(%0, %1, argnums=[0]) graph(%0: float64[n]; captures %1: float64[]) {" in text
    constants = format_function(BUILT["constants"])
    assert "%7 = add.Tensor(%6, %2, alpha=2) no_grad" in constants
    assert "min=-inf" in constants


@pytest.mark.parametrize("text", ["float64[]", "bool[0,3]", "complex64[n,3,batch_1]"])
def test_types_as_text(text):
    assert str(tensor_type_from_text(text)) == text


@pytest.mark.parametrize(
    "text",
    ["float64", "float64[", "float63[3]", "float64[-1]", "float64[03]", "float64[3,]", "float64[é]", "float64[²]",
     "float64[99999999999999999999]", "float64[9223372036854775808]", "float64[a-b]", 3, None, ["float64[3]"]],
)  # fmt: skip
def test_what_is_no_type(text):
    with pytest.raises(ProtocolError):
        tensor_type_from_text(text)


def _edited(edit):
    document = graph_to_json(BUILT["nested"].graph)
    document = copy.deepcopy(document)
    edit(document)
    return document


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda d: d.pop("outputs"), "graph"),
        (lambda d: d.update(extra=1), "graph"),
        (lambda d: d.update(inputs="x"), "graph.inputs"),
        (lambda d: d["inputs"].append(3), "graph.inputs[2]"),
        (lambda d: d["equations"].append(None), "graph.equations[1]"),
        (lambda d: d["equations"][0].update(op=None), "graph.equations[0].op"),
        (lambda d: d["equations"][0].update(at=[]), "graph.equations[0].at"),
        (lambda d: d["equations"][0].update(grad=0), "graph.equations[0].grad"),
        (lambda d: d["equations"][0]["in"].append(-1), "graph.equations[0].in[2]"),
        (lambda d: d["equations"][0]["in"].append(True), "graph.equations[0].in[2]"),
        (lambda d: d["equations"][0]["in"].append([[0]]), "graph.equations[0].in[2][0]"),
        (lambda d: d["equations"][0]["out"].append(1.5), "graph.equations[0].out[1]"),
        (lambda d: d["equations"][0]["body"]["equations"][0].pop("out"), "graph.equations[0].body.equations[0]"),
        (lambda d: d["equations"][0]["at"].update(x={"float": 1}), "graph.equations[0].at.x"),
        (lambda d: d["equations"][0]["at"].update(x={"dim": "n", "y": 1}), "graph.equations[0].at.x"),
        (lambda d: d["equations"][0]["at"].update(x=[[[[[1]]]]]), "graph.equations[0].at.x[0][0][0][0]"),
    ],
)
def test_a_malformed_document_is_refused_with_its_path(edit, where):
    with pytest.raises(InvalidGraph) as caught:
        graph_from_json(_edited(edit))
    assert caught.value.where == where


def test_limits_are_checked_on_what_is_declared():
    document = graph_to_json(BUILT["nested"].graph)
    for limits in (Limits(equations=3), Limits(body_depth=1), Limits(leaves=1), Limits(rank=1)):
        with pytest.raises(LimitExceeded):
            graph_from_json(document, limits=limits)
    wide = _edited(lambda d: d["equations"][0]["at"].update(in_dims=[0] * 100))
    with pytest.raises(LimitExceeded, match="attribute items"):
        graph_from_json(wide, limits=Limits(attribute_items=50))
    with pytest.raises(LimitExceeded):
        function_from_bytes(function_to_bytes(BUILT["nested"]), limits=Limits(document_bytes=100))
    with pytest.raises(LimitExceeded, match="constant bytes"):
        function_from_bytes(function_to_bytes(BUILT["constants"]), limits=Limits(constant_bytes=8))


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_format_is_refused(version):
    document = {**function_to_json(BUILT["sine"]), "format": version}
    with pytest.raises(UnsupportedVersion, match="this side reads format 1"):
        function_from_json(document)


def test_mutated_files_are_read_or_refused_and_nothing_else():
    rng = random.Random(0)
    files = [function_to_bytes(function) for function in BUILT.values()]
    refused = 0
    for _ in range(2000):
        file = bytearray(rng.choice(files))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(file))
            file[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        try:
            validate_function(function_from_bytes(bytes(file)))
        except FarfuncError as error:
            assert error.status in (413, 422), error  # noqa: PT017 (being accepted is as good)
            refused += 1
    assert refused > 1000
