"""Cities of subscribers: as the phonenumbers library says, at a hundredth of its memory."""

import random
import subprocess

import phonenumbers
import pytest
from phonenumbers import geocoder

from gateway.regions import Regions, build_command


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Regions:
    path = tmp_path_factory.mktemp("regions") / "regions.bin"
    subprocess.run(build_command(path), check=True)
    assert path.stat().st_size < 3 << 20
    return Regions(path)


@pytest.mark.parametrize(
    ("number", "city"),
    [
        ("+8613515710000", "浙江省杭州市"),
        ("+8657188886666", "浙江省杭州市"),
        ("+861062345678", "北京市"),
        ("+862162345678", "上海市"),
        ("10690001", ""),
        ("95588", ""),
        ("+12025550123", ""),
        ("", ""),
    ],
)
def test_known_numbers(regions: Regions, number: str, city: str) -> None:
    assert regions.region(number) == city


def test_mobile_numbers_are_where_the_library_has_them(regions: Regions) -> None:
    chance = random.Random(1)
    for _ in range(3000):
        number = f"+861{chance.choice('3456789')}{chance.randrange(10**9):09d}"
        library = geocoder.description_for_valid_number(phonenumbers.parse(number), "zh")
        assert regions.region(number) == ("" if library == "中国" else library), number


def test_any_text_has_an_answer(regions: Regions) -> None:
    chance = random.Random(2)
    for _ in range(3000):
        text = "".join(chance.choice("+8610 a中\0") for _ in range(chance.randrange(20)))
        assert isinstance(regions.region(text), str)
