"""The invariant checker: what must always hold, counted in the store; `fieldline doctor` and a metric run it."""

from dataclasses import dataclass

from fieldline_core.store import Store


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and how often."""

    rule: str
    count: int


RULES = {
    "received_equals_done_dead_in_flight": "Every row that a run has read is in its chunks.",
    "chunk_counts_add_up": "Every row of an ended chunk was scored, held, skipped or given up.",
    "effects_of_open_chunks": "A chunk that waits for writes has as many open effects as it counts.",
    "ended_chunks_have_no_open_effect": "No effect of an ended chunk is still to be written.",
    "decisions_have_evidence": "Every chunk with decisions has the evidence of just these.",
    "confirmed_effects_have_receipts": "Every ended effect has its receipts.",
    "evidence_is_recorded": "All evidence has its key, and its event is in the log or waits for it.",
    "the_log_is_whole": "The log has as many entries as its newest checkpoint says.",
    "nothing_waits_unseen": "No due work has waited for more than an hour while its flow runs and its target is reachable.",
    "ended_runs_have_no_open_chunk": "No run has ended with a chunk that still waits, but for cancelled and failed ones.",
    "events_are_in_one_chunk": "Every event that was gathered is in a chunk that counted it.",
}


def check_invariants(store: Store) -> list[Violation]:
    """The rules that do not hold now; each is one query over committed state."""
    with store.transaction("invariants") as tx:
        counts = {rule: tx.one(f"invariants.{rule}") for rule in RULES}
    return [Violation(rule, row["n"]) for rule, row in counts.items() if row and row["n"]]
