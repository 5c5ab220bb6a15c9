"""The words of `zhengming number`, `allocation`, `dispute`, `document`, `alarm`, `reply` and `import-run`:
what each act takes.

It imports nothing that takes time, as every command reads it.
"""

import argparse
from pathlib import Path

from gateway.arguments import text, whole
from gateway.commands.casework_arguments import Act

STATES = ("draft", "submitted", "returned", "checked", "approved", "revoked", "withdrawn")
STEPS = {
    "submit": "an institution hands in a draft, or what came back",
    "return": "a carrier gives back, with reasons",
    "check": "a carrier's first person finds the papers right",
    "approve": "a carrier's second person agrees",
    "veto": "a regulator ends what is not approved yet",
    "revoke": "a regulator ends what was approved",
    "withdraw": "an institution ends it",
}
FILED: dict[str, tuple[str, str]] = {
    "extension_digits": ("N", "how many further digits may follow"),
    "channels": ("sms|voice …", ""),
    "purposes": ("marketing|collection|service …", "one is the rule"),
    "agency": ("CODE", "of the agency that uses it; '' for none"),
    "signatures": ("NAME …", "without 【】; '' for none"),
    "carrier": ("CODE", "whose it is to check; '' for any"),
    "effective_from": ("TIME", "ISO 8601; '' for when it is approved"),
    "effective_until": ("TIME", "ISO 8601; '' for long-term"),
    "document": ("SHA256", "of a document handed in before"),
}
"""What a filing says beside its number; what is left out stays, or takes its default."""
LISTS = ("channels", "purposes", "signatures")


def _by(act: argparse.ArgumentParser) -> argparse.ArgumentParser:
    act.add_argument("--by", required=True, metavar="LOGIN", help="who does this")
    act.add_argument("--json", action="store_true")
    return act


def _listed(act: argparse.ArgumentParser) -> argparse.ArgumentParser:
    act.add_argument("--limit", type=whole(1), default=1000)
    return _by(act)


def _one(act: argparse.ArgumentParser) -> argparse.ArgumentParser:
    act.add_argument("id", metavar="ID", type=whole(1))
    return _by(act)


def _filed(act: argparse.ArgumentParser) -> None:
    for name, (values, words) in FILED.items():
        act.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            metavar=values,
            nargs="+" if name in LISTS else None,
            type=whole(0) if name == "extension_digits" else str,
            help=words,
        )


def add_number_arguments(act: Act) -> None:
    """`zhengming number ACT`."""
    draft = act("draft", "an institution, or an agency for it, begins a filing")
    draft.add_argument("number")
    draft.add_argument("--institution", default=None, metavar="CODE", help="whose it is; default: one's own")
    for doing in (
        _by(draft),
        _one(act("change", "in a draft, or what came back")),
        _one(act("amend", "a new version of what was approved, as a draft")),
    ):
        _filed(doing)
    listed = _listed(act("list", "by id"))
    listed.add_argument("--status", choices=STATES, default="")
    steps = {name: act(name, words) for name, words in STEPS.items()}
    suspend, resume = act("suspend", "a regulator places a hold"), act("resume", "a regulator lifts a hold")
    _one(act("history", "all that a filing has been"))
    for doing in (act("show", "with holds and the steps taken"), *steps.values(), suspend, resume):
        doing.add_argument("ids", nargs="+", type=whole(1), metavar="ID")
        _by(doing)
    for doing in (*steps.values(), resume):
        doing.add_argument("--reason", default="")
    suspend.add_argument("--cause", default="")
    suspend.add_argument("--case", default="", help="case reference")
    suspend.add_argument("--until", default="", metavar="TIME", help="when it ends by itself")
    resume.add_argument("--hold", type=whole(1), metavar="ID", help="which is lifted, when several stand")


