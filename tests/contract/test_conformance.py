from pathlib import Path

import pytest

from scripts.conformance import DGC_FLAGS, READ, SUITES, Row, dgc, main, row

FOLDER = Path(__file__).parents[3] / "shared" / "corpora" / "dgc-testdata"
PICTURE = "EXPECTEDPICTUREDECODE"

needs_the_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the EU's test certificates (dgc-testdata) are not beside the tree"
)


@needs_the_data
@pytest.mark.parametrize("flag", [*(flag for flag in DGC_FLAGS if flag != PICTURE), READ])
def test_every_case_gets_its_author_s_answer(flag: str) -> None:
    """On each flag, every certificate of every country is judged as its authors say."""
    (judged,) = dgc(FOLDER, [flag])
    assert judged.asserted > 100
    assert judged.disagreed == ()


@needs_the_data
def test_pictures_of_one_country_are_read() -> None:
    """The decoder reads from the picture what the case says is in it; the whole is for scripts/conformance."""
    (judged,) = dgc(FOLDER / "common", [PICTURE])
    assert judged.asserted > 0
    assert judged.disagreed == ()


def test_an_excuse_must_be_needed() -> None:
    """What is excused and agrees is a disagreement, and so is what disagrees without excuse."""
    answers = [("a", True, True), ("b", True, False), ("c", False, True), ("d", False, False), ("e", True, None)]
    known = {("a", "flag"): "why", ("b", "flag"): "why", ("z", "flag"): "absent", ("c", "other"): "why"}
    assert row("flag", answers, known) == Row(
        flag="flag",
        asserted=5,
        negative=2,
        disagreed=("a", "c"),
        faults=("b: why", "e: asserted, but not in the case"),
    )


@pytest.mark.parametrize("suite", SUITES)
def test_a_folder_without_cases_is_no_success(suite: str, tmp_path: Path) -> None:
    """Nothing run is not everything agreed."""
    assert main([suite, str(tmp_path)]) == 2
    assert main([suite, str(tmp_path / "absent")]) == 2
