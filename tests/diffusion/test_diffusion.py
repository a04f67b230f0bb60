"""Process, samplers and the decoder of one modality, by their identities."""

import copy
import itertools
import math
import sys

import pytest
import torch
from torch import nn

import cmvae
from cmvae import DiffusionConfig, DiffusionDecoder
from cmvae.diffusion.denoisers import ImageDenoiser, VectorDenoiser
from cmvae.diffusion.library import from_diffusers
from cmvae.diffusion.process import Process
from cmvae.diffusion.sampling import SAMPLERS, Sampler, sample, sampling_steps
from cmvae.diffusion.scaling import ScaleEstimate, Scaling

MEAN = torch.tensor([0.7, -0.4], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
TINY = {
    "channels": (8, 8),
    "layers_per_block": 1,
    "attention": False,
    "hidden_dim": 16,
    "n_blocks": 1,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def vectors(size=2, **changes):
    """Return a decoder of vectors whose scaling is the identity."""
    torch.manual_seed(0)
    decoder = DiffusionDecoder(size, DiffusionConfig(**{**TINY, "scaling": "standard", **changes}))
    decoder.scaling.known.fill_(True)
    return decoder


# The process
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "schedule"), list(itertools.product((1, 2), ("linear", "cosine")))
)
def test_steps_of_the_papers_chain_give_the_closed_form_at_every_t(form, schedule):
    process = Process(DiffusionConfig(form=form, schedule=schedule))
    betas = from_diffusers("DDPMScheduler")(**process.schedule).betas.double()
    x, condition, noise = 0.8, -0.3, torch.randn(1000, generator=generator(), dtype=torch.float64)
    mean, variance, means, variances = x, 0.0, [], []
    for t, beta in enumerate(betas.tolist()):
        keep = math.sqrt(1 - beta)
        carried = 0.0 if form == 1 else condition * (1.0 if t == 0 else 1 - keep)
        mean, variance = keep * mean + carried, keep**2 * variance + beta
        means.append(mean)
        variances.append(variance)
    steps, every = torch.arange(1000), torch.full((1000, 1), x, dtype=torch.float64)
    found = process.seen(
        process.noised(every, noise[:, None], steps), torch.full_like(every, condition)
    ).squeeze(1)
    expected = torch.tensor(means) + torch.tensor(variances).sqrt() * noise
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_schedules_are_those_of_their_papers():
    linear, cosine = (
        Process(DiffusionConfig(schedule=name)).alphas_cumprod.double()
        for name in ("linear", "cosine")
    )
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(linear, (1 - betas).cumprod(0), rtol=1e-3, atol=0)
    angles = (torch.arange(1, 1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2
    expected = angles.cos().square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(cosine[:-5], expected[:-5], rtol=1e-3, atol=1e-6)


def test_noised_samples_have_the_mean_and_variance_of_the_closed_form():
    process = Process(DiffusionConfig(form=2))
    noise = torch.randn(100_000, 1, generator=generator(), dtype=torch.float64)
    for t in (0, 250, 600, 999):
        steps = torch.full((len(noise),), t)
        y = process.noised(torch.full_like(noise, 0.8), noise, steps)
        seen = process.seen(y, torch.full_like(noise, -0.3))
        signal = float(process.alphas_cumprod[t])
        assert float(seen.mean()) == pytest.approx(0.8 * math.sqrt(signal) - 0.3, abs=0.015)
        assert float(seen.var()) == pytest.approx(1 - signal, rel=0.02)


def test_form_2_ends_at_the_reconstruction_plus_noise_and_form_1_at_noise():
    noise, condition = torch.zeros(1, 1), torch.full((1, 1), 0.5)
    for form, end in ((1, 0.0), (2, 0.5)):
        process = Process(DiffusionConfig(form=form))
        y = process.noised(torch.ones(1, 1), noise, torch.tensor([999]))
        assert float(process.seen(y, condition)) == pytest.approx(end, abs=0.01)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_perfect_prediction_gives_the_data_back(prediction):
    process = Process(DiffusionConfig(prediction=prediction))
    x, noise = torch.randn(2, 5, 3, generator=generator(), dtype=torch.float64)
    for t in (0, 300, 900):
        steps = torch.full((5,), t)
        y, target = process.noised(x, noise, steps), process.target(x, noise, steps)
        torch.testing.assert_close(process.original(y, target, t), x, rtol=0, atol=1e-5)
    signal = process.alphas_cumprod[900].double()
    velocity = signal.sqrt() * noise - (1 - signal).sqrt() * x
    torch.testing.assert_close(
        target, noise if prediction == "epsilon" else velocity, rtol=0, atol=1e-6
    )


def test_steps_are_drawn_uniformly():
    process = Process(DiffusionConfig(train_steps=4))
    counts = torch.bincount(process.draw_steps(torch.zeros(40_000, 1), generator()), minlength=4)
    assert counts.tolist() == pytest.approx([10_000] * 4, rel=0.05)


# Samplers, with a denoiser that knows the answer
# --------------------------------------------------------------------------------------------------


def exact_estimate(process):
    """Return E[x_0 | y_t] for x_0 ~ N(MEAN, COVARIANCE)."""

    def estimate(y, step):
        signal = process.alphas_cumprod[step].double()
        marginal = signal * COVARIANCE + (1 - signal) * torch.eye(2, dtype=torch.float64)
        offset = y - signal.sqrt() * MEAN
        return MEAN + signal.sqrt() * offset @ torch.linalg.solve(marginal, COVARIANCE)

    return estimate


def moments_of_map(process, sampler):
    """Return mean and covariance of what a deterministic sampler, affine, makes of N(0, I)."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    ends = sample(exact_estimate(process), points, process, sampler)
    linear = ends[1:] - ends[0]
    return ends[0], linear.T @ linear


@pytest.mark.parametrize(
    ("name", "schedule"), list(itertools.product(("ddim", "dpm++"), ("linear", "cosine")))
)
def test_deterministic_samplers_converge_to_a_gaussian_target(name, schedule):
    process, errors = Process(DiffusionConfig(schedule=schedule)), []
    for steps in (10, 20, 40, 80):
        mean, covariance = moments_of_map(process, Sampler(name, steps))
        assert float((mean - MEAN).abs().max()) < 0.005  # √ᾱ_T of it is lost at the start
        errors.append(float((covariance - COVARIANCE).abs().max()))
    ratios = [before / after for before, after in itertools.pairwise(errors)]
    if name == "ddim":  # of order 1
        assert 1.7 < min(ratios) <= max(ratios) < 2.5
    else:
        assert errors[0] > 30 * errors[-1]
    assert errors[-1] < (0.03 if name == "ddim" else 0.002)


@pytest.mark.parametrize(
    ("name", "numbers"), [("ddpm", (5, 25, 125, 1000)), ("sde-dpm++", (3, 5, 10, 400))]
)
def test_stochastic_samplers_converge_to_a_gaussian_target_down_to_the_noise_of_sampling(
    name, numbers
):
    process, errors = Process(DiffusionConfig(schedule="cosine")), []
    for steps in numbers:
        start = torch.randn(40_000, 2, generator=generator(), dtype=torch.float64)
        found = sample(exact_estimate(process), start, process, Sampler(name, steps), generator(1))
        assert float((found.mean(0) - MEAN).abs().max()) < 0.025
        errors.append(float((found.T.cov() - COVARIANCE).abs().max()))
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]
    assert errors[3] < 0.02


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_on_the_way_is_drawn_by_the_stochastic_samplers_alone(name):
    process, start = (
        Process(DiffusionConfig()),
        torch.randn(4, 2, generator=generator(), dtype=torch.float64),
    )
    one, other = (
        sample(exact_estimate(process), start, process, Sampler(name, 5), generator(seed))
        for seed in (1, 2)
    )
    assert torch.equal(one, other) == (name in ("ddim", "dpm++"))


def test_ddim_is_that_of_diffusers_where_that_takes_the_steps():
    from diffusers import DDIMScheduler

    process, estimate = Process(DiffusionConfig()), exact_estimate(Process(DiffusionConfig()))
    y = start = torch.randn(7, 2, generator=generator(), dtype=torch.float64)
    scheduler = DDIMScheduler(
        **process.schedule, prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(20)
    for t in scheduler.timesteps:
        y = scheduler.step(estimate(y, int(t)), int(t), y).prev_sample
    torch.testing.assert_close(
        sample(estimate, start, process, Sampler("ddim", 20)), y, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("number", [1, 2, 3, 7, 33, 600, 999, 1000])
def test_any_number_of_steps_falls_from_noise_to_data(schedule, number):
    process = Process(DiffusionConfig(schedule=schedule))
    steps = sampling_steps(process, number)
    assert number - 4 <= len(steps) <= number
    assert len(steps) == number or number > 995
    assert process.alphas_cumprod[steps[0]] < 5e-5
    assert all(before > after >= 0 for before, after in itertools.pairwise(steps))
    assert steps[-1] <= math.ceil(1000 / number)
    for name in SAMPLERS:
        if number < 40:
            found = sample(
                lambda y, _: torch.ones_like(y), torch.randn(3, 2), process, Sampler(name, number)
            )
            torch.testing.assert_close(found, torch.ones(3, 2))


class Exact(nn.Module):
    """The prediction for data N(MEAN, COVARIANCE) + x̂, by its score; without x̂, for N(0, I)."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        self.calls = []

    def forward(self, x, condition, given, steps):
        self.calls.append(len(x))
        assert bool((condition[~given] == 0).all())
        y = x - condition if self.process.form == 2 else x
        signal = self.process.alphas_cumprod[steps[0]].to(x)
        estimate = (
            exact_estimate(self.process)(y - signal.sqrt() * condition, int(steps[0])) + condition
        )
        estimate = torch.where(given[:, None], estimate, signal.sqrt() * y)
        noise = (y - signal.sqrt() * estimate) / (1 - signal).sqrt()
        return (
            noise
            if self.process.prediction == "epsilon"
            else signal.sqrt() * noise - (1 - signal).sqrt() * estimate
        )


@pytest.mark.parametrize(
    ("form", "prediction", "name"), list(itertools.product((1, 2), ("epsilon", "v"), SAMPLERS))
)
def test_a_decoder_that_knows_the_answer_samples_it_given_the_reconstruction(
    form, prediction, name
):
    decoder = vectors(form=form, prediction=prediction, schedule="cosine").double()
    decoder.averaged = Exact(decoder.process)
    decoder.scaling.shift.copy_(torch.tensor([3.0, -1.0]))
    decoder.scaling.scale.copy_(torch.tensor([2.0, 0.5]))
    given = torch.tensor([5.0, -2.0], dtype=torch.float64)
    found = decoder.sample(given.expand(6000, 2), Sampler(name, 100), generator())
    scale = decoder.scaling.scale
    torch.testing.assert_close(found.mean(0), given + scale * MEAN, rtol=0, atol=0.05)
    torch.testing.assert_close(
        found.T.cov() / scale / scale[:, None], COVARIANCE, rtol=0, atol=0.05
    )


@pytest.mark.parametrize("form", [1, 2])
def test_guidance_moves_between_without_and_with_the_reconstruction(form):
    decoder = vectors(form=form).double()
    exact = decoder.averaged = Exact(decoder.process)
    given = torch.full((4, 2), 2.0, dtype=torch.float64)
    with_it, without, middle = (
        decoder.sample(given, Sampler("dpm++", 1, guidance=g), generator()) for g in (1.0, 0.0, 2.5)
    )
    assert exact.calls == [4, 4, 8]
    torch.testing.assert_close(middle, without + 2.5 * (with_it - without))
    assert float((with_it - without).abs().min()) > 1
    assert float(without.abs().max()) < 0.1  # one step from noise lands on the mean of N(0, I)


@pytest.mark.parametrize(("form", "name"), list(itertools.product((1, 2), ("ddim", "dpm++"))))
def test_strength_starts_from_the_noised_reconstruction_and_takes_its_share_of_the_steps(
    form, name
):
    decoder = vectors(form=form, schedule="cosine").double()
    exact = decoder.averaged = Exact(decoder.process)
    given = torch.randn(5, 2, dtype=torch.float64, generator=generator(1))
    first = sampling_steps(decoder.process, 200, 0.4)[0]
    assert sampling_steps(decoder.process, 200, 0.4) == sampling_steps(decoder.process, 200)[-80:]
    found = decoder.sample(given, Sampler(name, 200, guidance=0.0, strength=0.4), generator(3))
    assert exact.calls == [5] * 80
    # Without x̂ data are N(0, I), whose flow moves nothing: what comes out is where sampling
    # started.
    noise = torch.randn(5, 2, dtype=torch.float64, generator=generator(3))
    signal = decoder.process.alphas_cumprod[first].double()
    torch.testing.assert_close(
        found, signal.sqrt() * given + (1 - signal).sqrt() * noise, rtol=0, atol=0.02
    )
    exact.calls.clear()
    near = decoder.sample(given, Sampler(name, 200, guidance=0.0, strength=1e-3), generator(3))
    assert exact.calls == [5]
    torch.testing.assert_close(near, given, rtol=0, atol=0.1)


def test_the_batch_size_and_the_seed_of_sampling():
    decoder, given = vectors(), torch.randn(7, 2)
    one, other = (
        decoder.sample(given, Sampler(steps=5, batch_size=b), generator(3)) for b in (7, 2)
    )
    torch.testing.assert_close(one, other)
    for name in SAMPLERS:
        one, same, another = (
            decoder.sample(given, Sampler(name, 5), generator(seed)) for seed in (3, 3, 4)
        )
        assert torch.equal(one, same)
        assert not torch.equal(one, another)


def test_clipping_holds_samples_to_the_unit_interval_and_can_be_left():
    torch.manual_seed(0)
    decoder = DiffusionDecoder((1, 4, 4), DiffusionConfig(**TINY))
    given = torch.rand(5, 1, 4, 4)
    clipped = decoder.sample(given, Sampler(steps=3))
    assert 0 <= float(clipped.min()) < float(clipped.max()) <= 1
    free = decoder.sample(given, Sampler(steps=3, clip=False))
    assert float(free.abs().max()) > 1
    assert float(vectors().sample(torch.zeros(5, 2), Sampler(steps=3)).abs().max()) > 1


# The loss
# --------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, condition, given, steps):
        self.seen.append((x, condition, given, steps))
        return torch.zeros_like(x)


@pytest.mark.parametrize("form", [1, 2])
def test_the_loss_withholds_the_stated_share_of_conditions_in_training_alone(form):
    decoder = vectors(form=form, condition_dropout=0.3)
    decoder.denoiser, decoder.averaged = Recorder(), Recorder()
    x, given = torch.zeros(20_000, 2), torch.full((20_000, 2), 5.0)
    losses = decoder.train().loss(x, given, generator())
    ((seen, condition, flags, _),) = decoder.denoiser.seen
    assert float((~flags).float().mean()) == pytest.approx(0.3, abs=0.015)
    assert bool((condition[flags] == 5).all())
    assert bool((condition[~flags] == 0).all())
    assert float(seen[flags].mean()) == pytest.approx(5.0 * (form == 2), abs=0.02)
    assert float(seen[~flags].mean()) == pytest.approx(0.0, abs=0.05)
    assert losses.shape == (20_000,)
    assert float(losses.mean()) == pytest.approx(1, abs=0.03)  # of noise, predicted as zero
    decoder.eval().loss(x, given)
    assert bool(decoder.averaged.seen[0][2].all())


def test_data_and_reconstruction_are_noised_and_given_on_the_same_scale():
    decoder = vectors(condition_dropout=0.0)
    decoder.scaling.shift.copy_(torch.tensor([3.0, -1.0]))
    decoder.scaling.scale.copy_(torch.tensor([2.0, 0.5]))
    decoder.denoiser = Recorder()
    x, reconstruction = (
        torch.tensor([[5.0, -2.0]]).expand(5000, 2),
        torch.tensor([[-1.0, 0.0]]).expand(5000, 2),
    )
    decoder.train().loss(x, reconstruction, generator())
    ((seen, condition, _, steps),) = decoder.denoiser.seen
    assert torch.equal(condition[0], torch.tensor([-2.0, 2.0]))
    early = steps < 100
    torch.testing.assert_close(seen[early].mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.15)


def test_bad_shapes_and_unknown_scales_are_refused():
    with pytest.raises(ValueError, match=r"x must be \(B, 2,\), got \(4, 3\)"):
        vectors().loss(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"reconstruction must be \(B, 2,\), got \(4, 1\)"):
        vectors().sample(torch.zeros(4, 1))
    untrained = DiffusionDecoder(2, DiffusionConfig(**TINY))
    with pytest.raises(ValueError, match=r"scale of the data is not known yet"):
        untrained.sample(torch.zeros(4, 2))
    with pytest.raises(TypeError, match="config must be a DiffusionConfig, got dict"):
        DiffusionDecoder(2, {})
    for shape, error, message in (
        ((), ValueError, r"shape must hold a size at least, got \(\)"),
        ((3, 0), ValueError, "shape must be a positive integer, got 0"),
        (-1, ValueError, "shape must be a positive integer, got -1"),
        ("ab", TypeError, "shape must be a positive integer, got 'a'"),
    ):
        with pytest.raises(error, match=message):
            DiffusionDecoder(shape, DiffusionConfig(**TINY))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"sampler": "euler"},
            r"sampler must be one of \['ddpm', 'ddim', 'dpm\+\+', 'sde-dpm\+\+'\], got 'euler'",
        ),
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"steps": 1001}, "steps must be at most the 1000 of training, got 1001"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"guidance": -1.0}, "guidance must be a finite number from 0, got -1.0"),
        ({"guidance": math.inf}, "guidance must be a finite number from 0, got inf"),
        ({"guidance": "2"}, "guidance must be a number from 0, got '2'"),
        ({"strength": 0}, "strength must be a positive finite number, got 0"),
        ({"strength": 1.5}, r"strength must be above 0 and at most 1, got 1\.5"),
        ({"strength": math.nan}, "strength must be a positive finite number, got nan"),
        ({"strength": "0.5"}, "strength must be a positive number, got '0.5'"),
        ({"clip": 1}, "clip must be True, False or None, got 1"),
    ],
)
def test_bad_sampling_options_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        vectors().sample(torch.zeros(2, 2), Sampler(**settings))


