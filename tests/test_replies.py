"""A refusal is heard in any dress, and nobody refuses who did not mean to."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import thread_time
from unicodedata import lookup

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simplified import MADE, source

from gateway.model import COLLECTION, MARKETING, REPLY_KINDS, SERVICE, SMS, VOICE
from gateway.policy import replies
from gateway.policy.content import quoted
from gateway.policy.folding import folded
from gateway.policy.replies import LEAST_SENT, WORDS, classify, depends
from gateway.policy.reply_grammar import SENTENCES
from gateway.policy.reply_words import CLASSES, CODES

BOTH, ALL = SMS | VOICE, MARKETING | COLLECTION | SERVICE
VECTORS = Path(__file__).parent / "vectors"


def rows(name: str) -> list[dict[str, str]]:
    with (VECTORS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


GIVEN = rows("replies.csv")
KINDS = {"accept again": "accept", "wrong person": "wrong_person"}
HELD_OUT = rows("replies_heldout.csv")
MENDED = rows("replies_mended.csv")
PLAIN = ("R", "T", "TD", "N", "0000", "退", *CODES[5:])
AROUND_CLAUSES = "“”‘’\"'()[]{}（）「」『』【】<>《》!！。.，,…~～、?？ \r\n"
ASKED = [
    row["text"]
    for row in (*GIVEN, *HELD_OUT, *MENDED)
    if classify(row["text"]).kind == "refuse" and quoted(row["text"]) is None
]
ONE_CLAUSE = [
    text
    for text in (replies._BETWEEN.sub("", text) for text in ASKED)
    if len(text) < 12 and text == text.strip(AROUND_CLAUSES) and len(list(replies._cut(folded(text)))) == 1
    if classify(text).kind == "refuse"
]
"""Without blanks that may stand for a comma."""
NOT_ASKED = [
    row["text"]
    for row in (*GIVEN, *HELD_OUT, *MENDED)
    if classify(row["text"]).kind != "refuse" and row["text"].strip() and quoted(row["text"]) is None
]
VERBS = ("", "回", "回复", "短信回复", "请回复")
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})


@pytest.mark.parametrize("row", GIVEN, ids=lambda row: repr(row["text"])[:24])
def test_the_given_table(row: dict[str, str]) -> None:
    assert classify(row["text"]).kind == KINDS.get(row["expected"], row["expected"])


def test_the_held_out_table() -> None:
    wrong = []
    for row in HELD_OUT:
        assert row["expected"] in REPLY_KINDS
        kind = classify(row["text"], row["outbound"]).kind
        assert kind != "refuse" or row["expected"] == "refuse", ascii(row)
        if kind != row["expected"]:
            wrong.append((row["text"], row["expected"], kind))
    assert len(wrong) <= 0.03 * len(HELD_OUT), Counter(expected for _, expected, _ in wrong)


def test_what_was_mended_stays_right() -> None:
    for row in MENDED:
        assert classify(row["text"], row["outbound"]).kind == row["expected"], ascii(row)


def test_each_sentence_has_an_example_that_it_reads() -> None:
    for number, sentence in enumerate(SENTENCES, 1):
        found = [replies._SENTENCE.fullmatch(shape) for shape in replies._shapes(folded(sentence.example))]
        assert number in {match.lastindex for match in found if match is not None}, sentence


def test_each_word_stands_once_and_as_folding_leaves_it() -> None:
    assert len(WORDS) == sum(len(words.split()) for words in CLASSES.values())
    for word in WORDS:
        assert folded(word) == word


@pytest.mark.parametrize("code", PLAIN)
@pytest.mark.parametrize("verb", VERBS)
def test_plain_codes_in_every_dress(code: str, verb: str) -> None:
    word = verb + code if code != "退" else code
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
        assert classify(text) == ("refuse", BOTH, ALL), ascii(text)


DRESSES = (
    "LATIN CAPITAL LETTER", "LATIN SMALL LETTER", "FULLWIDTH LATIN CAPITAL LETTER",
    "FULLWIDTH LATIN SMALL LETTER", "CIRCLED LATIN CAPITAL LETTER", "CIRCLED LATIN SMALL LETTER",
    "NEGATIVE CIRCLED LATIN CAPITAL LETTER", "SQUARED LATIN CAPITAL LETTER",
    "NEGATIVE SQUARED LATIN CAPITAL LETTER", "REGIONAL INDICATOR SYMBOL LETTER",
    "PARENTHESIZED LATIN SMALL LETTER", "LATIN LETTER SMALL CAPITAL", "MODIFIER LETTER CAPITAL",
    "MODIFIER LETTER SMALL", "LATIN SUBSCRIPT SMALL LETTER", "MATHEMATICAL BOLD CAPITAL",
    "MATHEMATICAL BOLD FRAKTUR SMALL", "MATHEMATICAL SCRIPT CAPITAL", "MATHEMATICAL DOUBLE-STRUCK SMALL",
    "MATHEMATICAL SANS-SERIF BOLD ITALIC SMALL", "MATHEMATICAL MONOSPACE CAPITAL",
)  # fmt: skip
"""Latin letters by Unicode's own names; some letters lack a dress."""
SEEN_AS = {"T": "ТΤᎢꓔⲦ", "D": "ᗞꓓᎠԀ", "R": "ᎡᖇꓣƦ", "N": "ΝꓠⲚ"}


