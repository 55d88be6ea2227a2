"""JSON: canonical out, strict in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfunc_protocol.errors import InvalidRequest
from farfunc_protocol.strict_json import canonical_json, parse_json

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(documents)
def test_what_is_written_is_read_back(document):
    try:
        text = canonical_json(document)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert parse_json(text) == document


@given(documents)
def test_there_is_one_spelling(document):
    assert canonical_json(document) == canonical_json(json.loads(json.dumps(document)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b"[NaN]", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b"[" + b"9" * 5000 + b"]", "cannot be read"),
        (b"{", "line 1 column 2"),
        (b"", "not JSON"),
    ],
)
def test_what_parsers_disagree_about_is_refused(text, words):
    with pytest.raises(InvalidRequest, match=words):
        parse_json(text)
