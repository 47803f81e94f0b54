"""The JSON on the wire."""

import orjson
import pytest

from cloud_node.wire import json as wire_json


def test_a_body_is_copied_as_it_stands() -> None:
    assert (
        wire_json.dumps(["push", {"msg": orjson.Fragment(b'{"b":1.50, "a":2}')}])
        == '["push",{"msg":{"b":1.50, "a":2}}]'
    )


def test_layout_options_of_the_libraries_do_not_apply() -> None:
    assert wire_json.dumps({"a": [1, "é"]}, separators=(", ", ": ")) == '{"a":[1,"é"]}'


@pytest.mark.parametrize("text", ["NaN", "Infinity", '"\\ud800"', "[" * 5000 + "]" * 5000, "{", "", "1 2"])
def test_what_browsers_choke_on_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire_json.loads(text)