def dressed(letter: str) -> list[str]:
    """The letter as Unicode names and draws it."""
    found = [letter, *SEEN_AS[letter]]
    for dress in DRESSES:
        with suppress(KeyError):
            found.append(lookup(f"{dress} {letter}"))
    return found


LETTERS = {letter: dressed(letter) for letter in SEEN_AS}


@given(st.sampled_from(("TD", "T", "R", "N", "回T", "回复R", "T退订", "拒收请回复R", "回TD退订")), st.data())
def test_a_code_is_the_same_in_all_letters_of_unicode(text: str, data: st.DataObject) -> None:
    written = "".join(data.draw(st.sampled_from(LETTERS.get(char, [char]))) for char in text)
    assert classify(written) == classify(text) == ("refuse", BOTH, ALL), ascii(written)


INSIDE = (
    "\u200b", "\u2060", "\u00ad", "\u0301", "\ufe0f", "\u202e", "\u0336", "\u20dd", "\u20e3", "\u034f",
    "\u0489", "\U000e0041", "\U000e007f",
)  # fmt: skip
AROUND = (" ", "\u3000", "\n", "\r\n", "\t", "。", "！", "…", "🙏", "“", "”", "）", "（", "\ufeff", "谢谢")


@given(st.sampled_from(ASKED), st.data())
def test_a_refusal_stays_one_however_it_is_dressed(text: str, data: st.DataObject) -> None:
    upper, wide = data.draw(st.booleans()), data.draw(st.booleans())
    text = text.upper() if upper and text.isascii() else text
    text = text.translate(FULL_WIDTH) if wide else text
    sign, step = data.draw(st.sampled_from(("", *INSIDE))), data.draw(st.integers(1, 4))
    text = "".join(char + sign if at % step == 0 else char for at, char in enumerate(text))
    before = data.draw(st.lists(st.sampled_from(AROUND[:-1]), max_size=2))
    after = data.draw(st.lists(st.sampled_from(AROUND), max_size=3))
    dressed = "".join((*before, text, *after))
    assert classify(dressed).kind == "refuse", ascii(dressed)


