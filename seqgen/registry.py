"""Registries, hand-written tables from names to classes; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from seqgen.errors import SeqgenError


def unknown(kind: str, name: str, known: Collection[str], source: str = "") -> SeqgenError:
    """The refusal of a name, with the nearest one and the choices."""
    near = [one for one in difflib.get_close_matches(name, known, n=1) if one != name]
    guess = f"did you mean '{near[0]}'? " if near else ""
    where = f"{source}: " if source else ""
    return SeqgenError(f"{where}unknown {kind} '{name}'", remedy=f"{guess}known: {', '.join(known)}")


class Registry(Mapping[str, str]):
    """Registry of one kind: names and where each lives (``"module:Class"``).

    The table is written by hand; other packages add names by entry points of the group ``seqgen.<group>``, which are
    looked up when a name is not in the table, or when all names are asked for.

    Example:
        >>> MODELS["wavernn"]
        'seqgen.models.wavernn:WaveRNN'
        >>> MODELS.load("wavern")
        Traceback (most recent call last):
        seqgen.errors.SeqgenError: unknown model 'wavern'; did you mean 'wavernn'? known: wavernn, wavenet, …
    """

    def __init__(self, kind: str, group: str, table: Mapping[str, str]) -> None:
        self.kind, self.group = kind, group
        self._table = dict(table)

    def __getitem__(self, name: str) -> str:
        if name in self._table:
            return self._table[name]
        every = self._every()
        if name not in every:
            raise unknown(self.kind, name, every)
        return every[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table or name in self._every()

    def __iter__(self) -> Iterator[str]:
        return iter(self._every())

    def __len__(self) -> int:
        return len(self._every())

    def _every(self) -> dict[str, str]:
        """The table, then what other packages add; a name of the table cannot be taken by another package."""
        added = {point.name: point.value for point in importlib.metadata.entry_points(group=f"seqgen.{self.group}")}
        return {**self._table, **{name: place for name, place in added.items() if name not in self._table}}

    def name_of(self, kind: type[Any]) -> str:
        """The name that a class is registered under, "" where it is not."""
        here = f"{kind.__module__}:{kind.__qualname__}"
        return next((name for name, place in self._every().items() if place == here), "")

    def load(self, name: str) -> Any:
        """The class registered under ``name``.

        Raises:
            SeqgenError: for an unknown name; the choices are listed.
        """
        module, _, attribute = self[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


TASKS = Registry(
    "task",
    "tasks",
    {
        "vocoder": "seqgen.tasks.vocoder.task:Vocoding",
        "speech": "seqgen.tasks.speech.task:Speech",
        "features": "seqgen.tasks.features.task:FeatureFrames",
        "alignment": "seqgen.tasks.alignment.task:Alignment",
        "acoustic": "seqgen.tasks.acoustic.task:Acoustic",
        "text": "seqgen.tasks.text.task:Text",
        "pairs": "seqgen.tasks.pairs.task:Pairs",
        "ratings": "seqgen.tasks.ratings.task:Ratings",
        "translation": "seqgen.tasks.translation.task:Translation",
        "pictures": "seqgen.tasks.pictures.task:Pictures",
        "grammar": "seqgen.tasks.processes.grammar:Grammar",
        "hidden-class": "seqgen.tasks.processes.hidden_class:HiddenClass",
        "brackets": "seqgen.tasks.processes.brackets:Brackets",
        "finite": "seqgen.tasks.processes.finite:Finite",
        "vectors": "seqgen.tasks.processes.vectors:VectorSequences",
        "seasonal": "seqgen.tasks.processes.seasonal:SeasonalSymbols",
        "tuned-resonance": "seqgen.tasks.processes.tuned_resonance:TunedResonance",
    },
)
# Known distributions that the task `finite` draws from.
TARGETS = Registry(
    "target",
    "targets",
    {
        "dirichlet": "seqgen.tasks.processes.finite_targets:Dirichlet",
        "gaussians": "seqgen.tasks.processes.finite_targets:Gaussians",
        "potts": "seqgen.tasks.processes.finite_targets:Potts",
        "addition": "seqgen.tasks.processes.finite_targets:Addition",
    },
)
# Known processes of real frames that the task `vectors` draws from.
VECTOR_PROCESSES = Registry(
    "vector process",
    "vector_processes",
    {
        "pinwheel": "seqgen.tasks.processes.vector_processes:Pinwheel",
        "moving-dot": "seqgen.tasks.processes.vector_processes:MovingDot",
    },
)
MODELS = Registry(
    "model",
    "models",
    {
        "wavernn": "seqgen.models.wavernn:WaveRNN",
        "wavenet": "seqgen.models.wavenet:WaveNet",
        "wavenet-context": "seqgen.models.wavenet_context:ContextWaveNet",
        "recurrent": "seqgen.models.recurrent:Recurrent",
        "attention-decoder": "seqgen.models.attention:AttentionDecoder",
        "unidirectional-encoder": "seqgen.models.unidirectional_encoder:UnidirectionalEncoder",
        "recurrent-encoder": "seqgen.models.recurrent_encoder:RecurrentEncoder",
        "transformer": "seqgen.models.transformer:Transformer",
        "bytenet": "seqgen.models.bytenet:ByteNet",
        "bytenet-encoder": "seqgen.models.bytenet_encoder:ByteNetEncoder",
        "perceptron": "seqgen.models.perceptron_encoder:PerceptronEncoder",
        "transformer-encoder": "seqgen.models.transformer_encoder:TransformerEncoder",
        "window-perceptron": "seqgen.models.window_perceptron:WindowPerceptron",
        "separable-critic": "seqgen.models.separable_critic:SeparableCritic",
        "concatenated-critic": "seqgen.models.concatenated_critic:ConcatenatedCritic",
        "bilinear-critic": "seqgen.models.bilinear_critic:BilinearCritic",
        "baseline-critic": "seqgen.models.baseline_critic:BaselineCritic",
        "gaussian-conditional": "seqgen.models.gaussian_conditional:GaussianConditional",
        "gaussian-channel": "seqgen.models.gaussian_channel:GaussianChannel",
        "waveform-encoder": "seqgen.models.waveform_encoder:WaveformEncoder",
        "sentence-encoder": "seqgen.models.sentence_encoder:SentenceEncoder",
        "recurrent-discriminator": "seqgen.models.recurrent_discriminator:RecurrentDiscriminator",
        "resonance": "seqgen.models.resonance:Resonance",
        "strided-encoder": "seqgen.models.strided_encoder:StridedEncoder",
        "block-perceptron": "seqgen.models.block_perceptron:BlockPerceptron",
        "matrix-factorisation": "seqgen.models.matrix_factorisation:MatrixFactorisation",
        "evidence-chains": "seqgen.models.evidence_chains:EvidenceChains",
        "framewise-encoder": "seqgen.models.framewise_encoder:FramewiseEncoder",
        "gaussian-aligner": "seqgen.models.gaussian_aligner:GaussianAligner",
        "multiband": "seqgen.models.multiband:MultiBand",
    },
)
DENSITIES = Registry(
    "density",
    "densities",
    {
        "autoregressive": "seqgen.generation.autoregressive:AutoRegressive",
        "encoder-decoder": "seqgen.generation.encoder_decoder:EncoderDecoder",
        "parallel": "seqgen.generation.parallel:Parallel",
        "subscale": "seqgen.generation.subscale.generator:Subscale",
        "factorised": "seqgen.generation.factorised:Factorised",
        "framewise": "seqgen.generation.framewise:Framewise",
        "aligned-phones": "seqgen.generation.spoken:SpokenDensity",
        "conditionally-independent": "seqgen.generation.conditionally_independent:ConditionallyIndependent",
        "flow": "seqgen.generation.flow:Flow",
    },
)
CONDITIONERS = Registry(
    "conditioner",
    "conditioners",
    {
        "frames": "seqgen.models.frames:FrameConditioner",
        "repeat": "seqgen.models.repeated_frames:RepeatedFrames",
        "perceptron": "seqgen.models.repeated_frames:FramePerceptron",
    },
)
CODECS = Registry(
    "codec",
    "codecs",
    {
        "bytes16": "seqgen.audio.codec:Bytes16",
        "mulaw8": "seqgen.audio.codec:MuLaw8",
        "float": "seqgen.audio.codec:Float",
    },
)
DISTRIBUTIONS = Registry(
    "distribution",
    "distributions",
    {
        "categorical": "seqgen.distributions.categorical:Categorical",
        "bernoulli": "seqgen.distributions.bernoulli:Bernoulli",
        "gaussian": "seqgen.distributions.gaussian:Gaussian",
        "logistic-mixture": "seqgen.distributions.logistic_mixture:LogisticMixture",
    },
)
OBJECTIVES = Registry(
    "objective",
    "objectives",
    {
        "likelihood": "seqgen.objectives.likelihood:Likelihood",
        "distillation": "seqgen.objectives.distillation:Distillation",
        "classification": "seqgen.objectives.classification:Classification",
        "information": "seqgen.objectives.information:Information",
        "actual": "seqgen.objectives.actual:Actual",
        "professor-forcing": "seqgen.objectives.professor_forcing:ProfessorForcing",
        "scheduled-sampling": "seqgen.objectives.scheduled_sampling:ScheduledSampling",
        "cpc": "seqgen.objectives.cpc:ContrastivePrediction",
        "evidence": "seqgen.objectives.evidence:MaximumEvidence",
        "completion": "seqgen.objectives.completion:Completion",
        "code-prior": "seqgen.objectives.code_prior:CodePrior",
        "adversarial-inference": "seqgen.objectives.adversarial_inference:AdversarialInference",
        "forward-sum": "seqgen.objectives.forward_sum:ForwardSum",
    },
)
# Models of several parts, each with its own table below or above.
LATENT_MODELS = Registry(
    "latent model",
    "latent_models",
    {
        "latent-variable": "seqgen.latents.variable:LatentVariable",
    },
)
POSTERIORS = Registry(
    "posterior",
    "posteriors",
    {
        "gaussian": "seqgen.latents.gaussian:GaussianPosterior",
        "committed-gaussian": "seqgen.latents.committed_gaussian:CommittedGaussian",
        "categorical": "seqgen.latents.categorical:CategoricalPosterior",
        "gaussian-mixture": "seqgen.latents.gaussian_mixture:GaussianMixturePosterior",
        "coupling-flow": "seqgen.latents.coupling_flow:CouplingFlow",
        "gumbel-softmax": "seqgen.latents.gumbel_softmax:GumbelSoftmaxPosterior",
        "potentials": "seqgen.latents.potentials:RecognitionPotentials",
        "vector-quantised": "seqgen.latents.vector_quantised:VectorQuantised",
    },
)
PRIORS = Registry(
    "prior",
    "priors",
    {
        "standard-normal": "seqgen.latents.standard_normal:StandardNormal",
        "ar1": "seqgen.latents.ar1:AutoregressiveProcess",
        "neighbour": "seqgen.latents.neighbour:NeighbourPrior",
        "recurrent-mixture": "seqgen.latents.recurrent_mixture:RecurrentMixture",
        "uniform": "seqgen.latents.uniform:UniformPrior",
        "learned-categorical": "seqgen.latents.learned_categorical:LearnedCategorical",
        "normal-mixture": "seqgen.latents.normal_mixture:NormalMixture",
        "conjugate-mixture": "seqgen.latents.conjugate_mixture:ConjugateMixture",
        "linear-dynamical": "seqgen.latents.linear_dynamical:LinearDynamical",
        "switching-dynamical": "seqgen.latents.switching:SwitchingDynamical",
        "density": "seqgen.latents.density_prior:DensityPrior",
    },
)
BOUNDS = Registry(
    "bound",
    "bounds",
    {
        "elbo": "seqgen.variational.elbo:Elbo",
        "importance-weighted": "seqgen.variational.importance_weighted:ImportanceWeighted",
    },
)
# Estimators of a bound's gradient.
GRADIENTS = Registry(
    "gradient",
    "gradients",
    {
        "pathwise": "seqgen.variational.pathwise:Pathwise",
        "sticking-the-landing": "seqgen.variational.sticking_the_landing:StickingTheLanding",
        "doubly-reparameterised": "seqgen.variational.doubly_reparameterised:DoublyReparameterised",
        "score-function": "seqgen.variational.score_function:ScoreFunction",
    },
)
# Controls of the rate.
RATES = Registry(
    "rate",
    "rates",
    {
        "weighted": "seqgen.variational.weighted:Weighted",
        "free-bits": "seqgen.variational.free_bits:FreeBits",
        "target": "seqgen.variational.target_rate:TargetRate",
        "entropy-annealed": "seqgen.variational.entropy_annealed:EntropyAnnealed",
        "total-correlation": "seqgen.variational.total_correlation:TotalCorrelation",
    },
)
ESTIMATORS = Registry(
    "estimator",
    "estimators",
    {
        "infonce": "seqgen.estimators.infonce:InfoNCE",
        "nwj": "seqgen.estimators.nwj:NWJ",
        "interpolated": "seqgen.estimators.interpolated:Interpolated",
        "tuba": "seqgen.estimators.tuba:TUBA",
        "jensen-shannon": "seqgen.estimators.jensen_shannon:JensenShannon",
        "donsker-varadhan": "seqgen.estimators.donsker_varadhan:DonskerVaradhan",
        "leave-one-out": "seqgen.estimators.leave_one_out:LeaveOneOut",
        "barber-agakov": "seqgen.estimators.barber_agakov:BarberAgakov",
    },
)
OPTIMISERS = Registry(
    "optimiser",
    "optimisers",
    {
        "adam": "seqgen.optim.torch_optimisers:Adam",
        "adamw": "seqgen.optim.torch_optimisers:AdamW",
        "rmsprop": "seqgen.optim.torch_optimisers:RMSprop",
        "sgd": "seqgen.optim.torch_optimisers:SGD",
    },
)
FLOWS = Registry(
    "flow",
    "flows",
    {
        "parallel-wavenet": "seqgen.models.parallel_wavenet:ParallelWaveNet",
        "independent": "seqgen.flows.independent:IndependentFlow",
        "bipartite": "seqgen.models.bipartite:Bipartite",
        "discrete-autoregressive": "seqgen.models.discrete_autoregressive:DiscreteAutoregressive",
        "sinkhorn": "seqgen.flows.sinkhorn:Sinkhorn",
    },
)
CORPORA = Registry(
    "corpus",
    "corpora",
    {
        "demo": "seqgen.data.corpora:Demo",
        "fsdd": "seqgen.data.corpora:FSDD",
        "ljspeech": "seqgen.data.corpora:LJSpeech",
        "yesno": "seqgen.data.corpora:YesNo",
        "folder": "seqgen.data.corpora:Folder",
    },
)
# How densities and networks are exported, under the names that they are registered by.
DENSITY_EXPORTERS = Registry(
    "density exporter",
    "density_exporters",
    {
        "autoregressive": "seqgen.export.autoregressive:AutoRegressiveExporter",
        "parallel": "seqgen.export.parallel:ParallelExporter",
        "subscale": "seqgen.export.subscale:SubscaleExporter",
    },
)
NETWORK_EXPORTERS = Registry(
    "network exporter",
    "network_exporters",
    {
        "wavernn": "seqgen.export.wavernn:WaveRNNExporter",
        "multiband": "seqgen.export.multiband:MultiBandExporter",
        "wavenet": "seqgen.export.wavenet:WaveNetExporter",
        "wavenet-context": "seqgen.export.wavenet_context:ContextWaveNetExporter",
        "parallel-wavenet": "seqgen.export.parallel_wavenet:ParallelWaveNetExporter",
        "recurrent": "seqgen.export.recurrent:RecurrentExporter",
        "bytenet": "seqgen.export.bytenet:ByteNetExporter",
        "bytenet-encoder": "seqgen.export.bytenet_encoder:ByteNetEncoderExporter",
        "waveform-encoder": "seqgen.export.waveform_encoder:WaveformEncoderExporter",
    },
)
# The same of densities over symbols.
SYMBOL_EXPORTERS = Registry(
    "symbol exporter",
    "symbol_exporters",
    {
        "autoregressive": "seqgen.export.language_model:LanguageModelExporter",
        "encoder-decoder": "seqgen.export.encoder_decoder:TranslatorExporter",
    },
)
TOKENIZERS = Registry(
    "tokenizer",
    "tokenizers",
    {
        "bytes": "seqgen.text.bytes:Bytes",
        "characters": "seqgen.text.characters:Characters",
        "sentencepiece": "seqgen.text.sentencepiece:SentencePiece",
        "phonemes": "seqgen.text.phonemes:Phonemes",
    },
)
JUDGES = Registry(
    "judge",
    "judges",
    {
        "wer": "seqgen.metrics.judges:WordErrors",
        "mos": "seqgen.metrics.judges:OpinionScore",
        "pesq": "seqgen.metrics.judges:PerceivedQuality",
        "speaker": "seqgen.metrics.judges:SpeakerSimilarity",
    },
)
RUNTIMES = Registry(
    "runtime",
    "runtimes",
    {
        "native": "seqgen.runtime.native:NativeRuntime",
        "onnx": "seqgen.runtime.onnx:OnnxRuntime",
        "torch": "seqgen.tasks.vocoder.runtime:TorchRuntime",
    },
)
# Of bundles that read and draw symbols.
SYMBOL_RUNTIMES = Registry(
    "symbol runtime",
    "symbol_runtimes",
    {
        "native": "seqgen.runtime.native_symbols:NativeSymbols",
        "onnx": "seqgen.runtime.onnx_symbols:OnnxSymbols",
        "torch": "seqgen.tasks.text.runtime:TorchSymbols",
    },
)
# Of bundles that make feature vectors of audio.
ENCODER_RUNTIMES = Registry(
    "encoder runtime",
    "encoder_runtimes",
    {
        "native": "seqgen.runtime.native_encoder:NativeEncoder",
        "onnx": "seqgen.runtime.onnx_encoder:OnnxEncoder",
        "torch": "seqgen.tasks.speech.runtime:TorchEncoder",
    },
)
# Of bundles that make symbols of audio, and audio of symbols.
SPEECH_CODEC_RUNTIMES = Registry(
    "speech codec runtime",
    "speech_codec_runtimes",
    {
        "native": "seqgen.runtime.speech_codec:SpeechCodec",
    },
)
