r"""What the driver says in the kernel's log: the lines that begin with NVRM.

    log = open_kernel_log()
    log.new()           # (Said(xid=79, text="NVRM: Xid (PCI:000f:01:00): 79, GPU has fallen off ..."),)

On unified memory a server failed while MemAvailable still read 22 GiB
(https://github.com/vllm-project/vllm/issues/56824): the driver knew first. A record of /dev/kmsg is
"priority,number,microseconds,flags;message"; further lines of one begin with a space.
https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192  # a read of less than a whole record fails

_MESSAGE = re.compile(r"^(?:\d+,\d+,\d+,[^;]*;)?(NVRM: .*)$")
_XID = re.compile(r"NVRM: Xid \([^)]*\): (\d+)")
_NO_MEMORY = re.compile(r"NV_ERR_NO_MEMORY|out of memory|Out of memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line of the driver. ``xid`` is the number of its error, where it is one."""

    xid: int | None
    text: str

    @property
    def grave(self) -> bool:
        """Whether what is measured beside it is worth nothing: an error of the GPU, or memory refused."""
        return self.xid is not None or bool(_NO_MEMORY.search(self.text))


def parse(text: str) -> tuple[Said, ...]:
    """Return the driver's lines among records of the kernel's log."""
    found = (_MESSAGE.match(line) for line in text.splitlines())
    return tuple(_said(match[1]) for match in found if match)


class KernelLog:
    """The kernel's log from now on; one that cannot be read says nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    @property
    def readable(self) -> bool:
        """Whether this process may read it."""
        return self._descriptor is not None

    def new(self) -> tuple[Said, ...]:
        """Return what the driver said since the last call, without waiting."""
        found: list[Said] = []
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, RECORD_BYTES)
            except BrokenPipeError:  # records were lost; the next read goes on behind them
                continue
            except OSError:  # nothing new, or no right to it
                break
            if not record:
                break
            found += parse(record.decode(errors="replace"))
        return tuple(found)

    def close(self) -> None:
        """Let go of the log."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_kernel_log(path: Path = KMSG) -> KernelLog:
    """Open the log at its end; it is not readable where this user may not."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(descriptor, 0, os.SEEK_END)
        return KernelLog(descriptor)
    return KernelLog(None)


def _said(text: str) -> Said:
    match = _XID.match(text)
    return Said(xid=int(match[1]) if match else None, text=text[:500])
