"""bench/picture.py and the ratios of bench/report.py."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.picture import Line, draw
from bench.report import Aim

_SVG = "{http://www.w3.org/2000/svg}"


def test_each_server_has_a_line_and_a_cross_where_it_fell_behind(tmp_path: Path) -> None:
    target = tmp_path / "images" / "sweep.svg"
    draw(
        target,
        [Line("ours", [(1e4, 1.0), (1e6, 3.0)], None), Line("theirs & others", [(1e4, 20.0)], 5e4)],
    )
    root = ElementTree.fromstring(target.read_text(encoding="utf-8"))  # noqa: S314
    texts = [text.text for text in root.iter(f"{_SVG}text")]
    assert {"ours", "theirs & others"} <= set(texts)
    assert texts.count("×") == 1
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for text in root.iter(f"{_SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "sweep.svg", [])
    assert not (tmp_path / "sweep.svg").exists()


@pytest.mark.parametrize(
    ("aim", "ratio", "met"),
    [
        (Aim(at_least=2), 2.0, True),
        (Aim(at_least=2), 1.9, False),
        (Aim(at_most=1), 1.1, False),
        (Aim(at_most=1), 1, True),
    ],
)
def test_an_aim_is_met_at_its_edge(aim: Aim, ratio: float, met: bool) -> None:
    assert aim.met(ratio) is met
