"""The messages of the demonstration: one of every verdict."""

from collections.abc import Sequence
from typing import NamedTuple


class Scene(NamedTuple):
    """One message of the demonstration, and the verdict that it should get."""

    verdict: str
    account: str
    source: str
    subscribers: Sequence[str]
    text: str
    at_night: bool = False  # scheduled for 03:00 of the next day


NEXT = ""
"""Stands for a subscriber who was not addressed lately: those who answer "R" would soon be all."""

OFTEN = "13800000505"
"""Gets more than he may: the first ones of a day pass."""

_SALE = "新客理财专享，详询网点。拒收请回复R"
SCENES = (
    Scene("pass", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_SALE}"),
    Scene("pass", "900001", "106900020001", [NEXT], "【浙海示例银行】您尾号0000的账户入账100元"),
    Scene("pass", "900002", "106900030001", [NEXT], "【钱塘示例消金】您的账单已逾期，请尽快处理"),
    Scene("blacklisted", "900001", "106900090001", [NEXT], f"【浙海示例银行】{_SALE}"),
    Scene("unregistered", "900001", "10699999", [NEXT], f"【浙海示例银行】{_SALE}"),
    Scene("institution_barred", "900004", "106900060001", [NEXT], f"【西湖示例小贷】{_SALE}"),
    Scene("mandate_missing", "900002", "106900040001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("not_effective", "900003", "106900050001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("account_mismatch", "900001", "106900070001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("refused_by_subscriber", "900001", "106900010001", ["13800000404"], f"【浙海示例银行】{_SALE}"),
    Scene("quiet_hours", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_SALE}", at_night=True),
    Scene("over_frequency", "900001", "106900010001", [OFTEN], f"【浙海示例银行】{_SALE}"),
    Scene("signature_missing", "900001", "106900010001", [NEXT], _SALE),
    Scene("signature_mismatch", "900001", "106900010001", [NEXT], f"【客服通知】{_SALE}"),
    Scene("optout_hint_missing", "900001", "106900010001", [NEXT], "【浙海示例银行】新客理财专享"),
    Scene("mass_refused", "900001", "106900010001", [NEXT, "13800000404"], f"【浙海示例银行】{_SALE}"),
    Scene("pass", "900005", "10680001", [NEXT], "【示例商城】您的包裹已到驿站"),
    Scene("pass", "900006", "10680002", [NEXT], "【示例人民法院】请查收电子送达文书"),
)
