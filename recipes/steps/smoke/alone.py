"""The acceptance drive on an engine whose replies do not tell their drafts: one request at a time.

With nothing else in flight the growth of the server's counters is the reply's own, so a figure
per domain and a paired bootstrap have the samples that they need. It takes as many times longer
as a drive has requests in flight.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from recipes.steps.smoke import metrics
from recipes.steps.smoke.drive import Drafts, Drive, Reply, Request, drive
from recipes.steps.smoke.metrics import Reading
from recipes.steps.smoke.server import Server


def drive_alone(
    server: Server, requests: Sequence[Request], timeout_s: float, done: Callable[[int, Reply], None]
) -> Drive:
    """Send ``requests`` one after the other; each reply gets the drafts that were counted meanwhile.

    Raises StepError as ``drive`` and ``metrics.parse`` do.
    """
    replies: list[Reply] = []
    wall_s = 0.0
    before = _read(server)
    for count, request in enumerate(requests, 1):
        answered = drive(server.port, [request], 1, timeout_s)
        after = _read(server)
        replies.append(replace(answered.replies[0], drafts=_drafts(before, after)))
        wall_s += answered.wall_s
        before = after
        done(count, replies[-1])
    return Drive(replies=tuple(replies), wall_s=wall_s)


def _read(server: Server) -> Reading:
    return metrics.parse(server.get("/metrics"))


def _drafts(before: Reading, after: Reading) -> Drafts | None:
    found = metrics.spec_decode(before, after)
    if found is None:
        return None
    return Drafts(drafts=found.drafts, draft_tokens=found.draft_tokens, accepted=found.accepted)
