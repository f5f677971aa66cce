"""The build context on disk: exactly the files that were hashed, with modes of our own.

A COPY takes the modes of the checkout, and a checkout those of the user's umask.
"""

from pathlib import Path

from release.digest import sha256_bytes
from release.errors import BuildError
from release.images import IMAGE_FILE, Image


def lay(image: Image, folder: Path) -> None:
    """Write the files of the image's context below ``folder``.

    Raises BuildError when one is no more what was hashed.
    """
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for path, file in sorted(image.context.files.items()):
        if path == IMAGE_FILE:  # its values are handed over as arguments
            continue
        data = image.path(path).read_bytes()
        if sha256_bytes(data) != file.sha256:
            raise BuildError(
                f"{image.path(path)} changed while the image was being built",
                hint="run the same command again",
            )
        target = folder / path
        for parent in reversed(target.relative_to(folder).parents[:-1]):
            (folder / parent).mkdir(exist_ok=True)
            (folder / parent).chmod(0o755)
        target.write_bytes(data)
        target.chmod(0o644)