def test_guidance_needs_conditions_withheld_in_training():
    with pytest.raises(
        ValueError, match=r"guidance 2\.0 needs a decoder trained with condition_dropout above 0"
    ):
        vectors(condition_dropout=0.0).sample(torch.zeros(2, 2), Sampler(guidance=2.0))


# Denoisers, scaling, settings
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "patch"), [((1, 4, 4), 1), ((3, 7, 5), 1), ((2, 1, 9), 2)])
def test_images_of_any_size_come_back_in_their_size(shape, patch):
    torch.manual_seed(0)
    settings = {**TINY, "channels": (8, 12, 16), "attention": True, "patch": patch}
    denoiser = ImageDenoiser(shape, DiffusionConfig(**settings))
    x, condition, given, steps = (
        torch.rand(2, *shape),
        torch.rand(2, *shape),
        torch.ones(2),
        torch.tensor([1, 500]),
    )
    found = denoiser(x, condition, given, steps)
    assert found.shape == x.shape
    arguments = [x, condition, given, steps]
    for i, amount in enumerate((1, 1, -1, 99)):
        changed = [value + (amount if j == i else 0) for j, value in enumerate(arguments)]
        assert not torch.allclose(denoiser(*changed), found)


def test_padding_is_by_border_pixels_and_cropped_off():
    torch.manual_seed(0)
    denoiser = ImageDenoiser((1, 3, 4), DiffusionConfig(**TINY))
    inputs = []
    denoiser.unet.register_forward_hook(
        lambda module, arguments, output: inputs.append((arguments[0], output.sample))
    )
    x = torch.rand(1, 1, 3, 4)
    found = denoiser(x, x, torch.ones(1), torch.tensor([3]))
    ((padded, output),) = inputs
    assert padded.shape == (1, 3, 4, 4)
    assert torch.equal(padded[0, 0, 3], x[0, 0, 2])
    assert torch.equal(found, output[:, :, :3])


