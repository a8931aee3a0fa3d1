"""The README's examples run, in its order, and print what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> list[str]:
    """What each Python block prints, all of them run in one folder with the same names."""
    names: dict[str, object] = {}
    outputs = []
    with contextlib.chdir(tmp_path_factory.mktemp("readme")):
        blocks = re.findall(r"```python\n(.*?)```", README, re.S)
        for block in blocks:
            # a server, as tests/test_dialects.py has one; weights that the hub has
            if "@host" in block or "pretrained=" in block:
                continue
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(compile(block, "README.md", "exec"), names)
            outputs.append(stdout.getvalue())
        assert Path("matches.png").exists()
    return outputs


def test_the_first_example_prints_what_stands_below_it(printed):
    shown = re.search(r"```text\n(.*?)```", README, re.S)[1]
    similarity = re.compile(r"0\.\d\d$", re.M)  # its last digit is that of the processor's precision
    assert similarity.sub("", printed[0]) == similarity.sub("", shown)
    told, expected = ([float(each) for each in similarity.findall(text)] for text in (printed[0], shown))
    assert told == pytest.approx(expected, abs=0.011)


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"^\s*make (\w+)", README, re.M)) <= targets
