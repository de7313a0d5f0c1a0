"""Every configuration in the repository loads strictly and builds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from seqgen import config, registry
from seqgen.config import Component
from seqgen.generation.contract import Generator
from seqgen.latents.variable import LatentVariable
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks import experiment, networks
from seqgen.tasks.run import RunConfig, load
from seqgen.tasks.vocoder.config import VocoderConfig, facts_of

EGS = Path(__file__).resolve().parents[2] / "egs"
FILES = sorted(EGS.glob("**/conf/*.yaml"))


def facts_without_data(run: RunConfig, speakers: tuple[str, ...]) -> Facts | None:
    """What the training data would tell; ``None`` for a task that needs none."""
    options = run.task.options
    if run.task.name == "vocoder":
        return facts_of(options.get("codec", "bytes16"), FeatureSpec(**options["features"]), speakers)
    if run.task.name == "speech":
        return Facts(shape=(1,), speakers=speakers, sample_rate=options["sample_rate"])
    if run.task.name == "features":
        return Facts(examples=100, shape=(options["features"]["n_mels"],), unit="number")
    if run.task.name == "alignment":
        aligner = run.networks["aligner"].options
        tokens = tuple(map(str, range(aligner["vocab_size"])))
        return Facts(alphabet=tokens, shape=(options["features"]["n_mels"],), unit="frame")
    if run.task.name == "acoustic":
        phones = tuple(map(str, range(run.networks["generator"].options["encoder"]["vocab_size"])))
        bands = options["features"]["n_mels"] if options["target"] == "frames" else 1
        return Facts(alphabet=phones, shape=(bands,), unit="number")
    if run.task.name == "text":
        made = [one.options for one in run.networks.values() if one.name != networks.PRETRAINED]
        sizes = [size for one in made for size in _found(one, "vocab_size")]
        return Facts(vocab_size=max(sizes, default=0), unit="character")
    if run.task.name == "translation":
        generator = run.networks["generator"].options
        ours, theirs = (_letters(generator[part]["vocab_size"]) for part in ("body", "encoder"))
        return Facts(
            vocab_size=generator["body"]["vocab_size"], unit="character", tokenizer=ours, source_tokenizer=theirs
        )
    if run.task.name == "ratings" and options.get("ratings"):
        sizes = run.networks["network"].options
        return Facts(shape=(sizes.get("users", 50), sizes.get("items", 40)), unit="rating")
    if run.task.name == "pairs" and options.get("pictures"):
        critic = run.networks["critic"].options
        return Facts(shape=(critic["x_dim"], critic["y_dim"]), unit="pair")
    if run.task.name == "pictures":
        made = next(one.options for one in run.networks.values() if one.name != networks.PRETRAINED)
        symbols = 0 if options.get("real") else max(_found(made, "vocab_size"))
        length = max(_found(made, "length"), default=64)  # a decoder without a block has pictures of any size
        return Facts(examples=100, vocab_size=symbols, shape=(1, 1, length), unit="pixel")
    return None


def _found(options: Mapping[str, object], name: str) -> list[int]:
    """Values of an option of that name, of a network and of its parts."""
    inner = [value for one in options.values() if isinstance(one, dict) for value in _found(one, name)]
    return [*inner, *(value for key, value in options.items() if key == name and isinstance(value, int))]


def _letters(size: int) -> Component:
    """A tokenizer of that many symbols, those for unknown characters and for the end included."""
    return Component("characters", {"characters": "".join(map(chr, range(0x4E00, 0x4E00 + size - 2))), "stop": True})


def test_there_are_configurations() -> None:
    assert {path.relative_to(EGS).parts[0] for path in FILES} >= {"demo", "fsdd", "ljspeech", "yesno"}


@pytest.mark.parametrize("corpus", ["fsdd", "ljspeech", "yesno"])
def test_each_recipe_has_a_tiny_and_a_real_run(corpus: str) -> None:
    names = {path.name for path in FILES if path.relative_to(EGS).parts[:2] == (corpus, "wavernn")}
    assert {"tiny.yaml", "base.yaml"} <= names


def test_names_tell_runs_apart() -> None:
    names = [load(path).name for path in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
@pytest.mark.parametrize("speakers", [("one",), ("anna", "ben", "cid")], ids=["one-speaker", "three-speakers"])
def test_it_loads_and_builds(path: Path, speakers: tuple[str, ...]) -> None:
    run = load(path)
    task = experiment.task_of(run, facts_without_data(run, speakers), source=str(path))
    config.options(run.objective, registry.OBJECTIVES, source=str(path))
    pretrained = {name for name, component in run.networks.items() if component.name == networks.PRETRAINED}
    made = networks.build(run.networks, task.facts, source=str(path))
    if "ratings" in run.task.options:  # a file, which the recipe makes, and by which the rest is judged
        return
    task.require_fit(made)
    if not pretrained:  # a teacher, say, is another run's, and not there
        made = dict(experiment.build(task, source=str(path)).networks)
    assert set(made) == set(run.networks) - pretrained
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in made.values()]
    assert sum(sizes) > 0
    assert task.warnings(made) == []  # its rows show networks all that they reach back to
    if run.task.name == "vocoder":
        assert min(sizes) > 1000
        options = config.options(run.task, registry.TASKS, source=str(path))
        model = made.get("model")
        voice = model.decoder if isinstance(model, LatentVariable) else made.get("generator")
        require_a_voice(run, options, voice, speakers)


def require_a_voice(run: RunConfig, task: VocoderConfig, generator: object, speakers: tuple[str, ...]) -> None:
    assert run.licence != "not stated"
    assert task.segment % task.features.hop == 0
    if run.objective.name == "classification":
        assert generator is None
        return
    assert isinstance(generator, Generator)
    assert generator.speakers == (len(speakers) if len(speakers) > 1 else 0)
    if not generator.body.spec.cond_dim:
        return  # no voice: what is unconditional compresses
    assert generator.conditioner is not None
    assert generator.conditioner.spec.up == task.features.hop  # factors follow from the hop


SIZES = {"samples", "evaluation_samples", "longest", "windows", "warm_up"}


TINY = [path for path in FILES if path.name == "tiny.yaml" and (path.parent / "base.yaml").exists()]


@pytest.mark.parametrize("path", TINY, ids=lambda path: str(path.relative_to(EGS)))
def test_a_tiny_run_is_of_the_same_method_as_the_real_one(path: Path) -> None:
    """The same losses with the same weights, the same kind of sequence and of distribution, on smaller networks."""
    tiny, base = load(path), load(path.parent / "base.yaml")
    assert _plain(tiny.objective) == _plain(base.objective)
    for name in ("codec", "prediction"):
        assert tiny.task.options.get(name) == base.task.options.get(name)
    assert bool(tiny.task.options.get("context")) == bool(base.task.options.get("context"))
    assert tiny.networks.keys() == base.networks.keys()
    for ours, theirs in zip(tiny.networks.values(), base.networks.values(), strict=True):
        assert ours.name == theirs.name
        assert ours.options.get("gain_normalized") == theirs.options.get("gain_normalized")
        bodies = [one.options.get("body", one.options.get("flow", {})) for one in (ours, theirs)]
        assert [bodies[0].get(key) for key in ("name", "unit")] == [bodies[1].get(key) for key in ("name", "unit")]


def _plain(component: config.Component) -> dict[str, object]:
    """Options without those that are sizes."""

    def kept(options: dict[str, object]) -> dict[str, object]:
        return {
            key: kept(value) if isinstance(value, dict) else value for key, value in options.items() if key not in SIZES
        }

    return {"name": component.name, **kept(dict(component.options))}


def test_what_was_found_on_one_corpus_is_what_others_begin_with() -> None:
    """Students by the losses with which they speak; WaveRNNs of one reader on the excitation, at its scale."""
    found, begun = (load(EGS / corpus / "parallel_wavenet" / "conf" / "base.yaml") for corpus in ("fsdd", "ljspeech"))
    assert found.objective.options["contrast"] == begun.objective.options["contrast"] == 0
    assert found.objective.options["power"]["weight"] == begun.objective.options["power"]["weight"] == 10
    demo, reader = (load(EGS / path) for path in ("demo/conf/voice.yaml", "ljspeech/wavernn/conf/base.yaml"))
    assert demo.task.options["prediction"] == reader.task.options["prediction"] > 0
    units = [run.networks["generator"].options["body"]["unit"] for run in (demo, reader)]
    assert units[0] == units[1] < 256


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EGS)))
def test_the_resolved_text_is_the_same_run(path: Path, tmp_path: Path) -> None:
    run = load(path)
    (tmp_path / "config.yaml").write_text(config.dump(run), encoding="utf-8")
    again = load(tmp_path / "config.yaml")
    assert again == run
    assert config.digest(again) == config.digest(run)
