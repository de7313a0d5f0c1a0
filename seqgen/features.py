"""Encoders of recordings as transformers of scikit-learn: vectors of recordings for any of its pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio import io
from seqgen.audio.resample import resample
from seqgen.bundle import Bundle, is_bundle
from seqgen.errors import SeqgenError
from seqgen.runtime.extractor import Extractor, Floats, open_extractor

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError:
    raise SeqgenError("scikit-learn is not installed", remedy="pip install 'seqgen[sklearn]'") from None


class EncoderFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Transformer of recordings to feature vectors of a trained encoder, as steps of scikit-learn's pipelines are.

    There is nothing to fit. The encoder is opened when it is first asked for vectors, and again behind a copy.

    Args:
        model: bundle of an encoder or of a speech codec, which take no torch; or an experiment, whose best checkpoint
            is taken (with torch).
        layer: ``context`` or ``latent`` of an encoder, ``code`` of a codec ("": the main one).
        pooled: whether a recording has one vector, the mean over its frames but those that see silence from before it,
            or all of them.
        runtime: of a bundle ("": the fastest).

    Recordings are arrays ``[N]`` in [-1, 1] at the encoder's rate, or paths of files of any rate and number of
    channels. They become ``[recordings, C]``, or where they are not pooled a list of ``[N // hop, C]`` each.

    Raises:
        SeqgenError: on use, for a model that makes no features, and for a recording that is shorter than a hop, named
            by its number or path.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> classifier = make_pipeline(EncoderFeatures("features/"), LogisticRegression())
        >>> classifier.fit(paths, speakers).score(others, theirs)                        # doctest: +SKIP
        0.98
    """

    def __init__(self, model: str | Path, layer: str = "", *, pooled: bool = True, runtime: str = "") -> None:
        self.model, self.layer, self.pooled, self.runtime = model, layer, pooled, runtime

    def fit(self, X: Any, y: Any = None) -> EncoderFeatures:  # scikit-learn's own names
        """The transformer as it is: its encoder has been trained."""
        return self

    def transform(self, X: Iterable[Any]) -> npt.NDArray[np.float32] | list[Floats]:
        """Vectors of recordings, ``[recordings, C]`` or a list of ``[F, C]``."""
        extractor = self.extractor
        found = [self._vectors(extractor, number, one) for number, one in enumerate(X)]
        if not self.pooled:
            return found
        if not found:
            return np.zeros((0, self._channels(extractor)), np.float32)
        return np.stack([extractor.heard(one).mean(axis=0) for one in found])

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the channels: the layer's with a number."""
        extractor = self.extractor
        names = [f"{extractor.layer}{number}" for number in range(self._channels(extractor))]
        return np.array(names, dtype=object)

    @property
    def extractor(self) -> Extractor:
        """Extractor of the vectors; it is opened once for the parameters as they are."""
        wanted = (str(self.model), self.layer, self.runtime)
        known, found = getattr(self, "_opened", (None, None))
        if known != wanted or found is None:
            found = _open(Path(self.model), self.layer, self.runtime)
            self._opened = wanted, found
        return found

    def __getstate__(self) -> dict[str, Any]:
        """The parameters alone: an opened engine is no value."""
        return {name: value for name, value in super().__getstate__().items() if name != "_opened"}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        """Recordings are no table of numbers, which scikit-learn's own checks would make of them."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.no_validation = False, True, True
        tags.requires_fit = False
        return tags

    def _vectors(self, extractor: Extractor, number: int, recording: Any) -> Floats:
        if isinstance(recording, (str, Path)):
            audio, rate = io.read(recording)
            audio = resample(audio, rate, extractor.sample_rate)
        else:
            audio, recording = np.asarray(recording, np.float32), f"recording {number}"
        if audio.ndim != 1:
            raise SeqgenError(f"{recording} has shape {list(audio.shape)}", remedy="give samples [N], one channel")
        if len(audio) < extractor.hop:
            raise SeqgenError(
                f"{recording}: {len(audio)} samples at {extractor.sample_rate} Hz are shorter than a frame of "
                f"{extractor.hop}",
                remedy="leave it out, or give a longer recording",
            )
        return extractor.features(audio)

    @staticmethod
    def _channels(extractor: Extractor) -> int:
        made = extractor.features(np.zeros(extractor.hop, np.float32))
        return int(made.shape[1])


def _open(model: Path, layer: str, runtime: str) -> Extractor:
    """Extractor of a bundle, without torch, or of an experiment."""
    if is_bundle(model):
        return open_extractor(Bundle.open(model), layer, runtime)
    from seqgen.tasks.speech.encoders import open_path

    return open_path(model, layer).extractor
