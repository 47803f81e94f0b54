"""Which blocks of a document are run, and with which addresses."""

import pytest

from tests.docs.examples import Example, examples

_TEXT = """\
```sh run
curl localhost:8000/v1/online
```
```sh
rm -rf /
```
~~~python run
print("```sh run")
~~~
````text
```sh run
false
```
````
"""


def test_only_marked_blocks_are_run_in_order() -> None:
    assert list(examples("a.md", _TEXT)) == [
        Example("a.md", 1, "sh", "curl localhost:8000/v1/online\n"),
        Example("a.md", 7, "python", 'print("```sh run")\n'),
    ]


def test_a_block_without_an_end_is_named() -> None:
    with pytest.raises(ValueError, match=r"a\.md:2: a block has no end"):
        list(examples("a.md", "\n```sh run\nexit 0\n"))


def test_addresses_move_and_longer_ports_do_not() -> None:
    example = Example("a.md", 1, "sh", "curl http://localhost:8000/ localhost:80001 127.0.0.1:9001\n")
    moved = example.moved({"localhost:8000": "localhost:1", "127.0.0.1:9001": "127.0.0.1:2"})
    assert moved == "curl http://localhost:1/ localhost:80001 127.0.0.1:2\n"
