"""Signature and opt-out hint as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.content import head, last_signature, offers_refusal, signature
from gateway.policy.folding import folded, visible
from gateway.policy.reply_words import CODES


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("【浙海示例银行】您好", "浙海示例银行"),
        ("\ufeff 【浙海示例银行】您好", "浙海示例银行"),
        ("您好【浙海示例银行】", ""),
        ("[浙海示例银行]您好", ""),
        ("【浙海示例银行 您好", ""),
        ("【】您好", ""),
        ("【", ""),
        ("", ""),
    ],
)
def test_the_signature_stands_first(text: str, name: str) -> None:
    assert signature(text) == name


def test_a_signature_at_the_end_is_seen() -> None:
    assert last_signature("您好，拒收请回复R【浙海示例银行】\n") == "浙海示例银行"
    assert last_signature("【浙海示例银行】您好") == ""
    assert last_signature("】") == ""


def test_a_bound_name_is_compared_without_brackets_blanks_and_width() -> None:
    assert head("【浙海 示例银行】") == head("浙海示例银行") == "【浙海示例银行】"
    assert head("ＥＴＣ卡（浙）") == head("ETC卡(浙)")


@pytest.mark.parametrize(
    "hint",
    [
        "拒收请回复R",
        "拒收请回复 R",
        "拒收回R",
        "退订回T",
        "退订回TD",
        "退订回N。",
        "回T退订",
        "回复T退订",
        "回复TD退订",
        "回N退订",
        "回复N退订",
        "回“T”退订",
        "回复【TD】退订",
        "回复退订",
        "回退订",
        "TD退订，回复TD退订",
        "不再接收请回复拒收",
        "如需退订，请回复TD",
        "回复TD即可退订",
        "回复0000退订",
        "回0000拒收",
        "拒绝请回复R",
        "不想收到请回N",
        "取消订阅请回复T",
        "发送TD至106900011退订",
        "退訂回T",
        "回Ｔ退订",
        "拒 收 请 回 复 R",
        "退\u200b订回\u200bT",
        "Reply TD to unsubscribe",
        "To opt out, reply N",
        "复TD退订",
        "回t退订",
        "回T退",
        "回复1了解详情，回T退订",
        "回复Y确认，退订回T",
        "退订回T，详询95xxx回访",
        "回复TD退订(每条收费2元)",
    ],
)
def test_hints_that_offer_a_usable_refusal(hint: str) -> None:
    assert offers_refusal(f"【浙海示例银行】新客礼，详情见APP，{hint}")
    assert offers_refusal(hint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "回",
        "新客礼",
        "退订",
        "退订请拨打0571-00000000转9转3",
        "退订请点击链接登录并填写身份证号",
        "退订请致电95xxx",
        "请勿回复退订",
        "不回复即视为同意",
        "回复1了解详情",
        "退订回TX",
        "退订回R9",
        "回T恤抽奖",
        "退订回QX",
        "回QX退订",
        "回TDX退订",
        "T+0理财",
        "回复即送TD卡",
        "已退订成功。回T恤可抽奖",
        "如需退货请联系客服。回复T了解",
    ],
)
def test_texts_without_a_usable_refusal(text: str) -> None:
    assert not offers_refusal(text)
    assert not offers_refusal(f"【浙海示例银行】{text}")


@given(st.text(max_size=200))
def test_reading_never_raises_and_folding_is_idempotent(text: str) -> None:
    offers_refusal(text)
    signature(text)
    last_signature(text)
    assert folded(folded(text)) == folded(text)
    assert visible(visible(text)) == visible(text)


@given(st.text("【】回复退订拒收TRNtd0 ，。请\u200b", max_size=60), st.sampled_from(CODES))
def test_a_hint_is_found_wherever_it_stands(text: str, code: str) -> None:
    assert offers_refusal(f"{text}。退订回{code}。{text}")
