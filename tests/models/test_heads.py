"""The classification head: pooling of packed rows, its statistics, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genomamba.models import MambaConfig, MambaForClassification, MambaForPretraining
from genomamba.models.heads import ClassificationHead
from genomamba.models.pooling import Pooling, join, last, sums


def trained(config: MambaConfig, pooling: Pooling = "mean") -> MambaForClassification:
    """A model whose head is past its zero start."""
    model = MambaForClassification(config, 3, pooling).double()
    for _ in range(3):
        model(torch.randint(0, 5, (4, 30)))
    torch.nn.init.normal_(model.head.out_proj.weight)
    return model.eval()


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_packed_rows_give_the_logits_of_the_separate_sequences(
    config: MambaConfig, pooling: Pooling
) -> None:
    model = trained(config, pooling)
    tokens = torch.randint(0, 5, (2, 40))
    seq_idx = torch.zeros(2, 40, dtype=torch.int32)
    seq_idx[0, 1:], seq_idx[0, 15:], seq_idx[1, 33:] = 1, 2, 7
    pieces = [tokens[0, :1], tokens[0, 1:15], tokens[0, 15:], tokens[1, :33], tokens[1, 33:]]
    expected = torch.cat([model(piece[None]) for piece in pieces])
    torch.testing.assert_close(model(tokens, seq_idx), expected, rtol=1e-9, atol=1e-11)


def pool(
    features: Tensor, pooling: Pooling, seq_idx: Tensor | None, segment: int = 99
) -> tuple[Tensor, Tensor]:
    part = {"mean": sums, "last": last}[pooling]
    ats = [slice(start, start + segment) for start in range(0, features.shape[1], segment)]
    parts = [(at, part(features[:, at], None if seq_idx is None else seq_idx[:, at])) for at in ats]
    return join(parts, pooling, features.shape[:2], seq_idx)


@pytest.mark.parametrize("segment", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_pool(pooling: Pooling, segment: int) -> None:
    features = torch.arange(12.0).view(2, 6, 1)
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, 1], [4] * 6])
    pooled, lengths = pool(features, pooling, seq_idx, segment)
    expected = {"mean": [0.5, 3.5, 8.5], "last": [1.0, 5.0, 11.0]}[pooling]
    assert pooled.flatten().tolist() == expected
    assert lengths.tolist() == [2, 4, 6]
    pooled, lengths = pool(features, pooling, None, segment)
    assert pooled.flatten().tolist() == {"mean": [2.5, 8.5], "last": [5.0, 11.0]}[pooling]
    assert lengths.tolist() == [6, 6]


def test_mean_pooling_of_half_precision_sums_in_float32() -> None:
    features = torch.ones(1, 100_000, 1, dtype=torch.bfloat16)
    pooled, _ = pool(features, "mean", None, 100_000)
    assert pooled.dtype == torch.float32
    assert pooled.item() == 1.0


def test_an_untrained_head_says_nothing_and_evaluation_keeps_rows_apart(
    config: MambaConfig,
) -> None:
    model = MambaForClassification(config, 3)
    tokens = torch.randint(0, 5, (4, 30))
    assert not model(tokens).any()
    assert not MambaForClassification(config, 3).eval()(tokens).any()
    model = trained(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    together = model(tokens)
    torch.testing.assert_close(together[2:3], model(tokens[2:3]), rtol=1e-9, atol=1e-11)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_statistics_are_averages_at_first_and_bound_what_enters_the_linear_layer(
    config: MambaConfig,
) -> None:
    head = ClassificationHead(config, 3, "mean").double()
    entered: list[Tensor] = []
    head.out_proj.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    batches = [torch.randn(1, 9, config.d_model, dtype=torch.float64) for _ in range(40)]
    means = []
    for i, hidden in enumerate(batches):
        head(hidden * 10.0 ** (i % 3))
        a, g = head.gate_proj(hidden * 10.0 ** (i % 3)).chunk(2, dim=-1)
        means.append((functional.silu(a) * g).mean(1))
        if i < head.averaged_batches:
            mean = torch.cat(means).mean(0)
            torch.testing.assert_close(head.running_mean, mean, rtol=1e-5, atol=1e-5)
    assert all(z.isfinite().all() for z in entered)  # the first batch of one has no spread
    assert max(z.abs().max() for z in entered) <= head.averaged_batches**0.5 + 1e-9
    assert head.running_length == 9


@pytest.mark.parametrize("rows", [1, 40])
def test_what_moves_all_sequences_of_a_batch_alike_is_hardly_asked_for(
    config: MambaConfig, rows: int
) -> None:
    head = ClassificationHead(config, 3, "mean", [16]).double()
    torch.nn.init.normal_(head.out_proj.weight)
    features = head.out_proj.in_features
    head.readout(torch.randn(rows, features, dtype=torch.float64), 0)
    pooled = torch.randn(rows, features, dtype=torch.float64, requires_grad=True)
    logits = head.readout(pooled, 0)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pooled)
    spread = (head.running_var[0] + head.eps).sqrt()
    remains = head.lagging / (rows + head.lagging)
    torch.testing.assert_close(gradient.sum(0), rows * remains * head.out_proj.weight[0] / spread)


def test_a_shorter_sequence_is_judged_less_surely(config: MambaConfig) -> None:
    head = ClassificationHead(config, 3, "mean").double()
    head(torch.randn(8, 64, config.d_model, dtype=torch.float64))
    torch.nn.init.normal_(head.out_proj.weight)
    head.eval()
    hidden = torch.randn(1, 1, config.d_model, dtype=torch.float64)  # equal means at every length
    short, full = head(hidden.expand(1, 16, -1)), head(hidden.expand(1, 64, -1))
    torch.testing.assert_close(4 * short, full)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_logits_are_not_rounded_to_half_precision(config: MambaConfig, dtype: torch.dtype) -> None:
    model = MambaForPretraining(config).to(torch.float64 if dtype == torch.float64 else None)
    hidden = torch.randn(2, 9, config.d_model).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model.head(hidden)
    assert logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = hidden.double() @ model.head.rows().double().T
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-6)


def test_bad_arguments(config: MambaConfig) -> None:
    with pytest.raises(ValueError, match="n_classes: expected at least 2, got 1"):
        MambaForClassification(config, 1)
    with pytest.raises(ValueError, match=r"pooling: expected one of .*, got 'max'"):
        MambaForClassification(config, 2, "max")  # type: ignore[arg-type]


def test_a_small_shift_of_word_frequencies_is_learned_in_tens_of_steps() -> None:
    """Two sources that differ by 12 % in how often A or C follows a base; chance is 0.5."""
    model = MambaForClassification(MambaConfig(d_model=16, n_layer=1, d_state=2), 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def draw(size: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(size) % 2
        steps = torch.rand(size, 512) < (0.5 + 0.06 * (2 * labels - 1))[:, None]
        return (2 * steps.long() + torch.randint(0, 2, (size, 512))).cumsum(1) % 4, labels

    for _ in range(40):
        tokens, labels = draw(16)
        optimizer.zero_grad()
        functional.cross_entropy(model(tokens), labels).backward()
        optimizer.step()
    tokens, labels = draw(200)
    accuracy = (model.eval()(tokens).argmax(-1) == labels).float().mean()
    assert accuracy > 0.9


def rungs(config: MambaConfig) -> MambaForClassification:
    """A trained model of two rungs, 8 and 32 bases."""
    model = MambaForClassification(config, 3, lengths=(8, 32)).double()
    for restart in (8, 32, 8):
        model.readouts(torch.randint(0, 5, (4, 32)), restart)
    torch.nn.init.normal_(model.head.out_proj.weight)
    return model.eval()


def test_readouts_are_the_model_on_the_pieces(config: MambaConfig) -> None:
    model = rungs(config)
    tokens = torch.randint(0, 5, (3, 64))
    found = model.readouts(tokens, 8)
    assert {length: tuple(logits.shape) for length, logits in found.items()} == {
        8: (24, 3),
        32: (6, 3),
    }
    alone = torch.cat([model(piece[None]) for piece in tokens.reshape(-1, 8)])
    torch.testing.assert_close(found[8], alone, rtol=1e-9, atol=1e-11)
    # From restarts, a longer piece is judged by the mean over its parts: each starts afresh.
    seq_idx = torch.arange(8).repeat_interleave(8).expand(3, -1).contiguous().int()
    hidden = model.backbone(tokens, seq_idx=seq_idx)
    means = model.head.part(hidden.reshape(6, 32, -1)) / 32
    torch.testing.assert_close(found[32], model.head.readout(means, 1), rtol=1e-9, atol=1e-11)
    # No piece of 32 lies in two windows of 48.
    assert list(model.readouts(tokens[:2, :48], 8)) == [8]
    whole = model.readouts(tokens, 32)
    assert list(whole) == [32]
    alone = torch.cat([model(piece[None]) for piece in tokens.reshape(-1, 32)])
    torch.testing.assert_close(whole[32], alone, rtol=1e-9, atol=1e-11)


def test_a_sequence_is_judged_by_the_longest_rung_that_it_fills(config: MambaConfig) -> None:
    model = rungs(config)
    tokens = torch.randint(0, 5, (2, 50))
    before = {length: model(tokens[:, :length]) for length in (5, 8, 31, 32, 50)}
    with torch.no_grad():
        model.head.out_proj.weight[3:] *= 2.0  # of the rung of 32
        model.head.out_proj.bias[3:] += 1.0
    for length, logits in before.items():
        expected = 2 * logits + 1 if length >= 32 else logits
        torch.testing.assert_close(model(tokens[:, :length]), expected, rtol=1e-9, atol=1e-11)
    seq_idx = torch.zeros(1, 50, dtype=torch.int32)
    seq_idx[0, 40:] = 1
    packed = torch.cat([model(tokens[:1, :40]), model(tokens[:1, 40:])])
    torch.testing.assert_close(model(tokens[:1], seq_idx), packed, rtol=1e-9, atol=1e-11)


def test_each_rung_has_statistics_of_its_own(config: MambaConfig) -> None:
    model = rungs(config)
    assert model.head.running_length.tolist() == [8.0, 32.0]
    assert model.head.batches.tolist() == [2, 3]
    assert not torch.equal(model.head.running_var[0], model.head.running_var[1])


@pytest.mark.parametrize("lengths", [(8, 20), (8, 8), (32, 8), (0, 8)])
def test_lengths_that_are_no_rungs_are_refused(
    config: MambaConfig, lengths: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="lengths: expected increasing ones, each a multiple"):
        MambaForClassification(config, 3, lengths=lengths)
    with pytest.raises(ValueError, match="lengths: expected none with pooling 'last'"):
        MambaForClassification(config, 3, "last", lengths)
