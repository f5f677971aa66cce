"""What stands on a draft where a release has evidence.

It says "not measured" wherever a template asks it for text, holds nothing when it is
walked through, and is false in a condition. A release's card never meets it.
"""

from collections.abc import Iterator

NOT_MEASURED = "not measured"


class Unmeasured:
    """The one answer to every question that nothing was measured for."""

    def __str__(self) -> str:
        return NOT_MEASURED

    def __getattr__(self, name: str) -> "Unmeasured":
        if name.startswith("__"):  # protocols that it does not have
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "Unmeasured":
        return self

    def __call__(self, *_: object) -> "Unmeasured":
        """Answer a method as everything else."""
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False


UNMEASURED = Unmeasured()
