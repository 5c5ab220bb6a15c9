"""Settings that a configuration may name although this version does nothing by them, and how that is said.

Rules of this file: what is named here is checked as any setting is, and whoever sets it is told at every
start and by `config --check` that nothing is served by it. One whose silence would let something through
that was meant to be guarded does not belong here: it is refused until its part exists.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from gateway.values import Hop, Section, Signalling, one_of


class Voice(Section):
    listen: tuple[Signalling, ...] = Field(
        (),
        description='where calls come in, such as ["udp://0.0.0.0:5060"]; no call is carried by this version',
    )
    next_hop: Hop = Field("", description="where calls that pass go on to, such as sip:10.0.0.6:5060")
    mode: Annotated[str, one_of("proxy", "redirect")] = Field(
        "proxy", description="proxy: calls go through the node | redirect: the caller is told where to go"
    )


def unserved(voice: Voice, evidence: Section) -> Iterator[str]:
    """What these two sections of the configuration ask for and nobody does, in words."""
    for address in voice.listen:
        yield f"voice.listen: calls are not carried by this version: nothing listens at {address}"
    if voice.next_hop:
        yield f"voice.next_hop: calls are not carried by this version: none goes to {voice.next_hop}"
    if "checkpoint_seconds" in evidence.model_fields_set:
        yield (
            "evidence.checkpoint_seconds: checkpoints are not signed by this version; records are durable and"
            " sealed as without it"
        )
