"""Which training call ends a step, where a program has several that take turns, as a GAN's two trainers for each batch.

Who trains first begins a turn, and when it trains again, the next has begun: so the turn ends with the last that trained in
between. This is learned in the first turn; from then on a step ends as its last has trained. A batch that is loaded between
two calls shows that they are steps of their own. Knows no framework. Runs in the user's environment: standard library only.
"""

from __future__ import annotations

from typing import Any, List, Optional

MOST_MEMBERS = 4
"""More that train one after the other, none of them twice, are not parts of one step."""

UNEVEN = "several trainers or training functions take turns unevenly: a step is taken to be a call of the first"
NO_BATCH = (
    "{} trainers or training functions take turns, and no batch is seen to be loaded: each turn is taken for one step, of "
    "one batch. If each has a batch of its own, mark the steps: from breakdown.record.marker import step"
)


class Turns:
    """Told of each training call that has ended. `warning`: what is not certain, from when on that is known."""

    def __init__(self) -> None:
        self._turn: List[Any] = []  # who trains in it, in order
        self.learned = False  # who trains in a turn
        self._apart = False  # each call is a step
        self._seen_batch = False
        self._trained = 0  # how many of the turn have, in this step
        self._stranger = False  # the last one was none of the turn
        self.open_ns: List[int] = []  # ends of calls that may yet turn out to have ended a step
        self.warning: Optional[str] = None

    def trained(self, who: Any, loaded: bool, now: int) -> List[int]:
        """When steps have ended, up to now. `loaded`: a batch was, since the last call."""
        self._seen_batch = self._seen_batch or loaded
        if self._apart:
            return [now]
        return self._known(who, loaded, now) if self.learned else self._learn(who, loaded, now)

    def closed(self) -> List[int]:
        """When the step ended that is still open."""
        ended, self.open_ns = self.open_ns[-1:], []
        return ended

    def _learn(self, who: Any, loaded: bool, now: int) -> List[int]:
        if self._turn and who not in self._turn and (loaded or len(self._turn) == MOST_MEMBERS):
            self._apart = True
            ended, self.open_ns = [*self.open_ns, now], []
            return ended
        if who not in self._turn:
            self._turn.append(who)
            self.open_ns.append(now)
            return []
        self.learned = True
        if len(self._turn) > 1 and not self._seen_batch:
            self.warning = NO_BATCH.format(len(self._turn))
        return [*self.closed(), *self._known(who, loaded, now)]

    def _known(self, who: Any, loaded: bool, now: int) -> List[int]:
        if who not in self._turn:
            new_turn, self._stranger = self._stranger, True
            if new_turn:  # two in a row: the old ones are gone, as where each epoch makes its own
                self._turn, self._trained, self._stranger = [who], 0, False
            elif not loaded:
                self.warning = self.warning or UNEVEN
            return [now] if new_turn or loaded else []
        self._stranger = False
        place = self._turn.index(who)
        again = place < self._trained  # it had its turn in this step
        self._trained = place + 1
        ended = self.closed() if again else []
        if again:
            self.warning = self.warning or UNEVEN
        if place == len(self._turn) - 1:
            self._trained, self.open_ns = 0, []
            return [*ended, now]
        self.open_ns = [now]
        return ended
