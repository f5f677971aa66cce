"""What linear attention runs on, said before minutes are spent on it."""

from recipes.formats.step import Exit, StepError
from recipes.layerwise.decoder import Decoder


def linear_attention_kernels(decoder: Decoder, *, allowed: bool) -> str:
    """Say what linear attention runs on. Raises StepError for slow code on a GPU, unless ``allowed``.

    On a CPU there is nothing else: the fast kernels are written for GPUs.
    """
    slow = decoder.slow_kernels()
    if slow and decoder.device.type == "cuda" and not allowed:
        raise StepError(
            f"linear attention would run as plain torch code on this GPU ({', '.join(slow)}): many times "
            "slower, and rounded otherwise than in an engine. Lock flash-linear-attention "
            "in the image, or set slow_linear_attention = true in the recipe's [calibrate]",
            Exit.ENVIRONMENT,
        )
    return "plain torch" if slow else "flash-linear-attention"
