"""A console on standard error for whoever watches, whose leaving stops nothing."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console

from seqgen.command import standard


class Watched(Console):
    """Console whose reader may leave its pipe or close its terminal: what goes on goes on unwatched."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say nothing more, here or elsewhere; rich would end the process."""
        self.quiet = True
        standard.abandon(2)
