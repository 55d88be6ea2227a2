"""Documents changed at random: what a hostile or a broken program might send."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

from farfunc_protocol.ops import OPS
from farfunc_protocol.transforms import TRANSFORM_NAMES

__all__ = ["mutated_binary", "mutated_json"]

_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    7,
    2**31,
    -(2**31),
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**40,
    0.0,
    -0.0,
    0.5,
    1e308,
    5e-324,
    "",
    "*",
    "n",
    "x" * 300,
    "float64[2]",
    "float64[]",
    "float64[0]",
    "float64[n,n]",
    "float64[4611686018427387904]",
    "float32[65536,65536,65536]",
    "complex64[2]",
    "int64[2]",
    "bool[2]",
    "float64[-1]",
    "object[2]",
    "NaN",
    "Infinity",
    "-Infinity",
    "__import__('os').system('true')",
    "os.system",
    "aten::sin",
    "../../etc/passwd",
    "\ud800",
    "\u0000",
    [],
    {},
    [[]],
    [None],
    [0],
    [0, 0],
    [2**63],
    {"dim": "n"},
    {"dim": 5},
    {"float": "NaN"},
    {"complex": [1.0, 2.0]},
    ["tuple", "*", "*"],
    {"static": 1},
    {"class": "os.system", "node": ["*"]},
    {"dtype": "float64", "shape": [2], "base64": "AAAAAAAA8D8AAAAAAADwPw=="},
    {"dtype": "float64", "shape": [2**40], "base64": ""},
    {"transform": "jacfwd"},
]


def mutated_json(document: Any, randomness: random.Random) -> bytes:
    """A copy of a JSON document with one to four changes; sometimes its text is changed as well."""
    document = copy.deepcopy(document)
    for _ in range(randomness.choice((1, 1, 1, 2, 4))):
        document = _changed(document, randomness)
    text = json.dumps(document)
    if randomness.random() < 0.15:
        text = _garbled(text, randomness)
    return text.encode("utf-8", "surrogatepass")


def mutated_binary(file: bytes, randomness: random.Random) -> bytes:
    """A copy of a safetensors file with a changed header, changed farfunc metadata, or changed bytes."""
    kind = randomness.random()
    if kind < 0.25:
        return _changed_bytes(file, randomness)
    length = int.from_bytes(file[:8], "little")
    header, data = json.loads(file[8 : 8 + length]), file[8 + length :]
    if kind < 0.45:
        header = _changed(header, randomness)
    else:
        inner = json.loads(header["__metadata__"]["farfunc"])
        for _ in range(randomness.choice((1, 1, 2))):
            inner = _changed(inner, randomness)
        header["__metadata__"]["farfunc"] = json.dumps(inner)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


def _changed(document: Any, randomness: random.Random) -> Any:
    """Change one place of a document."""
    places = list(_places(document))
    if not places:
        return copy.deepcopy(randomness.choice(_VALUES))
    container, key = randomness.choice(places)
    action = randomness.random()
    if action < 0.5:
        container[key] = _other(container[key], randomness)
    elif action < 0.65:
        del container[key]
    elif action < 0.8 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif action < 0.9 and isinstance(container, dict):
        container[randomness.choice(["", "op", "grad", "body", "extra", "at", "dim", "argnums", "__class__"])] = (
            copy.deepcopy(randomness.choice(_VALUES))
        )
    else:
        source, source_key = randomness.choice(places)  # a part of the document in the place of another
        container[key] = copy.deepcopy(source[source_key])
    return document


def _other(value: Any, randomness: random.Random) -> Any:
    """Another value: near the given one, or any."""
    near = randomness.random() < 0.5
    if near and type(value) is int:
        return value + randomness.choice((-2, -1, 1, 2, 1000))
    if near and type(value) is float:
        return value * randomness.choice((-1.0, 0.5, 1e300))
    if near and isinstance(value, str):
        if value in OPS or value in TRANSFORM_NAMES:
            return randomness.choice([*OPS, *TRANSFORM_NAMES])
        return _garbled(value, randomness)
    return copy.deepcopy(randomness.choice(_VALUES))


def _places(document: Any) -> Any:
    pending = [document]
    while pending:
        found = pending.pop()
        if isinstance(found, dict | list):
            for key in list(found) if isinstance(found, dict) else range(len(found)):
                yield found, key
                pending.append(found[key])


def _garbled(text: str, randomness: random.Random) -> str:
    if not text:
        return "?"
    place = randomness.randrange(len(text))
    action = randomness.randrange(6)
    if action == 0:
        return text[:place] + text[place + 1 :]
    if action == 1:
        return text[:place] + randomness.choice('{}[]",:0.eE-+NI\\\x00é') + text[place:]
    if action == 2:
        return text[:place]
    if action == 3:
        return text[:place] + text[place:] * 2
    if action == 4:
        return re.sub(r"\d+", lambda found: str(randomness.choice((0, 2, 10**9, int(found[0]) + 1))), text, count=2)
    return text[:place] + "[" * 500 + text[place:]


def _changed_bytes(file: bytes, randomness: random.Random) -> bytes:
    changed = bytearray(file)
    action = randomness.randrange(4)
    if action == 0:
        for _ in range(randomness.randint(1, 8)):
            changed[randomness.randrange(len(changed))] = randomness.randrange(256)
    elif action == 1:
        del changed[randomness.randrange(len(changed)) :]
    elif action == 2:
        changed += randomness.randbytes(randomness.randint(1, 64))
    else:
        changed[:8] = randomness.choice((0, 1, len(file), 2**32, 2**63, 2**64 - 1)).to_bytes(8, "little")
    return bytes(changed)