def add_allocation_arguments(act: Act) -> None:
    """`zhengming allocation ACT`."""
    add = act("add", "a carrier gives a base port to a provider")
    add.add_argument("number", help="the digits that all numbers of it begin with")
    add.add_argument("provider", metavar="CODE", help="of the provider")
    add.add_argument("--from", dest="valid_from", default=None, metavar="TIME", help="default: at once")
    end = act("end", "say when it is over, or that it is not")
    end.add_argument("id", metavar="ID", type=whole(1))
    for doing in (add, end):
        doing.add_argument("--until", dest="valid_until", default=None, metavar="TIME", help="when it ends")
        _by(doing)
    _listed(act("list", "by id"))
    _one(act("show", "one"))


def add_dispute_arguments(act: Act) -> None:
    """`zhengming dispute ACT`."""
    file = _by(act("file", "an institution says that a number filed already is its own"))
    file.add_argument("number", help="the number, or the digits that all begin with")
    file.add_argument("--grounds", required=True, type=text(1000))
    file.add_argument("--document", default=None, metavar="SHA256", help="of a document handed in before")
    listed = _listed(act("list", "by id"))
    listed.add_argument("--overdue", action="store_true", help="only what is overdue")
    _one(act("show", "with its due date"))
    decide = _one(act("decide", "a regulator does; it revokes nothing by itself"))
    decide.add_argument("--decision", required=True, choices=["upheld", "rejected"])
    decide.add_argument("--reason", required=True, type=text(1000))


def add_document_arguments(act: Act) -> None:
    """`zhengming document ACT`."""
    add = _by(act("add", "hand in a PDF, PNG or JPEG of at most 20 MB; its SHA-256 is its name"))
    add.add_argument("file", type=Path)
    add.add_argument("--kind", default="other", help="licence, mandate, consent, …: what it proves")
    get = _by(act("get", "write one to a file: handed in oneself, or named by a row that one sees"))
    get.add_argument("sha256", metavar="SHA256")
    get.add_argument("file", type=Path)
    get.add_argument("--of", default="", metavar="ROW", help="that names it, such as numbers/17")


def add_alarm_arguments(act: Act) -> None:
    """`zhengming alarm ACT`."""
    listed = _listed(act("list", "by id"))
    listed.add_argument("--unseen", action="store_true", help="only what nobody has acknowledged")
    _one(act("acknowledge", "a regulator has seen it"))


def add_reply_arguments(act: Act) -> None:
    """`zhengming reply ACT`."""
    listed = _listed(act("list", "by id"))
    listed.add_argument("--kind", choices=["ambiguous", "accept", "wrong_person"], default="")
    listed.add_argument("--open", action="store_true", help="only what nobody has decided")
    _one(act("show", "with what it did; `records show ID --reveal` has its text"))
    decide = _one(act("decide", "what an ambiguous one meant: an institution may only say `refusal`"))
    decide.add_argument("--decision", required=True, choices=["refusal", "no_refusal"])
    decide.add_argument("--reason", required=True, type=text(1000))


def add_run_arguments(act: Act) -> None:
    """`zhengming import-run ACT`."""
    listed = _listed(act("list", "by id: who brought what in, for whom it was approved, what became of it"))
    listed.add_argument("--break-glass", action="store_true", help="only imports that broke the glass")
    listed.add_argument("--unseen", action="store_true", help="only what nobody has acknowledged")
    _one(act("acknowledge", "a regulator has seen a broken glass"))


def add_hold_arguments(act: Act) -> None:
    """`zhengming hold ACT`: of institutions and agencies; a number's are `number suspend` and `resume`."""
    place = act("place", "a regulator stops all its numbers, until a time or until the hold is lifted")
    lift = act("lift", "a regulator lifts one hold; nothing returns while another stands")
    for doing in (place, lift, act("list", "what stands on it")):
        doing.add_argument("code", metavar="CODE", help="of the institution, agency or provider")
        _by(doing)
    place.add_argument("--cause", required=True)
    place.add_argument("--case", default="", help="case reference")
    place.add_argument("--until", default="", metavar="TIME", help="when it ends by itself")
    lift.add_argument("--reason", required=True)
    lift.add_argument("--hold", type=whole(1), metavar="ID", help="which is lifted, when several stand")