def test_patches_become_channels_and_pixels_again():
    denoiser = ImageDenoiser((1, 5, 4), DiffusionConfig(**{**TINY, "patch": 2}))
    seen = []

    class First(nn.Module):
        def forward(self, inputs, steps):
            seen.append(inputs)
            return cmvae.ModelOutput(sample=inputs[:, :4])

    denoiser.unet = First()
    x, given = torch.rand(2, 1, 5, 4), torch.ones(2)
    assert torch.equal(denoiser(x, 0 * x, given, torch.ones(2)), x)
    assert seen[0].shape == (2, 12, 4, 2)
    assert torch.equal(seen[0][:, :4, 0, 0], x[:, 0, :2, :2].flatten(1))


def test_every_input_of_the_perceptron_counts():
    torch.manual_seed(0)
    denoiser = VectorDenoiser((2, 3), DiffusionConfig(**{**TINY, "hidden_dim": 7}))
    arguments = [torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.ones(4), torch.full((4,), 10)]
    found = denoiser(*arguments)
    assert found.shape == (4, 2, 3)
    for i in range(4):
        changed = [value + (5 if j == i else 0) for j, value in enumerate(arguments)]
        assert not torch.allclose(denoiser(*changed), found)


def learn(scaling, chunks):
    estimate = ScaleEstimate(scaling, "image")
    for chunk in chunks:
        estimate.update(chunk)
    estimate.finish()


