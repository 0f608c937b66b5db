"""The baselines' mixers: each is its formula, causal, and refuses what it cannot do."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from genomamba.models import MambaBackbone, MambaConfig, MambaForPretraining, MambaState
from genomamba.models.attention import QUERIES, AttentionMixer, rotation
from genomamba.models.config import ABILITIES
from genomamba.models.hyena import HyenaMixer, ImplicitFilter, fft_conv
from genomamba.models.mixer import S4DMixer
from genomamba.models.stepping import Stepper
from genomamba_kernels.attention_step import torch_step, turned

STEPPING = [mixer for mixer, abilities in ABILITIES.items() if "steps" in abilities]


def model_of(config: MambaConfig, mixer: str, **fields: object) -> MambaForPretraining:
    """In float64, far from the start, where little happens along the length."""
    torch.manual_seed(0)
    fields = {"mixer": mixer, "n_heads": 3, "mlp_ratio": 2, "filter_length": 16, **fields}
    model = MambaForPretraining(MambaConfig.from_dict(config.as_dict() | fields)).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "filter" not in name:  # whose sines would only become noise
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("mixer", ABILITIES)
def test_causal_and_from_everything_before(config: MambaConfig, mixer: str) -> None:
    backbone = model_of(config, mixer, n_layer=1, d_conv=1).backbone
    tokens = torch.randint(0, 5, (2, 23))
    changed = tokens.clone()
    changed[:, 9] = (tokens[:, 9] + 1) % 5
    change = (backbone(changed) - backbone(tokens)).abs().amax(dim=(0, 2))
    assert change[:9].max() < 1e-12
    assert change[9:].min() > 1e-9


@pytest.mark.parametrize("recompute", ["block", "group:2"])
@pytest.mark.parametrize("mixer", ABILITIES)
def test_recomputed_gradients_are_the_gradients(
    config: MambaConfig, mixer: str, recompute: str
) -> None:
    tokens = torch.randint(0, 5, (2, 13))
    found = []
    for policy in ("none", recompute):
        model = model_of(config, mixer, recompute=policy)
        model.loss(tokens).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("mixer", STEPPING)
def test_a_step_can_be_undone_and_moves_nothing(config: MambaConfig, mixer: str) -> None:
    """As the recording of a CUDA graph needs it."""
    model = model_of(config, mixer)
    step = Stepper(model, MambaState.zeros(model.config, 2, dtype=torch.float64), 4)
    tokens = torch.tensor([[1, 2], [3, 0], [0, 4]])
    step(tokens[0])
    before = [tensor.clone() for tensor in step.tensors()]
    places = [tensor.data_ptr() for layer in step.state.layers for tensor in layer]
    expected = [step(row) for row in tokens[1:]]
    for tensor, value in zip(step.tensors(), before, strict=True):
        tensor.copy_(value)
    found = [step(row) for row in tokens[1:]]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert places == [tensor.data_ptr() for layer in step.state.layers for tensor in layer]


@pytest.mark.parametrize("mixer", STEPPING)
@pytest.mark.parametrize("read_at_once", [0, 1, 17])
def test_token_by_token_equals_the_forward_pass(
    config: MambaConfig, mixer: str, read_at_once: int
) -> None:
    model = model_of(config, mixer)
    tokens = torch.randint(0, 5, (3, 90))
    with torch.no_grad():
        expected, after = model(tokens, return_state=True)
        state = MambaState.zeros(model.config, 3, dtype=torch.float64)
        if read_at_once:
            _, state = model(tokens[:, :read_at_once], return_state=True)
    step = Stepper(model, state, 90 - read_at_once)
    for at in range(read_at_once, tokens.shape[1]):
        torch.testing.assert_close(step(tokens[:, at]), expected[:, at], atol=1e-10, rtol=0)
    for name, tensor in after.tensors().items():
        torch.testing.assert_close(step.state.tensors()[name], tensor, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cache_in_place_is_one_that_grows(
    config: MambaConfig, monkeypatch, dtype: torch.dtype, limit: float, masked: bool
) -> None:
    """Both ways of a step in torch, against a cache to which every forward pass adds a key."""
    if masked:
        monkeypatch.setattr(torch_step, "attend_to_part", torch_step.attend_under_mask)
    model = model_of(config, "attention").to(dtype)
    tokens = torch.randint(0, 5, (2, 40))
    with torch.no_grad():
        _, growing = model(tokens[:, :7], return_state=True)
        step = Stepper(model, growing, 60)  # not all are taken
        for at in range(7, 40):
            expected, growing = model(tokens[:, at : at + 1], state=growing, return_state=True)
            torch.testing.assert_close(step(tokens[:, at]), expected[:, 0], atol=limit, rtol=0)
    for name, tensor in growing.tensors().items():
        torch.testing.assert_close(step.state.tensors()[name], tensor, atol=limit, rtol=0)


def test_attention_has_room_for_the_steps_it_was_told(config: MambaConfig) -> None:
    model = model_of(config, "attention")
    state = MambaState.zeros(model.config, 1, dtype=torch.float64)
    for steps in (None, 0):
        with pytest.raises(ValueError, match=f"steps: expected, with attention, .* got {steps}"):
            Stepper(model, state, steps)
    step = Stepper(model, state, 2)
    token = torch.tensor([1])
    step(token)
    step(token)
    with pytest.raises(IndexError):
        step(token)


@pytest.mark.parametrize("mixer", STEPPING)
def test_goes_on_from_a_state(config: MambaConfig, mixer: str) -> None:
    """With attention over more positions than are masked at a time."""
    model = model_of(config, mixer, n_layer=1)
    tokens = torch.randint(0, 5, (1, QUERIES + 40))
    with torch.no_grad():
        expected = model(tokens)
        first, state = model(tokens[:, :7], return_state=True)
        second = model(tokens[:, 7:], state=state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected)


def test_attention_is_the_formula(config: MambaConfig) -> None:
    config = dataclasses.replace(config, mixer="attention", n_heads=3)
    mixer = AttentionMixer(config).double()
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    q, k, v = mixer.in_proj(x).split(24, dim=-1)
    expected = torch.zeros(2, 9, 24, dtype=torch.float64)
    for head in range(3):
        columns = slice(8 * head, 8 * head + 8)
        for t in range(9):
            # Turned as complex numbers, each by its own position.
            def turned(y: torch.Tensor, at: int, columns: slice = columns) -> torch.Tensor:
                pairs = torch.complex(*y[:, at, columns].chunk(2, dim=-1))
                angles = at * 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
                return pairs * torch.polar(torch.ones_like(angles), angles)

            scores = [(turned(q, t) * turned(k, s).conj()).real.sum(-1) for s in range(t + 1)]
            weights = (torch.stack(scores, dim=-1) / math.sqrt(8)).softmax(-1)
            expected[:, t, columns] = torch.einsum("bs,bsc->bc", weights, v[:, : t + 1, columns])
    torch.testing.assert_close(mixer(x)[0], mixer.out_proj(expected))


def test_rotated_products_depend_on_the_distance_also_far_out() -> None:
    q, k = torch.randn(2, 1, 1, 1, 16)

    def product(of_q: int, of_k: int) -> torch.Tensor:
        return (turned(q, *rotation(of_q, 1, 16, q)) * turned(k, *rotation(of_k, 1, 16, k))).sum()

    near, far = product(5, 2), product(4_000_005, 4_000_002)
    torch.testing.assert_close(near, far, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 63, 100])
def test_fft_convolution_is_the_direct_one(length: int) -> None:
    u = torch.randn(2, length, 3, dtype=torch.float64)
    k = torch.randn(length, 3, dtype=torch.float64)
    padded = functional.pad(u.mT, (length - 1, 0))
    expected = functional.conv1d(padded, k.flip(0).T[:, None], groups=3).mT
    torch.testing.assert_close(fft_conv(u, k), expected)


def test_hyena_is_the_formula(config: MambaConfig) -> None:
    config = dataclasses.replace(config, mixer="hyena", filter_length=16)
    mixer = HyenaMixer(config).double()
    x = torch.randn(2, 12, 24, dtype=torch.float64)
    padded = functional.pad(mixer.in_proj(x).mT, (config.d_conv - 1, 0))
    v, first, second = mixer.conv1d(padded).mT.split(24, dim=-1)
    u, k = v * first, mixer.filter(12)
    y = torch.stack(
        [sum(k[s] * u[:, t - s] for s in range(t + 1)) + mixer.bias * u[:, t] for t in range(12)], 1
    )
    torch.testing.assert_close(mixer(x)[0], mixer.out_proj(second * y))


def test_a_filter_decays_and_its_start_does_not_depend_on_its_length(config: MambaConfig) -> None:
    implicit = ImplicitFilter(dataclasses.replace(config, filter_length=200)).double()
    k = implicit(400)
    torch.testing.assert_close(implicit(100), k[:100])
    envelope = k.abs() * torch.exp(torch.arange(400)[:, None] / 200 * implicit.decay)
    assert 0.2 < envelope[200:].std() / envelope[:200].std() < 5  # the rest is the decay
    # 1e-2 at 0.3 and 1.5 of the filter's length
    torch.testing.assert_close(
        torch.exp(-implicit.decay[[-1, 0]] * torch.tensor([0.3, 1.5])).double(),
        torch.tensor([1e-2, 1e-2]).double(),
    )


def test_s4d_is_its_convolution(config: MambaConfig) -> None:
    config = dataclasses.replace(config, mixer="s4d")
    mixer = S4DMixer(config).double()
    x = torch.randn(2, 14, 24, dtype=torch.float64)
    u, z = mixer.in_proj(x).split(config.d_inner, dim=-1)
    u = functional.silu(mixer.conv1d(functional.pad(u.mT, (config.d_conv - 1, 0))).mT)
    q, s = functional.softplus(mixer.dt_bias), torch.arange(14)
    powers = torch.exp(s[:, None, None] * q[:, None] * -mixer.A_log.exp())
    k = q * (powers * mixer.B * mixer.C).sum(-1)
    y = fft_conv(u, k) + mixer.D * u
    torch.testing.assert_close(mixer(x)[0], mixer.out_proj(y * functional.silu(z)))


def test_s4d_in_segments_and_packed(config: MambaConfig) -> None:
    tokens = torch.randint(0, 5, (2, 20))
    whole = model_of(config, "s4d")(tokens)
    torch.testing.assert_close(model_of(config, "s4d", segment_length=7)(tokens), whole)
    packed = torch.cat([tokens[:1], tokens[1:]], dim=1)
    seq_idx = torch.arange(2, dtype=torch.int32).repeat_interleave(20)[None]
    found = model_of(config, "s4d")(packed, seq_idx=seq_idx)
    torch.testing.assert_close(found[0].unflatten(0, (2, 20)), whole)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
def test_s4d_backends_agree(config: MambaConfig) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mixer = S4DMixer(dataclasses.replace(config, mixer="s4d")).to(device)
    x = torch.randn(1, 11, config.d_model, device=device)
    found = {}
    for backend in ("reference", "torch", "triton"):
        mixer.backend = backend
        y, _ = mixer(x)
        grads = torch.autograd.grad(y.square().sum(), list(mixer.parameters()))
        found[backend] = [y, *grads]
    for backend in ("torch", "triton"):
        for one, other in zip(found[backend], found["reference"], strict=True):
            scale = other.abs().max().item()
            torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("mixer", ABILITIES)
def test_autocast_rounds_the_data_and_not_the_parameters(config: MambaConfig, mixer: str) -> None:
    model = model_of(config, mixer).float()
    tokens = torch.randint(0, 5, (2, 13))
    exact = model.loss(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(tokens)
    loss.backward()
    assert abs(loss - exact) < 0.02 * exact
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("mixer", ["s4d", "attention"])
def test_steps_in_bfloat16_are_close(config: MambaConfig, mixer: str) -> None:
    exact, model = model_of(config, mixer), model_of(config, mixer).bfloat16()
    tokens = torch.randint(0, 5, (2, 30))
    with torch.no_grad():
        expected = exact(tokens)
        forward_error = (model(tokens) - expected).square().mean().sqrt()
    step = Stepper(model, MambaState.zeros(model.config, 2, dtype=torch.bfloat16), 30)
    found = torch.stack([step(tokens[:, at]) for at in range(30)], dim=1)
    assert (found - expected).square().mean().sqrt() < 2 * forward_error


def test_blocks_of_one_budget() -> None:
    """Matrices of a Mamba block with expand 2 and of a Transformer's with mlp_ratio 1."""
    size = {"d_model": 256, "n_layer": 4, "mlp_ratio": 1}

    def count(mixer: str) -> int:
        return sum(p.numel() for p in MambaBackbone(MambaConfig(mixer=mixer, **size)).parameters())

    mamba = count("mamba")
    for mixer in ("s4d", "attention", "hyena"):
        assert abs(count(mixer) / mamba - 1) < 1 / 8, mixer


@pytest.mark.parametrize("mixer", ["attention", "hyena"])
def test_what_a_mixer_cannot_do_is_refused(config: MambaConfig, mixer: str) -> None:
    tokens = torch.randint(0, 5, (1, 8))
    with pytest.raises(ValueError, match=r"segment_length: expected none with mixer"):
        model_of(config, mixer, segment_length=4)
    model = model_of(config, mixer)
    with pytest.raises(ValueError, match=f"seq_idx: expected one sequence a row.*{mixer}"):
        model(tokens, seq_idx=torch.zeros(1, 8, dtype=torch.int32))
    if mixer == "hyena":
        state = MambaState.zeros(model.config, 1)
        with pytest.raises(ValueError, match="state: expected none with mixer 'hyena'"):
            model(tokens, state=state)
        with pytest.raises(ValueError, match="'hyena' reads whole sequences"):
            Stepper(model, state)


def test_a_mixer_or_heads_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"mixer: expected one of mamba, s4d, .* got 'rnn'"):
        MambaConfig(mixer="rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"n_heads: expected heads of even width .* got 5"):
        MambaConfig(mixer="attention", d_model=64, n_heads=5)
