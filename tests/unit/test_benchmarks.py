import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import boofcv
import cv2
import numpy as np
import pytest
from truth import Code, Score, Tally, code_free_in, gains, half_of, judge, photos_in, show, summary, teller

LEFT = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
RIGHT = [(20.0, 0.0), (30.0, 0.0), (30.0, 10.0), (20.0, 10.0)]
FAR = [(90.0, 90.0), (99.0, 90.0), (99.0, 99.0), (90.0, 99.0)]
PLACED = (Code(corners=LEFT, tells=teller("one")), Code(corners=RIGHT, tells=teller("two")))


def test_the_text_of_a_code_is_what_most_engines_read_at_its_place() -> None:
    """A reader elsewhere has no voice at this place, and one voice each leaves two texts."""
    answers = {"a": [("one", LEFT)], "b": [("one", LEFT), ("two", RIGHT)], "c": [("0ne", LEFT), ("2", RIGHT)]}
    assert boofcv.votes(LEFT, answers) == ["one"]
    assert boofcv.votes(RIGHT, answers) == ["2", "two"]
    assert boofcv.votes(FAR, answers) == []


def test_an_engine_that_masks_its_texts_has_no_voice() -> None:
    """Its trial version puts asterisks in the place of the last characters."""
    assert boofcv.votes(LEFT, {boofcv.MASKED: [("o**", LEFT)]}) == []


@pytest.mark.parametrize(
    ("reads", "score"),
    [
        ([], Score()),
        ([(b"one", LEFT)], Score(read=frozenset({0}), right=True)),
        ([(b"one", LEFT), (b"one", LEFT), (b"two", RIGHT)], Score(read=frozenset({0, 1}), right=True)),
        ([(b"one", RIGHT)], Score(right=True)),
        ([(b"one", FAR)], Score(read=frozenset({0}), right=True)),
        ([(b"three", LEFT), (b"three", FAR)], Score(wrong=1)),
    ],
)
def test_a_read_counts_for_the_code_at_its_place_and_with_its_text(
    reads: list[tuple[bytes, list[tuple[float, float]]]], score: Score
) -> None:
    """A right text at another code's place reads the photo, but no code; at no code's place, it counts."""
    assert judge(PLACED, reads) == score


def test_two_codes_with_one_text_are_two() -> None:
    """Places tell them apart."""
    codes = [Code(corners=corners, tells=teller("one")) for corners in (LEFT, RIGHT)]
    assert judge(codes, [(b"one", RIGHT)]).read == {1}
    assert judge(codes, [(b"one", RIGHT), (b"one", LEFT)]).read == {0, 1}


def test_a_code_whose_text_nobody_knows_counts_by_its_place_alone() -> None:
    """It is told apart as untold."""
    codes = [Code(corners=LEFT)]
    assert judge(codes, [(b"?", LEFT)]) == Score(read=frozenset({0}), untold=frozenset({0}), right=True)
    assert judge(codes, [(b"?", FAR)]) == Score(wrong=1)


def test_a_text_without_a_place_may_be_anywhere_in_its_photo() -> None:
    """Samples come with a text and no corners; bytes of an older character set count where they are right."""
    codes = [Code(tells=teller("Đà Nẵng")), Code(tells=teller("café\n"))]
    assert judge(codes, [("Đà Nẵng".encode(), FAR), ("café".encode("latin-1"), LEFT)]).read == {0, 1}
    assert judge(codes, [(b"Da Nang", FAR)]) == Score(wrong=1)


def test_a_rung_gains_what_no_earlier_one_read() -> None:
    """What only it reads is what the ladder loses without it."""
    scores = {
        "first": Score(read=frozenset({0, 1})),
        "second": Score(read=frozenset({1, 2})),
        "third": Score(read=frozenset({2})),
    }
    assert gains(scores) == {"first": (2, 1), "second": (1, 0), "third": (0, 0)}