def test_standard_scaling_is_that_of_the_data_whatever_the_chunks():
    data = torch.randn(50, 3, generator=generator()) * torch.tensor([2.0, 0.1, 0.0]) + torch.tensor(
        [1.0, -5.0, 4.0]
    )
    scaling = Scaling((3,), "standard")
    learn(scaling, [data[:7], data[:0], data[7:]])
    torch.testing.assert_close(scaling.shift, data.mean(0))
    torch.testing.assert_close(
        scaling.scale, torch.where(data.std(0) > 0, data.std(0, correction=0), 1.0)
    )
    torch.testing.assert_close(scaling.inverse(scaling(data)), data)
    before = copy.deepcopy(scaling.state_dict())
    learn(scaling, [data + 9])
    assert all(torch.equal(before[name], value) for name, value in scaling.state_dict().items())
    images = torch.rand(20, 2, 3, 3, generator=generator()) * torch.tensor([1.0, 5.0]).reshape(
        2, 1, 1
    )
    by_channel = Scaling((2, 3, 3), "standard")
    learn(by_channel, images.split(6))
    torch.testing.assert_close(by_channel(images).std((0, 2, 3), correction=0), torch.ones(2))


def test_unit_scaling_refuses_other_values():
    scaling = Scaling((1, 2, 2), "unit")
    learn(scaling, [torch.rand(3, 1, 2, 2)])
    assert float(scaling(torch.ones(1, 1, 2, 2)).max()) == 1
    with pytest.raises(
        ValueError,
        match=r"modality 'image': scaling 'unit' is for values in \[0, 1\]; got .* to 255",
    ):
        learn(scaling, [torch.full((1, 1, 2, 2), 255.0)])
    with pytest.raises(ValueError, match="modality 'image': it is observed in no training sample"):
        learn(scaling, [torch.rand(0, 1, 2, 2)])


