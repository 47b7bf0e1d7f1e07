"""Changes on their way: a changeset that fails is halved down to the bad rows; what may have arrived is not sent again blindly."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
Look: TypeAlias = Callable[[Sequence[Operation]], Mapping[str, RowReceipt | None]]
"""Of changes that may have been made, those that were, and (None) those that must not be sent as they are."""


class Changesets:
    """Sends changes, and gathers what the service tells of each.

    `once` says that a repeat does harm: nothing is sent again then that may have arrived, nor left to another attempt.
    Otherwise `look` says what is there before anything is sent again that may have arrived.
    """

    def __init__(self, client: Client, look: Look, *, once: bool) -> None:
        self._sender = Sender(client)
        # Without batches nothing is atomic: each change is a group of its own, judged by its own answer.
        self._size = 1 if client.config.batch == "none" else client.config.changeset_rows
        self._look = look
        self._once = once
        self._tries = 0
        self._lost = False

    @property
    def changed(self) -> bool:
        """Whether something was changed, or may have been."""
        return self._sender.changed or self._lost

    def told(self, operations: Sequence[Operation]) -> dict[str, Told]:
        """What is known of each operation that the service came to."""
        waiting = deque(list(operations[start : start + self._size]) for start in range(0, len(operations), self._size))
        found: dict[str, Told] = {}
        while waiting:
            groups = list(waiting)
            waiting.clear()
            replies = self._replies(groups, found)
            seen = self._seen(groups, replies)
            found |= {id: receipt for id, receipt in seen.items() if receipt}
            for group in groups:
                waiting.extend(self._left(group, replies, seen, found))
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
                self._lost |= error.sent
                found |= _given_up(error, request, requests[number + 1 :])
                break
        return replies

    def _seen(self, groups: Sequence[Group], replies: Mapping[str, Reply]) -> Mapping[str, RowReceipt | None]:
        """What is there of changesets whose answer leaves open whether they were done."""
        failed = [(group, _answers_to_all(group, replies)) for group in groups]
        unclear = [group for group, answers in failed if any(each.unclear for each in answers) and not self._about_all(answers)]
        return self._look([operation for group in unclear for operation in group]) if unclear else {}

    def _left(
        self, group: Group, replies: Mapping[str, Reply], seen: Mapping[str, RowReceipt | None], found: dict[str, Told]
    ) -> list[list[Operation]]:
        """The parts of a changeset that are to be sent again; what is clear goes to `found`."""
        about_all = self._about_all(_answers_to_all(group, replies))
        if about_all:
            found |= dict.fromkeys((operation.id for operation in group), about_all)
            return []
        answers = [replies[operation.id] for operation in group if operation.id in replies]
        if any(not answer.begun for answer in answers):
            return [list(group)]
        unseen = [operation for operation in group if operation.id not in seen]
        shared = [operation for operation in unseen if operation.id in replies and replies[operation.id].shared]
        if shared:
            return self._halves(shared, replies, found)
        found |= {operation.id: replies[operation.id] for operation in unseen if operation.id in replies}
        rest = [operation for operation in unseen if operation.id not in replies]
        # The service named the bad row, so the others go on without it; where it named none, they are read again.
        return [rest] if rest and any(answer.status >= 300 for answer in answers) else []

    def _halves(
        self, shared: list[Operation], replies: Mapping[str, Reply], found: dict[str, Told]
    ) -> list[list[Operation]]:  # fmt: skip
        self._tries += 1
        if self._tries > _TRIES:
            found |= {each.id: replies[each.id] if replies[each.id].unclear else _NOT_TRIED for each in shared}
            return []
        half = len(shared) // 2
        return [part for part in (shared[:half], shared[half:]) if part]

    def _about_all(self, answers: Sequence[Reply]) -> Reply | None:
        """The refusal of a changeset that is no single row's fault, or leaves open what became of it where that must not be."""
        return next((each for each in answers if each.status in BUSY_STATUS or (self._once and each.unclear)), None)


def _answers_to_all(group: Group, replies: Mapping[str, Reply]) -> list[Reply]:
    """The answers to a changeset that failed as a whole; none where each of its changes has its own, or none has any."""
    answers = [replies[operation.id] for operation in group if operation.id in replies]
    return answers if len(answers) < len(group) or any(answer.shared for answer in answers) else []


def _given_up(error: FieldlineError, request: Sequence[Group], later: Sequence[Sequence[Group]]) -> dict[str, Told]:
    """What an error means for the changes of its own request, and for those that were to follow."""
    unsent = RowReceipt(Outcome.REFUSED, f"not sent: {error}")
    lost = RowReceipt(Outcome.UNKNOWN, f"the record may or may not have been added: {error}: look for it before it is sent again")
    own = dict.fromkeys(_ids(request), lost if error.sent else unsent)
    return {**own, **dict.fromkeys((id for other in later for id in _ids(other)), unsent)}


def _ids(groups: Sequence[Group]) -> list[str]:
    return [operation.id for group in groups for operation in group]
