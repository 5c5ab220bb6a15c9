"""Settings that a configuration may name although this version does nothing by them, and how that is said.

Rules of this file: what is named here is checked as any setting is, and whoever sets it is told at every
start and by `config --check` that nothing is served by it. One whose silence would let something through
that was meant to be guarded does not belong here: it is refused until its part exists.
"""

from collections.abc import Iterator

from gateway.values import Section


def unserved(evidence: Section) -> Iterator[str]:
    """What this section of the configuration asks for and nobody does, in words."""
    if "checkpoint_seconds" in evidence.model_fields_set:
        yield (
            "evidence.checkpoint_seconds: checkpoints are not signed by this version; records are durable and"
            " sealed as without it"
        )