def test_settings_to_json_and_back_and_their_errors():
    config = DiffusionConfig(form=2, channels=[8, 16], scaling="unit", clip=False)
    assert DiffusionConfig.from_json(config.to_json()) == config
    with pytest.raises(TypeError, match=r"DiffusionConfig got unknown arguments \['foo'\]"):
        DiffusionConfig(foo=1)
    for fields, message in (
        ({"form": 3}, "form must be 1 or 2, got 3"),
        ({"schedule": "sigmoid"}, "schedule must be 'linear' or 'cosine', got 'sigmoid'"),
        ({"condition_dropout": 1.0}, "condition_dropout must be at least 0 and below 1, got 1.0"),
        ({"ema_decay": 1.5}, "ema_decay must be less than 1, got 1.5"),
        ({"train_steps": 1}, "train_steps must be from 2 to 1000000, got 1"),
        ({"train_steps": 10**7}, "train_steps must be from 2 to 1000000, got 10000000"),
        ({"channels": ()}, "channels must be positive integers, one at least"),
    ):
        with pytest.raises(ValueError, match=message):
            DiffusionConfig(**fields)
    for text, message in (
        ("[", "not JSON"),
        ("[]", r"must be a mapping, got \["),
        ('{"a": 1}', "unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            DiffusionConfig.from_json(text)


def test_without_diffusers_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert cmvae.DCMVAE.__name__ == "DCMVAE"
    with pytest.raises(ImportError, match=r"needs diffusers, .*pip install 'cmvae\[diffusion\]'"):
        DiffusionDecoder(2)


# z beside the reconstruction
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_z_counts_where_it_is_given_and_is_withheld_with_the_reconstruction(shape):
    torch.manual_seed(0)
    decoder = DiffusionDecoder(shape, DiffusionConfig(latents=True, **TINY), latent_dim=2)
    with torch.no_grad():  # as the U-Net starts, its output may be nearly zero
        for parameter in decoder.averaged.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    decoder.scaling.known.fill_(True)
    x = torch.rand(5, *shape)

    def drawn(z, **options):
        start = torch.Generator().manual_seed(1)
        return decoder.sample(x, Sampler(steps=3, **options), start, z)

    z = torch.randn(5, 2)
    assert torch.equal(drawn(z), drawn(z.double()))
    assert not torch.allclose(drawn(z), drawn(z + 3))
    assert torch.equal(drawn(z, guidance=0), drawn(z + 3, guidance=0))
    assert torch.equal(drawn(z, batch_size=2).round(decimals=4), drawn(z).round(decimals=4))
    for bad in (None, z[:4], torch.randn(5, 3)):
        with pytest.raises(ValueError, match=r"z must be \(5, 2\), got"):
            drawn(bad)
    decoder.eval()
    losses = [decoder.loss(x, x, torch.Generator().manual_seed(1), own) for own in (z, z + 3)]
    assert not torch.allclose(*losses)


@pytest.mark.parametrize("channels", [(8, 8), (4, 6), (2, 2)])
def test_the_step_reaches_a_unet_of_few_channels(channels):
    torch.manual_seed(0)
    denoiser = ImageDenoiser((1, 4, 4), DiffusionConfig(**{**TINY, "channels": channels}))
    x, given = torch.rand(1, 1, 4, 4), torch.ones(1)
    early, late = (denoiser(x, x, given, torch.tensor([step])) for step in (3, 900))
    assert not torch.allclose(early, late)


def test_a_decoder_of_z_needs_its_size_and_one_without_ignores_it():
    with pytest.raises(ValueError, match=r"latent_dim must be given where config\.latents is True"):
        DiffusionDecoder(3, DiffusionConfig(latents=True, **TINY))
    plain = DiffusionDecoder(3, DiffusionConfig(**TINY), latent_dim=2)
    assert plain.latent_dim == 0
    assert plain.denoiser.first.in_features == 7
