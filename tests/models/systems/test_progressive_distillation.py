"""Progressive distillation: what a student is to say, and how it is trained and sampled."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, models, one_line

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.dropout import joined
from clipmill.models.config import from_dict
from clipmill.models.core.denoiser import Denoiser, branches_in_one_call, denoiser
from clipmill.models.core.guidance import classifier_free
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0
from clipmill.models.core.samplers.ddim import ddim
from clipmill.models.core.samplers.flow import flow_euler
from clipmill.models.core.samplers.two_steps import two_steps
from clipmill.models.core.sampling_levels import stations
from clipmill.models.core.schedules import Cosine, Flow, Schedule, Shifted
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import Noisy
from clipmill.models.training.objectives.distil import DistilObjective

CPU, VARIANCE = torch.device("cpu"), 0.25
# sample.steps is 4 there.
QUICK = ("--device", "cpu", "--steps", "2", "--set", "train.validate_every=0")


def gaussian(z: torch.Tensor, level: NoiseLevel) -> Estimate:
    """Exact, of data with this variance."""
    share = level.alpha * VARIANCE / (level.alpha**2 * VARIANCE + level.sigma**2)
    return estimate_of_x0(share * z, z, level)


def student_of(teacher: Denoiser, schedule: Schedule, steps: int) -> Denoiser:
    """The perfect one, at its stations."""

    def denoise(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        step = round(float(schedule.time_of(level)) * steps) - 1
        middle, then = (schedule.level(torch.tensor((step + s) / steps, dtype=torch.float64)) for s in (0.5, 0.0))
        return two_steps(teacher, z, level, middle, then)

    return denoise


@pytest.mark.parametrize(
    ("schedule", "sampler"), [(Cosine(), ddim), (Shifted(Cosine(), 2.0), ddim), (Flow(), flow_euler)]
)
def test_one_step_of_the_student_is_two_of_the_teacher(schedule: Schedule, sampler):
    """Halved from 64 steps to 1, each student the teacher of the next."""
    z = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted, teacher = sampler(gaussian, z, stations(schedule, 64)), gaussian
    for steps in (32, 16, 8, 4, 2, 1):
        teacher = student_of(teacher, schedule, steps)
        found = sampler(teacher, z, stations(schedule, steps))
        assert float((found - wanted).abs().max()) < 1e-12, steps
    assert float((sampler(gaussian, z, stations(schedule, 1)) - wanted).abs().max()) > 0.1


@pytest.fixture(scope="module")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher, and its students told, fixed and half, of two steps of training each."""
    root = tmp_path_factory.mktemp("distil")

    def train(name: str, config: str, *options: str) -> None:
        models("train", tiny_run, "--config", config, "--out", root / name, *QUICK, *options)

    train("teacher", "imagen-video-nano", "--set", "train.learning_rate=0.02")
    teacher = ("--set", f"distil.teacher={root / 'teacher'}")
    train("told", "distil-guidance-nano", *teacher, "--set", "train.learning_rate=0.02")
    train("fixed", "distil-guidance-nano", *teacher, "--set", "distil.guidance=[4]")
    train("half", "distil-nano", "--set", f"distil.teacher={root / 'fixed'}")
    return root


def objective_of(loaded: Loaded) -> DistilObjective:
    return DistilObjective(loaded.config, loaded.network, loaded.autoencoder, CPU)


def batch(count: int = 3) -> VideoBatch:
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (count, 2, 3, 8, 8), dtype=torch.uint8, generator=generator)
    words = tuple(f"a ball, number {number}" for number in range(count))
    return VideoBatch(0, count, tuple(range(count)), ("a",) * count, video, None, words, {}, (None,) * count)


def noisy(objective: DistilObjective, level: NoiseLevel) -> Noisy:
    noise = SampleNoise(3, batch().indices)
    z, _ = objective.encoded(batch(), noise)
    conditions, weights = objective.conditions(batch(), z, noise)
    return Noisy(z, noise.normal(z.shape[1:], "noise"), level.expand(len(z)), conditions, weights)


