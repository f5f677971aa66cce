"""Asking the server: every sampling field stated, several conversations at once, order kept."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from recipes.formats.serving.profile import Serve
from recipes.steps.sanity.wanted import Wanted
from recipes.steps.smoke import conversation
from recipes.steps.smoke.conversation import Turn
from recipes.steps.smoke.profile import MODEL_NAME, Sampling
from recipes.steps.smoke.sampling import pinned

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A server to ask, and how."""

    port: int
    wanted: Wanted

    @property
    def serve(self) -> Serve:
        """The profile that the server was started with."""
        return self.wanted.serve

    def all(self, bodies: Sequence[Body], sampling: Sampling | None = None) -> list[Turn]:
        """Ask everything, thinking off unless a body says otherwise; answers in order of ``bodies``.

        Raises StepError when one request fails: a share of the others would describe an easier set.
        """
        with ThreadPoolExecutor(self.wanted.sanity.concurrency) as pool:
            return list(pool.map(lambda item: self.ask(item[1], item[0], sampling), enumerate(bodies)))

    def ask(self, body: Body, at: int = 0, sampling: Sampling | None = None) -> Turn:
        """Ask one conversation; ``at`` is added to the seed."""
        return conversation.ask(
            self.port, {**self.fields(at, sampling), **body}, self.wanted.request_timeout_s
        )

    def fields(self, at: int = 0, sampling: Sampling | None = None) -> dict[str, object]:
        """Return what every request carries: without ``sampling``, that of right and wrong answers."""
        chosen = sampling or self._sampling()
        fields = {"model": MODEL_NAME, **pinned(chosen, at)}
        if chosen.temperature == 0:
            # A seed draws nothing here, and vLLM's CPU build ends when a seeded request's prompt is
            # split over two steps, as a batch of long prompts is.
            del fields["seed"]
        return {**fields, "chat_template_kwargs": {"enable_thinking": False}}

    def count(self, texts: Iterable[str]) -> list[int]:
        """Return how many tokens each text is to the served tokenizer."""
        timeout_s = self.wanted.request_timeout_s
        with ThreadPoolExecutor(self.wanted.sanity.concurrency) as pool:
            return list(pool.map(lambda text: conversation.count_tokens(self.port, text, timeout_s), texts))

    def _sampling(self) -> Sampling:
        temperature = self.wanted.sanity.temperature
        sampling = self.wanted.sampling
        return sampling if temperature is None else replace(sampling, temperature=temperature)