@pytest.mark.parametrize(
    "text",
    """
    TD?|退订？|00:00|00-00|T_T|RR|R&B|N/A|TDD|回|回复|退订单|T+1|T+0|TD-LTE|TD bank|000|T1|NO.1|R15
    stop by|don't stop|can't stop|please do not unsubscribe me|我没订阅过|退订电话|昨天退订的酒店
    不退订|没说要退订|别退订|退订费多少|退订酒店|酒店能退订吗|拒收快递|快递，拒收|退订机票|取消退订|拒绝了我的申请
    不要停止发送|不要不发|要不要短信|想不想收到短信|别忘了发短信|不要再发错了|不打扰了|请再发一下投诉电话|我让他别打电话
    退货|退一下|拒绝还款|没收到短信|为什么不发了|别只发短信|不要拉黑我|不小心回了T|有人让我回T|不用打电话|我不发了
    别打钱了|不要打钱|不要发到这个卡|别发快递了|他已经退订了|我没说不要发|短信说拒收请回复R
    别打给我老婆|stop kidding|开车中勿扰|他说过别再发了|TD80|收据收到了|怪不得一直搞不过|不通知我|不接电话
    退下|人脸识别发给我|你不收短信|下次再这样我就拒收了|如果我回T|再联系不到你我就要报警了|短信写着“退订”|要不要联系你
    别给闺女打|去消费|他们说“别再打来了”|现在别打|撤回消息|把短信银行关了|别打电话给银行|您已退订
    不喜欢这玩意|我不想在电话里告诉你|再发一遍，投诉电话多少
    退订怎么发|手机设置了免打扰|你们拉黑我吧|no texts from you|从数据库拒收|系统退订了我的酒店|应该是拒收
    别推我|取消短信银行|除非你降息，否则我就退订|利息再不降我就退订了|再让我打客服就投诉|再发一份律师函|别让我再看到你
    吉米，别乱打|去找他吧|这几天别打电话
    """.replace("\n", "|").split("|"),
)
def test_what_only_looks_like_a_refusal(text: str) -> None:
    assert classify(text.strip()).kind != "refuse"


@given(st.sampled_from(PLAIN), st.text("买账单何时借办票", min_size=2, max_size=20))
def test_a_code_inside_a_sentence_is_not_a_refusal(code: str, rest: str) -> None:
    assert "refuse" not in (classify(rest + code).kind, classify(code + rest).kind)


@pytest.mark.parametrize("word", ["不", "不想", "没说要", "不是要", "先别", "请不要", "不用"])
@given(
    asked=st.sampled_from(("退订", "拒收", "取消订阅", "停止发送", "退訂", "推订")),
    end=st.sampled_from(("", "了", "短信")),
)
def test_who_says_no_to_a_refusal_has_not_refused(word: str, asked: str, end: str) -> None:
    assert classify(f"{word}{asked}{end}").kind != "refuse"


@pytest.mark.parametrize(
    "frame",
    [
        "{}是什么意思",
        "怎么{}",
        "他说{}",
        "短信里说{}",
        "我朋友让我{}",
        "谁{}了",
        "为什么要{}",
        "我没说{}",
        "我不是要{}",
        "没人{}",
        "他问怎么{}",
        "你们写的“{}”是什么意思",
        "{}的酒店",
        "{}那家店",
        "关于{}的规定",
    ],
)
def test_who_speaks_of_a_refusal_has_not_refused(frame: str) -> None:
    """Questions, others' words, negations and names around every refusal of one clause that is known."""
    for text in ONE_CLAUSE:
        assert classify(frame.format(text)).kind != "refuse", frame.format(text)


@pytest.mark.parametrize(
    "frame", ["退订{}", "我要退订{}", "拒收{}", "{}能退订吗", "{}，拒收", "取消{}", "别发{}给我"]
)
def test_goods_that_are_refused_are_no_messages(frame: str) -> None:
    for goods in CLASSES["f"].split():
        assert classify(frame.format(goods)).kind != "refuse", frame.format(goods)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("您好，", ""),
        ("麻烦，", ""),
        ("嗯，", ""),
        ("", "谢谢"),
        ("", "，谢谢"),
        ("", "🙏"),
        ("麻烦您，", "。"),
    ],
)
def test_politeness_changes_nothing(before: str, after: str) -> None:
    for text in (*ONE_CLAUSE, *NOT_ASKED):
        polite = classify(before + text + after)
        assert (polite.kind == "refuse") == (classify(text).kind == "refuse"), before + text + after


