"""``invoke runner-setup``: look at the host, say what it needs, and with ``--apply`` do it."""

import json

from release.doctor.finding import table
from release.errors import MachineError
from release.report.terminal import Terminal
from release.runner import files
from release.runner.change import make
from release.runner.host import Host, Wish, probe
from release.runner.needs import Need, changes, needs, unmet

UNITS = (files.UNIT_NAME, "earlyoom.service")


def set_up(wish: Wish, terminal: Terminal, *, apply: bool, as_json: bool) -> None:
    """Print what this host needs; with ``apply`` make the changes, each named before.

    Raises MachineError when something is left that stops a release, or when a change fails.
    """
    files.check(wish)
    host = _look(wish)
    found = needs(host, wish)
    if apply and changes(found):
        if not host.root:
            raise MachineError("--apply changes the system, and this is not root", hint="the same with sudo")
        terminal.say("changing:")
        make(changes(found), terminal.say)
        found = needs(_look(wish), wish)
    _show(found, terminal, as_json=as_json)
    if left := unmet(found):
        raise MachineError(
            f"this host cannot run releases yet: {len(left)} of its needs are not met",
            hint=f"first, {left[0].name}: {left[0].hint}",
        )


def _look(wish: Wish) -> Host:
    return probe(wish, tuple(files.TEMPLATES), UNITS)


def _show(found: tuple[Need, ...], terminal: Terminal, *, as_json: bool) -> None:
    planned = [change.words() for change in changes(found)]
    if as_json:
        findings = [need.finding.to_json() for need in found]
        terminal.say(json.dumps({"findings": findings, "changes": planned}, indent=1))
        return
    terminal.console.print(table("this host, as a runner", [need.finding for need in found]))
    if not planned:
        terminal.say("nothing to change")
        return
    terminal.say("--apply would, in this order:")
    for words in planned:
        terminal.say(f"  {words}")
