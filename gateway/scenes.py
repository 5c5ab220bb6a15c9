"""The messages and calls of the demonstration: one of every verdict, at any hour of the day.

`not_judgeable` of a message takes a node that has lost its registry or its counters, and `no_reply_path` an
account that was not reachable for a day: neither is made here. A message may be scheduled for the next
morning, a call is now or never: at night calls that sell or collect are refused for the hour, and those that
pass, or are too many, are shown by day.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

ANY_HOUR, BY_DAY, AT_NIGHT = "any_hour", "by_day", "at_night"


class Scene(NamedTuple):
    """One message of the demonstration, and the verdict that it should get.

    `when`: it goes at once at any hour; by day, and at night is scheduled for the next morning; or is
    scheduled for 03:00. `observed` is what a rule that blocks nothing yet says of it.
    """

    verdict: str
    account: str
    source: str
    subscribers: Sequence[str]
    text: str
    when: str = BY_DAY
    observed: str = ""


NEXT = ""
"""Stands for a subscriber who was not addressed lately: those who answer "R" would soon be all."""

OFTEN = "13800000505"
"""Gets more than he may: the first ones of a day pass."""

UNREADABLE = "1380000x606"

_SALE = "新客理财专享，详询网点。拒收请回复R"
_LONG = "尊敬的客户，" + "本周末网点举办理财知识讲座，到场可领取纪念品，名额有限，先到先得，" * 3
SCENES = (
    Scene("pass", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_SALE}", observed="consent_missing"),
    Scene("pass", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_LONG}{_SALE}"),  # in parts
    Scene("pass", "900001", "106900020001", [NEXT], "【浙海示例银行】您尾号0000的账户入账100元", ANY_HOUR),
    Scene(
        *("pass", "900001", "106900020001", [NEXT], f"【浙海示例银行】{_SALE}", ANY_HOUR),
        observed="purpose_mismatch",
    ),
    Scene(
        *("pass", "900002", "106900030001", [NEXT], "【钱塘示例消金】您的账单已逾期，请尽快处理"),
        observed="third_party",
    ),
    Scene("malformed", "900001", "106900010001", [UNREADABLE], f"【浙海示例银行】{_SALE}"),
    Scene("blacklisted", "900001", "106900090001", [NEXT], f"【浙海示例银行】{_SALE}"),
    Scene("unregistered", "900001", "10699999", [NEXT], f"【浙海示例银行】{_SALE}"),
    Scene("institution_barred", "900004", "106900060001", [NEXT], f"【西湖示例小贷】{_SALE}"),
    Scene("mandate_missing", "900002", "106900040001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("not_effective", "900003", "106900050001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("account_mismatch", "900001", "106900070001", [NEXT], f"【钱塘示例消金】{_SALE}"),
    Scene("refused_by_subscriber", "900001", "106900010001", ["13800000404"], f"【浙海示例银行】{_SALE}"),
    Scene("quiet_hours", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_SALE}", AT_NIGHT),
    *(Scene("over_frequency", "900001", "106900010001", [OFTEN], f"【浙海示例银行】{_SALE}"),) * 3,
    Scene("signature_missing", "900001", "106900010001", [NEXT], _SALE),
    Scene("signature_mismatch", "900001", "106900010001", [NEXT], f"【客服通知】{_SALE}"),
    Scene("optout_hint_missing", "900001", "106900010001", [NEXT], "【浙海示例银行】新客理财专享"),
    Scene("optout_hint_missing", "900001", "106900010001", [NEXT], f"【浙海示例银行】{_LONG}"),  # in parts
    Scene("mass_refused", "900001", "106900010001", [NEXT, "13800000404"], f"【浙海示例银行】{_SALE}"),
    Scene("pass", "900005", "10680001", [NEXT], "【示例商城】您的包裹已到驿站", ANY_HOUR),
    Scene("pass", "900006", "10680002", [NEXT], "【示例人民法院】请查收电子送达文书", ANY_HOUR),
)


def at_time(scene: Scene, now: datetime) -> str:
    """When the carrier is asked to deliver it, as the protocols write it; "": at once. `now`: in Shanghai."""
    morning = now.replace(hour=10) + timedelta(days=now.hour >= 10)
    if scene.when == AT_NIGHT:
        return f"{now + timedelta(days=1):%y%m%d}030000032+"
    if scene.when == BY_DAY and not 8 <= now.hour < 21:
        return f"{morning:%y%m%d}100000032+"
    return ""


class Trunks(NamedTuple):
    """Addresses of this machine that the sample trunks call from (samples/accounts.csv)."""

    bank: str = "127.0.0.11"  # whose own exchange says who calls: it is trusted
    agency: str = "127.0.0.12"
    lender: str = "127.0.0.13"
    barred: str = "127.0.0.14"
    court: str = "127.0.0.16"


TRUNKS = Trunks()


class CallScene(NamedTuple):
    """One call of the demonstration, and the verdict that it should get. `rows`: further header rows;
    `by_day`: at night the hour refuses it; `own_hours`: its line has them, and they are over but for a minute
    at noon."""

    verdict: str
    trunk: str
    source: str
    subscriber: str = NEXT
    rows: Sequence[str] = ()
    by_day: bool = False
    own_hours: bool = False


CALLED_OFTEN = "13800000507"
"""Is called more often than he may be: the first calls of a day pass."""

OWN_HOURS = '[rules.quiet_hours]\nvoice = { marketing = "12:00-12:01" }\n'
"""Of one line alone, so that a call may come outside the hours at noon, too."""

CALLS = (
    CallScene("pass", TRUNKS.bank, "057188880001", by_day=True),
    CallScene("pass", TRUNKS.bank, "057188880002"),
    CallScene(
        "pass", TRUNKS.bank, "anonymous", rows=["P-Asserted-Identity: <tel:+8657188880002>", "Privacy: id"]
    ),
    CallScene("pass", TRUNKS.agency, "057188880003", by_day=True),
    CallScene("pass", TRUNKS.court, "057188881000"),
    CallScene("not_judgeable", TRUNKS.agency, "anonymous"),
    CallScene("malformed", TRUNKS.bank, "057188880002", UNREADABLE),
    CallScene("blacklisted", TRUNKS.bank, "057188880009"),
    CallScene("unregistered", TRUNKS.bank, "057188889999"),
    CallScene(
        # who is not trusted can't say that another calls
        "unregistered",
        TRUNKS.agency,
        "057188889999",
        rows=["P-Asserted-Identity: <tel:+8657188880003>"],
    ),
    CallScene(
        # a line that was lent
        "unregistered",
        TRUNKS.bank,
        "057188880002",
        rows=["Diversion: <sip:057188889999@caller.invalid>"],
    ),
    CallScene("institution_barred", TRUNKS.barred, "057188880006"),
    CallScene("mandate_missing", TRUNKS.agency, "057188880004"),
    CallScene("not_effective", TRUNKS.lender, "057188880005"),
    CallScene("account_mismatch", TRUNKS.bank, "057188880007"),
    CallScene("refused_by_subscriber", TRUNKS.bank, "057188880001", "13800000404"),
    CallScene("quiet_hours", TRUNKS.bank, "057188880008", own_hours=True),
    *(CallScene("over_frequency", TRUNKS.bank, "057188880001", CALLED_OFTEN, by_day=True),) * 4,
)


def line_with_own_hours() -> str:
    return next(call.source for call in CALLS if call.own_hours)
