"""After a crash: what `Contacts` had not flushed yet is read back from the worker's own journal.

Without it a reply that arrives just after a restart would not find the attempt that it answers.
"""

from pathlib import Path

from gateway.evidence.record import Attempt
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.policy.facts import View
from gateway.registry.keys import RegistryKey
from gateway.relay.contacts import Contacts, key_of

LONGEST = 600_000  # ms of journal that are read at most: a start must not take long


def refill(
    contacts: Contacts, writer: str, journal: Path, keys: Keys, key: RegistryKey, view: View, now: int
) -> int:
    """Put the passed attempts since the last flush back; how many pairs they were."""
    since = max(contacts.flushed_until(now), now - LONGEST)
    known: set[bytes] = set()
    for found in Search(journal, keys).newest(writer, since):
        record = found.record
        if not isinstance(record, Attempt) or record.judged.verdict != "pass" or found.content is None:
            continue
        judged = record.judged
        contact = key_of(key.hash(judged.number), key.hash(found.content.subscriber))
        if contact not in known:
            known.add(contact)
            institution = _institution(view, judged.registration, judged.institution)
            contacts.remember(contact, record.at, institution, record.id)
    contacts.flush(now)
    return len(known)


def _institution(view: View, registration: str, code: str) -> int:
    """The id of the institution that a record names by its code; 0 when the registry has it no more."""
    for number in view.numbers(registration) if registration else ():
        institution = view.institution(number.institution)
        if institution is not None and institution.code == code:
            return institution.id
    return 0
