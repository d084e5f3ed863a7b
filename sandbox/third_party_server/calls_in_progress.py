"""Which calls of the sandbox third party are in progress, and which of them overlap in time."""

from sandbox.third_party_server.call_log import ReceivedCall


class CallsInProgress:
    """A call is in progress from the arrival of its headers until its answer is sent or its connection is gone.

    Its order may only be known later, from the body. Ticks put arrivals and departures in one sequence.
    """

    def __init__(self) -> None:
        self._tick = 0
        self._arriving: set[int] = set()
        self._active: dict[int, list[ReceivedCall]] = {}
        self._left_while_arriving: dict[int, int] = {}
        self._keys: dict[str, ReceivedCall] = {}

    def arrive(self) -> int:
        """A call's headers are there. Gives the tick for `ReceivedCall.arrived_tick`."""
        self._tick += 1
        self._arriving.add(self._tick)
        return self._tick

    def arrived(self, tick: int) -> None:
        """The body is there too, or never will be. What left meanwhile is of interest to no one else."""
        self._arriving.discard(tick)
        if not self._arriving:
            self._left_while_arriving.clear()

    def enter(self, call: ReceivedCall) -> str | None:
        """Says what the call overlaps with, if anything. The call must name an order.

        A call whose client hung up before it was applied isn't held against the next one; it is abandoned.
        """
        assert call.order_id is not None
        others = self._active.setdefault(call.order_id, [])
        for other in others:
            other.abandoned = other.abandoned or (not other.applied and other.client_gone())
        running = [str(other.number) for other in others if not other.abandoned]
        others.append(call)
        if running:
            return f"while call {', '.join(running)} was in progress"
        if self._left_while_arriving.get(call.order_id, 0) > call.arrived_tick:
            return "another call was in progress when this one's headers arrived"
        return None

    def claim_key(self, call: ReceivedCall) -> ReceivedCall | None:
        """The other call in progress that holds this call's key; None: this one holds it now."""
        assert call.key is not None
        holder = self._keys.get(call.key)
        if holder is not None and holder is not call and not holder.abandoned:
            return holder
        self._keys[call.key] = call
        return None

    def leave(self, call: ReceivedCall) -> None:
        """Needs the call's outcome: one whose client hung up may have been over before we noticed."""
        if call.key is not None and self._keys.get(call.key) is call:
            del self._keys[call.key]
        order_id = call.order_id
        others = self._active.get(order_id, []) if order_id is not None else []
        if order_id is None or call not in others:
            return
        others.remove(call)
        if not others:
            del self._active[order_id]
        self._tick += 1
        if self._arriving and call.outcome != "client_gone":
            self._left_while_arriving[order_id] = self._tick

    def abandon_all(self) -> None:
        for calls in self._active.values():
            for call in calls:
                call.abandoned = True
                call.hang_up()
