"""The inputs of prove, opened and checked: two trees, and the four things they came from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from recipes.formats import strict_json
from recipes.formats.architecture import parse_architecture
from recipes.formats.calibration import CALIBRATION_FILE
from recipes.formats.calibration import read as read_calibration
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.precision import read_precision
from recipes.formats.proofs import subject as subjects
from recipes.formats.proofs.packer import Packer
from recipes.formats.proofs.subject import CONFIG, Recipe, Subject, Tree, read_body, read_tree
from recipes.formats.release_files import TEMPLATE_FILE
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.quantize.kernels.kernel import choose

T = TypeVar("T")

NVFP4 = "nvfp4"
RELEASE_MASTER = "release_master"
BASE = "base"
MASTER = "master"
CALIBRATION = "calibration"
TEMPLATE = "chat_template"


def read_subject(work: Workdir) -> Subject:
    """Open the inputs.

    Raises StepError: PROOF for a tree that is truncated or hostile, CONFIG for a config of
    another model.
    """
    packed = _read(work, NVFP4, Exit.PROOF, partial(read_tree, name=subjects.NVFP4))
    plain = _read(work, RELEASE_MASTER, Exit.PROOF, partial(read_tree, name=subjects.MASTER))
    _read(work, MASTER, Exit.CONFIG, lambda at: parse_architecture(strict_json.read_table(at / CONFIG)))
    return Subject(
        architecture=_read(work, NVFP4, Exit.PROOF, lambda _: parse_architecture(packed.config)),
        body=read_body(packed),
        plain=plain,
        base=_read(work, BASE, Exit.PROOF, open_checkpoint),
        master=_read(work, MASTER, Exit.PROOF, open_checkpoint),
        calibration=_read(work, CALIBRATION, Exit.PROOF, lambda at: read_calibration(at / CALIBRATION_FILE)),
        template=_read(work, TEMPLATE, Exit.PROOF, lambda at: (at / TEMPLATE_FILE).read_bytes()),
        recipe=Recipe(precision=read_precision(work)),
        is_release=True,
        packer=_packer(packed),
    )


def _packer(packed: Tree) -> Packer:
    return choose(packed.checkpoint.data_bytes, gpu=False)


def _read(work: Workdir, name: str, code: Exit, read: Callable[[Path], T]) -> T:
    try:
        return read(work.input(name))
    except (ValueError, OSError) as error:
        words = f"{name}: {error}. Nothing can be proved of it; build or fetch it again."
        raise StepError(words, code) from error