def test_a_student_begins_with_its_teacher_and_samples_with_half_of_its_steps(trained: Path, tmp_path: Path):
    steps = {name: load(trained / name).config.sample.steps for name in ("teacher", "told", "fixed", "half")}
    assert steps == {"teacher": 4, "told": 4, "fixed": 4, "half": 2}
    samples = load(trained / "half").config.sample
    assert (samples.guidance, samples.guidance_low) == (1.0, None), "guidance is within"
    report = json.loads((trained / "half" / "init.json").read_text())
    assert (report["checkpoint"], report["new"], report["missing"]) == (str(trained / "fixed"), [], [])
    told = json.loads((trained / "told" / "init.json").read_text())
    assert {name.rpartition(".")[2] for name in told["came"]} == {"weight", "bias"}
    assert all("vector" in name for name in told["new"]), "only what reads the number is new"
    models("sample", trained / "half", "--out", tmp_path / "s", "--n", 2, "--device", "cpu")
    assert json.loads((tmp_path / "s" / "sampling.json").read_text())["sampling"]["steps"] == 2
    card = json.loads((trained / "half" / "card.json").read_text())
    assert card["teacher"]["checkpoint"] == str(trained / "fixed")


def test_the_student_aims_at_what_two_steps_of_the_sampler_do(trained: Path):
    student, teacher = load(trained / "half"), load(trained / "fixed")
    objective = objective_of(student)
    schedule = objective.diffusion.schedule((2, 8, 8))
    four = stations(schedule, 4)
    for step in (0, 2):
        part = noisy(objective, four[step])
        z = noised(part.z, part.eps, part.level)
        denoise = denoiser(teacher.network, objective.diffusion.parametrisation, part.conditions)
        wanted = ddim(denoise, z, four[step : step + 3])
        aimed = objective.aimed(part)
        assert torch.allclose(noised(aimed.z, aimed.eps, aimed.level), z, atol=1e-5), "of the same noisy video"
        reached = ddim(lambda z, level, a=aimed: Estimate(a.z, a.eps), z, four[step : step + 3 : 2])
        assert torch.allclose(reached, wanted, atol=1e-4)
    drawn = {float(level) for level in schedule.time_of(objective._noisy(batch(), 3).level)}
    assert {round(2 * time, 6) for time in drawn} <= {1.0, 2.0}, "at its own stations alone"


def test_guidance_is_learned_at_the_weight_that_is_told(trained: Path):
    teacher = load(trained / "teacher").network
    level = Cosine().level(torch.tensor(0.6))
    for name in ("fixed", "told"):
        objective = objective_of(load(trained / name))
        part = noisy(objective, level)
        conditions, _ = objective.conditions(batch(), part.z, SampleNoise(3, batch().indices))
        if name == "told":
            told = conditions.micro[:, 0].expm1()
            drawn = 1 + 14 * SampleNoise(3, batch().indices).uniform("guidance")
            assert torch.allclose(told, drawn.float(), atol=1e-4)
            weight = drawn.float()[:, None, None, None, None]
        else:
            weight = 4.0
        plain = teacher.conditioner.conditions(batch().captions, {}, [None] * 3)
        both = joined(plain, teacher.conditioner.unconditional(plain))
        branches = branches_in_one_call(teacher, objective.diffusion.parametrisation, both, 2)
        wanted = classifier_free(branches, weight)(noised(part.z, part.eps, part.level), part.level)
        found = objective.aimed(part)
        assert torch.allclose(found.z, wanted.x0, atol=1e-4)
        assert torch.allclose(found.eps, wanted.eps, atol=1e-4)
        assert not torch.allclose(found.z, part.z, atol=0.1)
        assert bool(torch.isfinite(objective("model", batch(), 0).each).all())


