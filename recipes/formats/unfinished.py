"""Work that a killed step left in its state, and that its next try goes on with.

Nothing of it is synced to the disk: the store syncs what it commits, and the kernel holds
what was written for as long as it runs. After a reboot nobody knows what reached the disk,
so only work of this boot counts.
"""

import shutil
from pathlib import Path

from recipes.formats.step import Workdir

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def folder_of_this_boot(work: Workdir, name: str) -> Path:
    """Return the folder called ``name`` for unfinished work; that of an earlier boot is thrown away."""
    parent = work.state / name
    folder = parent / BOOT_ID.read_text().strip()
    if parent.exists() and not folder.exists():
        shutil.rmtree(parent)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
