"""Reports of a run: metrics as JSON lines, TensorBoard, and a progress bar or plain lines on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqgen.command.console import Watched
from seqgen.errors import SeqgenError
from seqgen.files.inputs import in_utf8
from seqgen.files.outputs import write_text
from seqgen.pictures.sheet import write_png

METRICS, PICTURES = "metrics.jsonl", "pictures"


class Report:
    """Report that writes the history of one run; silent in every process but the first.

    Args:
        out: the experiment directory; ``metrics.jsonl`` and ``tensorboard/`` lie in it.
        steps: updates in all, for the progress bar.
        start: finished updates; later lines of an earlier attempt are cut, so that the file is one history.
        active: False in processes that are not to write anything.

    Raises:
        SeqgenError: if ``out`` cannot be written.

    Example:
        >>> with Report(Path("exp/demo"), steps=1000) as report:  # doctest: +SKIP
        ...     report.scalars("train", 50, {"loss": 5.2, "seconds": 3.1})
        ...     report.audio("sample/utterance", waveform, 16000, 50)
    """

    def __init__(self, out: Path, *, steps: int, start: int = 0, active: bool = True) -> None:
        self.out, self.active = out, active
        self._steps, self._start = steps, start
        if not active:
            return
        self._console = Watched()
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            _cut(out / METRICS, start)
            self._metrics = (out / METRICS).open("a", encoding="utf-8")
            (out / "tensorboard").mkdir(exist_ok=True)
            self._names = ExitStack()
            self._board = _board(self._names.enter_context(in_utf8(out / "tensorboard")), start)
        self._bar: Progress | None = None

    def __enter__(self) -> Report:
        self._began = time.monotonic()
        if self.active and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[shown]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("training", total=self._steps, completed=self._start, shown="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.active:
            return
        if self._bar is not None:
            self._bar.stop()
        try:
            self._metrics.close()
            self._board.close()
            self._names.close()
        except OSError as failed:
            # What is in flight (a full disk, most likely the same one) says more than the files' last words.
            if error[0] is None:
                raise SeqgenError(
                    f"cannot write in {self.out}: {failed.strerror}", remedy="free some space and resume"
                ) from None

    def note(self, text: str) -> None:
        """One line for whoever watches."""
        if self.active:
            self._console.print(text, markup=False)

    def progress(self, step: int) -> None:
        """Move the bar; it costs nothing where there is none."""
        if self.active and self._bar is not None:
            self._bar.update(self._task, completed=step)

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        """A line of metrics, the same values in TensorBoard, and one line (or the bar's text) for the eye."""
        if not self.active:
            return
        with _writing(self.out):
            self._metrics.write(json.dumps({"step": step, "split": split, **values}) + "\n")
            self._metrics.flush()
            for name, value in values.items():
                self._board.add_scalar(f"{split}/{name}", value, step)
            self._board.flush()
        self._show(split, step, values)

    def _show(self, split: str, step: int, values: dict[str, float]) -> None:
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "seconds")
        if self._bar is not None and split == "train":
            losses = {name: value for name, value in values.items() if name.endswith("loss")}
            self._bar.update(
                self._task, completed=step, shown=" ".join(f"{name} {value:.4f}" for name, value in losses.items())
            )
            return
        left = ""
        if split == "train" and step > self._start:
            pace = (time.monotonic() - self._began) / (step - self._start)
            left = f" left {timedelta(seconds=round(pace * (self._steps - step)))}"
        elif "seconds" in values:
            left = f" after {timedelta(seconds=round(values['seconds']))}"
        self.note(f"{split} {step}/{self._steps} {shown}{left}")

    def audio(self, name: str, waveform: npt.NDArray[np.float32], rate: int, step: int) -> None:
        """A waveform, float32 ``[N]`` in [-1, 1), to listen to in TensorBoard."""
        if self.active:
            with _writing(self.out):
                self._board.add_audio(name, np.clip(waveform, -1.0, 1.0)[None], step, sample_rate=rate)

    def text(self, name: str, text: str, step: int) -> None:
        """A text to read in TensorBoard, as it stands."""
        if self.active:
            with _writing(self.out):
                self._board.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        """A matplotlib figure; it is closed."""
        if self.active:
            with _writing(self.out):
                self._board.add_figure(name, figure, step, close=True)

    def picture(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """A picture, bytes ``[H, W]`` or ``[H, W, 3]``, to look at in TensorBoard and as ``pictures/NAME-STEP.png``."""
        if self.active:
            with _writing(self.out):
                self._board.add_image(name, pixels, step, dataformats="HWC" if pixels.ndim == 3 else "HW")
                (self.out / PICTURES).mkdir(exist_ok=True)
            write_png(self.out / PICTURES / f"{name.replace('/', '-')}-{step:08d}.png", pixels)

    def spectrogram(self, name: str, features: npt.NDArray[np.float32], step: int) -> None:
        """Features ``[F, M]`` as an image: time to the right, low channels at the bottom, black to white."""
        if self.active:
            low, high = float(features.min()), float(features.max())
            image = ((features - low) / max(high - low, 1e-9)).T[::-1]
            with _writing(self.out):
                self._board.add_image(name, np.ascontiguousarray(image)[None], step)


def _board(folder: str, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, purge_step=start + 1)


def _cut(path: Path, step: int) -> None:
    """Keep the lines up to ``step``; a last line that was cut short by a kill goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step and step > 0:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_text(path, "".join(kept))


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turns a full disk or a read-only directory into one line."""
    try:
        yield
    except OSError as error:
        raise SeqgenError(
            f"cannot write in {out}: {error.strerror or error}",
            remedy="free some space or choose another output directory",
        ) from None
