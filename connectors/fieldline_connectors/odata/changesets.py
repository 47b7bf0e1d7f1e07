"""Changes on their way: a changeset that fails is halved down to the bad rows; what may have arrived is not sent again blindly."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from fieldline_connectors.odata.batches import Group, Operation, Reply, Sender
from fieldline_connectors.odata.errors import BUSY_STATUS, after_others
from fieldline_connectors.odata.service import Client
from fieldline_core.errors import FieldlineError
from fieldline_core.receipts import Outcome, RowReceipt

_TRIES = 256
_NOT_TRIED = RowReceipt(Outcome.REFUSED, "not tried alone: too many rows of the same write were refused by the service")

Told: TypeAlias = Reply | RowReceipt
"""What the service answered to a change, or what is known of one that has no answer."""


class Changesets:
    """Sends changes, and gathers what the service tells of each.

    `once` says that a repeat does harm: nothing is sent again then that may have arrived, nor left to another attempt.
    """

    def __init__(self, client: Client, *, once: bool) -> None:
        self._sender = Sender(client)
        self._size = client.config.changeset_rows
        self._once = once
        self._tries = 0

    @property
    def changed(self) -> bool:
        """Whether something was changed, or may have been."""
        return self._sender.changed

    def told(self, operations: Sequence[Operation]) -> dict[str, Told]:
        """What is known of each operation that the service came to."""
        waiting = deque(list(operations[start : start + self._size]) for start in range(0, len(operations), self._size))
        found: dict[str, Told] = {}
        while waiting:
            groups = list(waiting)
            waiting.clear()
            replies = self._replies(groups, found)
            for group in groups:
                waiting.extend(self._left(group, replies, found))
        return found

    def _replies(self, groups: Sequence[Group], found: dict[str, Told]) -> dict[str, Reply]:
        """The replies; where no other attempt may follow an error, `found` gets what it means for each change."""
        replies: dict[str, Reply] = {}
        requests = list(self._sender.requests(groups))
        for number, request in enumerate(requests):
            try:
                replies |= self._sender.answered(request)
            except FieldlineError as error:
                if not self._once or not (self.changed or error.sent):
                    raise after_others(error) if self.changed else error from None
                found |= _given_up(error, request, requests[number + 1 :])
                break
        return replies

    def _left(self, group: Group, replies: Mapping[str, Reply], found: dict[str, Told]) -> list[list[Operation]]:
        """The parts of a changeset that are to be sent again; what is clear goes to `found`."""
        answered = [operation for operation in group if operation.id in replies]
        shared = [operation for operation in answered if replies[operation.id].shared]
        if len(answered) < len(group) or shared:
            # Either the changeset failed as a whole, or the service did not come to it.
            unclear = next((replies[each.id] for each in answered if self._is_about_all(replies[each.id])), None)
            if unclear:
                found |= dict.fromkeys((operation.id for operation in group), unclear)
                return []
        found |= {operation.id: replies[operation.id] for operation in answered if not replies[operation.id].shared}
        if shared:
            self._tries += 1
            if self._tries > _TRIES:
                found |= dict.fromkeys((operation.id for operation in shared), _NOT_TRIED)
                return []
            half = len(shared) // 2
            return [shared[:half], shared[half:]]
        rest = [operation for operation in group if operation.id not in replies]
        # The service named the bad row, so the others go on without it; where it answered nothing at all, they are read again.
        return [rest] if rest and answered else []

    def _is_about_all(self, reply: Reply) -> bool:
        """Whether the refusal of a changeset is no single row's fault, or leaves open what became of it."""
        return reply.status in BUSY_STATUS or (self._once and reply.unclear)


def _given_up(error: FieldlineError, request: Sequence[Group], later: Sequence[Sequence[Group]]) -> dict[str, Told]:
    """What an error means for the changes of its own request, and for those that were to follow."""
    unsent = RowReceipt(Outcome.REFUSED, f"not sent: {error}")
    lost = RowReceipt(Outcome.UNKNOWN, f"the record may or may not have been added: {error}: look for it before it is sent again")
    own = dict.fromkeys(_ids(request), lost if error.sent else unsent)
    return {**own, **dict.fromkeys((id for other in later for id in _ids(other)), unsent)}


def _ids(groups: Sequence[Group]) -> list[str]:
    return [operation.id for group in groups for operation in group]
