"""Records as people read them: times of Asia/Shanghai; subscribers masked and texts left out, unless they are
revealed, which takes a reason that goes on the audit, wherever it is done."""

from datetime import datetime, timedelta, timezone
from typing import Any

from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.delivery import delivery_of
from gateway.evidence.found import Found, Shown
from gateway.evidence.lasting import lasted
from gateway.model import CHANNELS, PURPOSES, VOICE, names_of
from gateway.policy.numbers import mask
from gateway.protocols.text import decode

_SHANGHAI = timezone(timedelta(hours=8))
_KINDS = {
    rec.ATTEMPT: "attempt",
    rec.OUTCOME: "outcome",
    rec.REPORT: "report",
    rec.REPLY: "reply",
    rec.ACT: "act",
}


def plain(what: Found | Shown, *, revealed: bool = False, alone: bool = False) -> dict[str, Any]:
    """As JSON can say it; `alone`: of what followed no more than the delivery state."""
    if isinstance(what, Found):
        return _plain(what, revealed)
    shown = _plain(what.found, revealed)
    delivery = delivery_of(what)
    if delivery is not None:
        shown["delivery"] = delivery.state
        shown["delivery_at"] = _time(delivery.at) if delivery.at else ""
        shown["delivery_stat"] = delivery.stat
        if isinstance(what.found.record, rec.Attempt) and what.found.record.judged.channel == VOICE:
            call = lasted(what)
            shown["answered_at"] = _time(call.answered) if call.answered else ""
            shown["ended_at"] = _time(call.ended) if call.ended else ""
            shown["lasted_seconds"] = call.seconds
            shown["ended_by"] = call.why
    if alone or not isinstance(what.found.record, rec.Attempt):
        return shown
    if delivery is not None:
        last = what.outcomes[-1].result if what.outcomes else rec.UNKNOWN
        shown["outcome"] = _result(last)
        shown["parts"] = [
            {"part": one.part, "state": one.state, "at": _time(one.at) if one.at else "", "stat": one.stat}
            for one in delivery.parts
            if one.part
        ]
    shown["outcomes"] = [
        {
            "at": _time(outcome.at),
            "result": _result(outcome.result),
            "message_id": outcome.message_id.hex(),
            "part": outcome.part,
        }
        for outcome in what.outcomes
    ]
    shown["reports"] = [
        _plain(one.found, revealed) | {"parts": [*filter(None, one.parts)], "repeated": one.repeated}
        for one in (delivery.reports if delivery is not None else ())
    ]
    return shown


def _result(result: int) -> int | str:
    return "unknown" if result == rec.UNKNOWN else result


def _plain(found: Found, revealed: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": _KINDS[found.record.kind]}
    for name in found.record.__struct_fields__:
        value = getattr(found.record, name)
        if name not in {"version", "kind", "subscriber", "digest", "sealed", "judged"}:
            said[name] = _worded(name, value)
    if isinstance(found.record, rec.Attempt):
        judged = found.record.judged
        said |= {name: _word(getattr(judged, name)) for name in judged.__struct_fields__}
        said["channel"] = "".join(names_of(judged.channel, CHANNELS))
        if half_read.continues(found.record):
            said["continues"] = True
        said["findings"] = [
            {"reason": reason, "sub": sub, "enforced": enforced} for reason, sub, enforced in judged.findings
        ]
    if found.content is not None:
        said["subscriber"] = found.content.subscriber if revealed else mask(found.content.subscriber)
        if revealed and isinstance(found.record, rec.Attempt | rec.Reply):
            record = found.record
            reply = isinstance(record, rec.Reply)
            protocol = record.protocol if isinstance(record, rec.Reply) else record.judged.protocol
            octets, udhi = found.content.octets, bool(record.udhi)
            said["text"], note = decode(octets, record.fmt, udhi, protocol, reply=reply)
            if note:  # not as its coding says: read by likeness, in part, or not at all
                said["text_note"] = note
    elif found.sealed_by:
        said["sealed_by"] = found.sealed_by
    return said | {"writer": found.writer, "segment": found.segment, "index": found.index}


def _worded(name: str, value: Any) -> Any:
    match name:
        case "at":
            return _time(value)
        case "deliver_at":
            return _time(value) if value else ""
        case "channels":
            return list(names_of(value, CHANNELS))
        case "purposes":
            return list(names_of(value, PURPOSES))
    return _word(value)


def _word(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, _SHANGHAI).isoformat(timespec="milliseconds")