def test_a_told_student_samples_with_the_guidance_that_is_asked_for(trained: Path):
    """In one call a step."""
    loaded, batches = load(trained / "told"), []
    with torch.no_grad():
        for parameter in loaded.network.parameters():  # two steps of training leave its output next to zero
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 20)
    loaded.network.backbone.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))

    def made(**options: object) -> torch.Tensor:
        chosen = replace(loaded.config.sample, dynamic_threshold=0.0, **options)
        generator = replace(loaded.generator(CPU), config=chosen)
        blank = loaded.network.conditioner.conditions(["a ball"] * 2, {}, [None] * 2)
        return generator.latents((2, 8, 8), blank, SampleNoise(0, [0, 1]))

    steady = {"guidance_low": None, "guidance_constant_steps": 0}
    low, high, both = made(guidance=1.0, **steady), made(guidance=14.0, **steady), made(guidance=14.0)
    assert batches == [2] * 12
    assert not torch.allclose(low, high, atol=1e-3)
    assert not torch.allclose(both, high, atol=1e-3), "high and low by turns"
    assert not torch.allclose(both, low, atol=1e-3)
    with pytest.raises(UserError, match="told one weight of guidance"):
        made(**steady, rescale=0.5)


MISTAKES = [
    (("imagen-video-nano", "objective=distil"), "set distil.teacher"),
    (("imagen-video-nano", "distil.teacher=TEACHER"), "objective=distil"),
    (("imagen-video-nano", "objective=magic"), "objective is data or distil"),
    (("distil-nano", "distil.teacher=NOWHERE"), "no checkpoint"),
    (("distil-nano", "distil.teacher=TEACHER", "diffusion.shift=2"), "diffusion.shift=1.0, this model has 2"),
    (("distil-nano", "distil.teacher=TEACHER", "conditioning.text.tokens=9"), "another conditioning.text"),
    (("distil-nano", "distil.teacher=TEACHER", "sample.sampler=ancestral"), "set sample.sampler=ddim"),
    (("distil-nano", "distil.teacher=TEACHER", "distil.guidance=[4]"), "distilled first"),
    (("distil-nano", "distil.teacher=TEACHER", "distil.guidance=[4,2]"), "the least and the largest"),
    (("distil-guidance-nano", "distil.teacher=TOLD"), "has its guidance within"),
    (("frame-autoencoder-nano", "objective=distil", "distil.teacher=TEACHER"), "no steps to halve"),
]


@pytest.mark.parametrize(("settings", "says"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_what_cannot_be_distilled_is_one_line(settings, says: str, trained: Path, tiny_run: Path, tmp_path: Path):
    places = {"TEACHER": trained / "teacher", "TOLD": trained / "told", "NOWHERE": tmp_path / "nowhere"}
    words = [word for text in settings[1:] for word in ("--set", text)]
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
    config = ("--config", settings[0], "--out", tmp_path / "o", "--device", "cpu")
    one_line(invoke("models", "train", tiny_run, *config, *words), says)
    assert not (tmp_path / "o").exists()


def test_a_training_goes_on_with_the_teacher_it_began_with(trained: Path, tiny_run: Path, tmp_path: Path):
    teacher = shutil.copytree(trained / "teacher", tmp_path / "teacher")
    words = ("train", tiny_run, "--config", "distil-guidance-nano", "--set", f"distil.teacher={teacher}")
    rest = ("--out", tmp_path / "s", "--device", "cpu", "--set", "train.validate_every=0")
    models(*words, *rest, "--steps", 1)
    models(*words, *rest, "--steps", 2)
    shutil.rmtree(teacher)
    shutil.copytree(trained / "fixed", teacher)
    card = json.loads((teacher / "card.json").read_text())
    card["config"] = json.loads((trained / "teacher" / "card.json").read_text())["config"]
    (teacher / "card.json").write_text(json.dumps(card))
    assert from_dict(card["config"]).objective == "data"
    one_line(invoke("models", *words, *rest, "--steps", 3), "another distil.teacher")