def test_macro_is_the_mean_over_groups_and_images_leave_one_out() -> None:
    """A group of many codes weighs as much as one of a single code, where codes count."""
    groups: dict[str, Tally] = defaultdict(Tally)
    groups["nominal"].add(1, Score(read=frozenset({0}), right=True), 1.0)
    groups["nominal"].add(1, Score(wrong=1), 3.0)
    groups["lots"].add(98, Score(), 8.0)
    assert summary(groups, "lots") == {
        "images_percent": 50.0,
        "macro_percent": 25.0,
        "codes_percent": 1.0,
        "wrong": 1,
        "untold": 0,
        "mean_ms": 4.0,
        "median_ms": 3.0,
        "p95_ms": 3.0,
    }


def test_the_halves_share_nothing_and_leave_nothing_out() -> None:
    """The even one has the first."""
    files = [Path(f"{at}.png") for at in range(5)]
    assert half_of(files, "even") == [files[0], files[2], files[4]]
    assert half_of(files, "odd") == [files[1], files[3]]
    assert half_of(files, "all") == files


def _picture(file: Path, shape: tuple[int, int] = (8, 8)) -> None:
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), np.full(shape, 255, dtype=np.uint8))


def test_a_folder_s_photos_are_those_with_a_truth_beside_them(tmp_path: Path) -> None:
    """Raw bytes win over text; folders called falsepositives hold code-free pictures, whatever lies beside them."""
    for name in ("a/1.png", "a/2.png", "a/3.png", "falsepositives-1/1.png"):
        _picture(tmp_path / name)
    (tmp_path / "a" / "1.txt").write_text("one\n", encoding="utf-8")
    (tmp_path / "a" / "2.bin").write_bytes(b"\xff\x00")
    (tmp_path / "a" / "2.txt").write_text("two", encoding="utf-8")
    first, second = photos_in(tmp_path, "all")
    assert (first.group, first.file.name) == ("a", "1.png")
    assert judge(first.codes, [(b"one", LEFT)]).right
    assert judge(second.codes, [(b"\xff\x00", LEFT), (b"two", LEFT)]) == Score(read=frozenset({0}), right=True, wrong=1)
    assert [photo.file.parent.name for photo in code_free_in(tmp_path)] == ["falsepositives-1"]


@pytest.mark.parametrize("shape", [(200, 100), (100, 200)])
def test_a_photo_is_shrunk_into_a_frame_turned_as_it_is(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Reads have their place in the photo again; a photo that fits stays as it is."""
    _picture(tmp_path / "photo.png", shape)
    shown, as_it_is = (show(tmp_path / "photo.png", size) for size in ((100, 80), (200, 100)))
    assert shown is not None
    assert as_it_is is not None
    assert shown.luma.shape == (shape[0] // 2, shape[1] // 2)
    assert shown.placed([(b"", [(25, 0), (75, 100)])]) == [(b"", [(50, 0), (150, 200)])]
    assert as_it_is.luma.shape == shape


def _found(corners: Sequence[tuple[float, float]]) -> dict[str, str]:
    return {f"{axis}{at}": str(value) for at, xy in enumerate(corners, 1) for axis, value in zip("xy", xy, strict=True)}


def test_the_published_set_is_read_as_it_is_published(tmp_path: Path) -> None:
    """Photos lie in folders by category; corners and the answers of 2023 lie in one archive beside them."""
    (tmp_path / "detection_result_filenames.json").write_text("[]", encoding="utf-8")
    with ZipFile(tmp_path / "results.zip", "w") as archive:
        for at in (1, 2):
            _picture(tmp_path / "nominal" / f"image00{at}.png")
            archive.writestr(f"nominal/image00{at}.txt", json.dumps([_found(LEFT), _found(RIGHT)]))
            for engine in boofcv.ENGINES:
                reads = [{"barcodeText": "one", **_found(LEFT)}] if engine in ("ZBar", "ZXing") and at == 1 else []
                archive.writestr(f"nominal/image00{at}-{engine}.json", json.dumps({"results": reads}))
    assert boofcv.is_boofcv(tmp_path)
    (photo,) = boofcv.photos(tmp_path, "even")
    assert (photo.group, photo.file.name) == ("nominal", "image001.png")
    assert [code.tells is None for code in photo.codes] == [False, True]
    published = boofcv.published(tmp_path, "all")
    assert published["ZBar"] == {"images_percent": 50.0, "macro_percent": 25.0, "codes_percent": 25.0, "wrong": 0}
    assert published["Dynamsoft"]["macro_percent"] == 0
    assert boofcv.MASKED not in published