@pytest.mark.parametrize(
    ("text", "channels", "purposes"),
    [
        ("退订", BOTH, ALL),
        ("别再给我发短信了", BOTH, ALL),
        ("别打了", BOTH, ALL),
        ("别打电话", VOICE, ALL),
        ("别打电话了，有事发短信", VOICE, ALL),
        ("请不要再给我打电话", VOICE, ALL),
        ("短信别发了打电话吧", SMS, ALL),
        ("别发短信，打电话", SMS, ALL),
        ("电话不要打了短信可以", VOICE, ALL),
        ("短信不要发了电话可以", SMS, ALL),
        ("只退订短信", SMS, ALL),
        ("短信电话可以别发吗", BOTH, ALL),
        ("所有短信电话都不要", BOTH, ALL),
        ("别打电话也别发短信", BOTH, ALL),
        ("别打电话，退订", BOTH, ALL),
        ("只退订营销短信", BOTH, MARKETING),
        ("退订广告短信", BOTH, ALL),
        ("TD，但还款提醒照发", BOTH, MARKETING),
        ("营销短信不要发，还款提醒保留", BOTH, MARKETING),
    ],
)
def test_words_that_say_so_narrow_a_refusal(text: str, channels: int, purposes: int) -> None:
    assert classify(text) == ("refuse", channels, purposes)


QUOTED = "【浙海示例银行】专属额度已备好，拒收请回复R"


@pytest.mark.parametrize("outbound", ["", QUOTED])
def test_what_is_quoted_is_not_said(outbound: str) -> None:
    for text, kind in (
        (QUOTED, "ambiguous"),
        (f"{QUOTED} 这个利率多少？", "other"),
        (f"{QUOTED}\n退订", "refuse"),
        (f"好的。{QUOTED}", "other"),
        ("【某某助手】退订", "refuse"),
        ("【退订】谢谢", "refuse"),
    ):
        assert classify(text, outbound).kind == kind, text


@given(
    st.one_of(st.sampled_from([*ASKED, *PLAIN]), st.text("退订DN0 回复取消1吧。？【a", max_size=12)),
    st.one_of(
        st.sampled_from(["", QUOTED, "回复Y办理，N放弃", "退订回T1，办理回1", "要取消请回取消，退订回D"]),
        st.text("【】退订拒收回复TDN0，。 是否请取消1", min_size=LEAST_SENT, max_size=60),
    ),
)
def test_what_was_sent_is_asked_for_wherever_it_could_matter(text: str, outbound: str) -> None:
    """Where `depends` says no, nobody looks it up."""
    if not depends(text) and len(outbound.strip()) >= LEAST_SENT:
        assert classify(text, outbound) == classify(text)


def test_a_choice_of_a_menu_is_not_the_code_beside_it() -> None:
    menu = "【浙海示例银行】查询回1，办理回2，退订回R"
    assert [classify(text, menu).kind for text in ("1", "2", "R")] == ["other", "other", "refuse"]


