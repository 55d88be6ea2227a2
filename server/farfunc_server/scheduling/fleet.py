"""Which devices there are, which of them are in service, and which is the best for a request.

A device leaves service when it has failed (:mod:`.health`), and comes back when a probe tells that it is well; or when
it is said to rest, for maintenance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from ..workers.messages import Healthy, Message, Probe
from ..workers.worker import Worker
from .lanes import Death, Lane, Place

__all__ = ["Fleet"]

_log = logging.getLogger("farfunc.scheduling")

_PROBE_SECONDS = 30.0


class Fleet:
    """The devices of this server.

    Parameters
    ----------
    devices:
        Their names.
    on_leaving:
        Called with a device that has left service.
    on_coming:
        Called when one is in service again.

    Attributes
    ----------
    lanes:
        By name.
    in_service:
        How many take new jobs.
    """

    def __init__(
        self, devices: Sequence[str], on_leaving: Callable[[Lane], None], on_coming: Callable[[], None]
    ) -> None:
        self.lanes = {device: Lane(device) for device in devices}
        self.in_service = len(self.lanes)
        self._only_lane = next(iter(self.lanes.values())) if len(self.lanes) == 1 else None
        self._on_leaving = on_leaving
        self._on_coming = on_coming

    # Which is the best.

    def free(self) -> list[Lane]:
        """The devices that have nothing to do."""
        return [lane for lane in self.lanes.values() if lane.is_free]

    def free_lane(self, function: str, cost: Hashable) -> Lane | None:
        """A device that has nothing to do, for a request that has just come."""
        if (only := self._only_lane) is not None:
            return only if only.is_free and only.is_in_service else None
        free = [lane for lane in self.lanes.values() if lane.is_free and lane.is_in_service]
        return self.best(free, function, cost) if free else None

    @staticmethod
    def best(free: Sequence[Lane], function: str, cost: Hashable, died_on: Lane | None = None) -> Lane:
        """Of several free devices the best for a request.

        That is one where its plan is warm, and of such the one with the fewest calls open. No request waits for a
        device where it is warm while another is free: what making a plan once more costs is soon earned.
        """
        if len(free) == 1:
            return free[0]
        return max(
            free,
            key=lambda lane: (
                lane.is_in_service,
                lane is not died_on,
                lane.warmth(function, cost),
                -len(lane.open),
                -lane.seconds,
            ),
        )

    # How they are.

    @property
    def is_ready(self) -> bool:
        """Whether a device is in service, and each of those has a worker."""
        in_service = [lane for lane in self.lanes.values() if lane.is_in_service]
        return bool(in_service) and all(lane.worker is not None for lane in in_service)

    def state(self, device: str) -> str | None:
        """``draining``, ``drained`` or ``out`` (it has failed); None for a device in service."""
        return self.lanes[device].state

    def seconds(self, device: str) -> float:
        """How long a device has been at work."""
        lane = self.lanes[device]
        return lane.seconds + (time.monotonic() - lane.started if lane.places else 0.0)

    def has_to_move(self, lane: Lane) -> bool:
        """Whether calls in slices are to go on elsewhere: without another device one that is drained finishes them."""
        return lane.is_out or (lane.is_drained and self.in_service > 0)

    # Into service, and out of it.

    def drain(self, device: str) -> None:
        """Give a device nothing new."""
        lane = self.lanes[device]
        lane.is_drained = True
        self._changed(lane)

    def restore(self, device: str) -> None:
        """Take a device that was drained, or is out, into service again."""
        lane = self.lanes[device]
        lane.is_drained = lane.is_out = False
        if lane.probe is not None:
            lane.probe.cancel()
            lane.probe = None
        lane.health.reset()
        self._changed(lane)

    def _changed(self, lane: Lane) -> None:
        self.in_service = sum(lane.is_in_service for lane in self.lanes.values())
        if lane.is_in_service:
            self._on_coming()
        else:
            self._on_leaving(lane)

    def stop(self) -> None:
        """Cancel what is to happen later."""
        for lane in self.lanes.values():
            for timer in (lane.overdue, lane.probe):
                if timer is not None:
                    timer.cancel()

    # What is learnt of their health.

    def started(self, lane: Lane, worker: Worker) -> None:
        """A device has a new worker."""
        lane.worker = worker
        lane.warm.clear()
        could_not = not lane.health.can_start
        lane.health.starts_failed = 0
        if could_not:  # it has evaluated something as it started
            self._put_in(lane)

    def worker_is_lost(self, lane: Lane, starts_failed: int) -> bool:
        """The pool has seen a worker's end, or one that did not start; returns whether it died with nothing to do."""
        lane.health.starts_failed = starts_failed
        died = lane.worker is not None and not lane.worker.is_alive
        if died:
            lane.worker = None
            lane.health.failed()
        self._look_at(lane)
        return died

    def lost(self, lane: Lane, places: tuple[Place, ...]) -> None:
        """A device's worker is gone, and so is what it was doing."""
        death = Death(lane, len(places))
        for place in places:
            place.death = death
            lane.health.lost(place.job.message.function)
        self._look_at(lane)

    def answered(self, lane: Lane, places: tuple[Place, ...]) -> None:
        """A device has done what it was asked to: if another could not, it is that one's fault."""
        lane.health.answered()
        if self._only_lane is None and places[0].ticket.cost not in lane.warm:
            lane.warmed(places[0])
        for place in places:
            if (death := place.death) is not None:
                place.death = None
                if death.lane is not lane:
                    death.unanswered -= 1
                    if not death.unanswered:
                        death.lane.health.failed()
                        self._look_at(death.lane)

    def _look_at(self, lane: Lane) -> None:
        """Take a device out of service if it has failed too often."""
        if lane.is_out or not lane.health.is_bad:
            return
        if lane.health.can_start and lane.is_in_service and self.in_service == 1:
            return  # a device in doubt is better than none
        lane.is_out = True
        _log.error("%s is taken out of service: its workers die", lane.device)
        if lane.health.can_start:
            self._probe_later(lane)
        self._changed(lane)

    def _probe_later(self, lane: Lane) -> None:
        lane.probe = asyncio.get_running_loop().call_later(lane.health.pause, self._probe, lane)
        lane.health.forgive()

    def _probe(self, lane: Lane) -> None:
        """See whether a device is well again."""
        worker = lane.worker
        if worker is None or not lane.is_free:
            self._probe_later(lane)
            return
        lane.probe = asyncio.get_running_loop().call_later(_PROBE_SECONDS, worker.kill)
        worker.post(Probe(), (), partial(self._probed, lane))

    def _probed(self, lane: Lane, message: Message | None, data: memoryview) -> None:
        if lane.probe is not None:
            lane.probe.cancel()
        if isinstance(message, Healthy):
            self._put_in(lane)
        elif lane.is_out:
            self._probe_later(lane)

    def _put_in(self, lane: Lane) -> None:
        if lane.is_out:
            lane.is_out = False
            lane.probe = None
            _log.warning("%s is in service again", lane.device)
            self._changed(lane)
