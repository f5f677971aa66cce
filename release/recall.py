"""What the store remembers of a release line, as the plan asks for it."""

from collections.abc import Callable, Mapping

from release.digest import Tree
from release.images import Image
from release.plan import Known
from release.store import Store
from release.store.manifests import Manifest


def known(store: Store, line: str, now: Callable[[], Mapping[str, Manifest]]) -> Known:
    """Return what ``store`` knows of the steps of ``line``.

    ``now`` gives what today's digests are taken from; it is called when a question needs it.
    """

    def last(step: str) -> Mapping[str, object] | None:
        found = store.realizations.last(line, step)
        return found.derivation if found else None

    def manifest_of(digest: str) -> Manifest | None:
        if (here := now().get(digest) or store.manifests.get(digest)) is not None:
            return here
        tree = store.manifest(digest)
        return Manifest(tree) if tree is not None else None

    return Known(tree_of=store.tree_of, last=last, manifest_of=manifest_of, gone=store.gone)


def manifests(code: Mapping[str, Tree], images: Mapping[str, Image], uv: str) -> dict[str, Manifest]:
    """Return, by the digest that stands in a key, the code of steps and what images install."""
    return {
        **{tree.digest: Manifest(tree) for tree in code.values()},
        **{image.input_hash(uv): Manifest(image.installed, image.facts(uv)) for image in images.values()},
    }