@pytest.mark.parametrize(
    ("outbound", "text", "kind"),
    [
        ("[Sample Bank] Enjoy 0% instalments. Reply END to unsubscribe", "END", "refuse"),
        ("[Sample Bank] Did you make this purchase? Reply YES or NO", "NO", "other"),
        ("【示例银行】缴费立减10元，不接收请回复BJS", "BJS", "refuse"),
        ("【示例消金】请问是否确认退订全部营销短信？回复“是”确认", "是", "refuse"),
        ("【示例消金】您是要退订我们的短信吗？请回复是或否", "否", "other"),
        ("【示例银行】您正在退订营销短信，回复“确认”完成退订", "确认", "refuse"),
        ("【示例银行】专属额度已备好，想要请回1，退订回复T", "好的", "other"),
        ("【示例银行】专属额度已备好，想要请回1，退订回复T", "1", "other"),
        ("【示例银行】办理回1，退订请致电网点", "1", "other"),
        ("【示例银行】办理回Y，退订短信请编辑TD发送", "Y", "other"),
        ("【示例银行】优惠上线，回复“QX”退订", "QX", "refuse"),
        ("【示例银行】请问您是孙某本人吗？请回复是或不是", "不是", "wrong_person"),
        ("【示例消金】请确认：本人请回复1，非本人请回复2", "2", "wrong_person"),
        ("【示例消金】请确认：本人请回复1，非本人请回复2", "1", "other"),
        ("【示例信用卡】尾号3321卡刚刚消费8000元，请问是您本人消费吗？", "不是", "other"),
        ("【示例银行】尾号1234卡申请提额，是否本人？请回复Y/N", "Ｎ", "other"),
        ("【示例银行】尾号8888卡消费1000元，如非本人操作请回复N", "N", "other"),
        ("【示例银行】尾号8888卡消费1000元，如非本人操作请回复N", "不是本人", "other"),
        ("【示例消金】您是否同意我司向您发送优惠信息，同意回复Y，不同意回复N", "N", "refuse"),
        ("【示例消金】您是否同意我司向您发送优惠信息，同意回复Y，不同意回复N", "Y", "other"),
        ("【示例消金】您是否同意我司向您发送还款账单，同意回复Y，不同意回复N", "N", "other"),
        ("【示例银行】您已退订营销短信，如需恢复接收请回复Y确认", "Y", "other"),
        ("【示例银行】您已退订，重新接收请回复“恢复”", "恢复", "accept"),
        ("【示例银行】专属额度已备好，编辑QX退订", "QX", "refuse"),
        ("【示例银行】专属额度已备好，退订回复字母D", "d", "refuse"),
        ("【示例银行】专属额度已备好。D退订", "D", "refuse"),
        ("【示例银行】专属额度已备好，拒收：8", "8", "refuse"),
        ("【示例银行】如何退订请回8", "8", "other"),
        ("【示例银行】开通免打扰回D", "D", "other"),
        ("【示例银行】回D退订酒店", "D", "other"),
        ("【示例银行】是否退订酒店？", "是", "other"),
        ("【示例银行】您是否愿意继续接收我行优惠信息？愿意回Y，不愿意回N", "N", "refuse"),
        ("【示例银行】您是否愿意继续接收我行优惠信息？愿意回Y，不愿意回N", "Y", "other"),
        ("【示例银行】您是否同意接收电子账单短信？同意回Y，不同意回N", "N", "other"),
        ("【示例银行】您是否收到过我行营销短信？请回复是或不是", "不是", "other"),
        ("【示例银行】您已申请退订，确认请回Y", "Y", "refuse"),
        ("【示例银行】您要退订哪类短信？1营销 2账单 3全部", "3", "refuse"),
        ("【示例银行】您要退订哪项服务？请致电网点。回1查账单，回2查额度", "2", "other"),
        ("【示例银行】请回复卡片后四位", "0000", "other"),
        ("【示例银行】办理退票请回复退", "退", "other"),
        ("【示例银行】退订请回复退订", "退", "refuse"),
        ("【示例银行】您好，请问是孙先生吗？", "不是的", "wrong_person"),
        ("【示例银行】如不需要请回复T", "T", "refuse"),
        ("【示例银行】需要回Y，不需要回T", "T", "other"),
    ],
)
def test_an_answer_that_was_offered_means_what_is_printed_beside_it(
    outbound: str, text: str, kind: str
) -> None:
    assert depends(text) or classify(text).kind == kind
    assert classify(text, outbound).kind == kind


def test_what_a_reply_means_depends_on_few_of_its_kind() -> None:
    assert all(map(depends, ("D", "t", "T1", "回复D", "取消", "Ｎ", QUOTED)))
    assert not any(map(depends, ("退订", "别再发了", "你是谁", "恢复订阅", "")))


@given(st.text(max_size=300), st.text("【】退订拒收回复TDN0，。 是否请", max_size=60))
def test_no_text_raises(text: str, outbound: str) -> None:
    assert classify(text, outbound).kind in REPLY_KINDS
    assert classify(outbound, text).kind in REPLY_KINDS


def long_texts() -> Iterator[str]:
    """Such as make a careless expression slow; 20,000 characters each."""
    yield from (char * 20_000 for char in "退不,. ?0t【回1\u0301x我")
    yield from (
        (piece * 20_000)[:20_000]
        for piece in ("退订", "别再发", ". ", ",?", "a ", "1.", "【】退订回", "不是张", "T,")
    )


def test_no_text_takes_longer_than_its_length() -> None:
    for text in long_texts():
        began = thread_time()
        classify(text)
        classify(text, text)
        assert thread_time() - began < 1.0, ascii(text[:8])


def test_the_table_of_simplified_characters_is_the_librarys() -> None:
    assert MADE.read_text("utf-8") == source(), "make tables"
