"""Sequences drawn from a model follow its probabilities, its prompts and the seed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genomamba.cli import main
from genomamba.data.tokens import VOCABULARY
from genomamba.inference.generation import (
    BLOCK,
    Draw,
    Drawing,
    Sampling,
    generate,
    read_prompt,
    uniforms,
)
from genomamba.models import MambaConfig, MambaForPretraining, MambaState
from genomamba.models.stepping import Stepper
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.fasta import read_fasta

CODES = np.random.default_rng(0).integers(0, 4, 50).astype(np.uint8)


@pytest.fixture
def network() -> MambaForPretraining:
    torch.manual_seed(0)
    model = MambaForPretraining(MambaConfig(d_model=8, n_layer=2, d_state=4)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def _draws(number: int, codes: np.ndarray | None = CODES) -> list[Draw]:
    return [Draw(0, codes, copy) for copy in range(number)]


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0, 1.0]])
    numbers = (torch.arange(100_000) + 0.5) / 100_000
    for sampling, expected in (
        (Sampling(allow_n=True), logits[0].softmax(-1)),
        (Sampling(), logits[0, :4].softmax(-1)),
        (Sampling(temperature=2.0), (logits[0, :4] / 2).softmax(-1)),
        (Sampling(temperature=0), torch.tensor([0.0, 0, 1, 0])),
        (Sampling(top_k=2), torch.tensor([1 / (1 + np.exp(1.5)), 0, 1 / (1 + np.exp(-1.5)), 0])),
    ):
        drawn = sampling.choose(logits.expand(len(numbers), -1).clone(), numbers)
        found = torch.bincount(drawn, minlength=len(expected)) / len(numbers)
        torch.testing.assert_close(found, expected.float(), atol=2e-5, rtol=0)


def test_extreme_random_numbers_draw_what_is_possible() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, 9.0]]).repeat(2, 1)
    drawn = Sampling().choose(logits, torch.tensor([0.0, 1 - 2.0**-32], dtype=torch.float64))
    assert drawn.tolist() == [1, 3]
    equal = torch.zeros(4, 5)
    drawn = Sampling(top_k=2).choose(equal, torch.tensor([0.0, 0.3, 0.6, 0.9]))
    assert len(set(drawn.tolist())) == 2  # of equal ones no more than k


def test_greedy_follows_the_forward_pass(network: MambaForPretraining) -> None:
    sequence = generate(network, _draws(1), 30, Sampling(temperature=0))[0]
    tokens = torch.from_numpy(CODES).long()[None]
    for base in sequence:
        with torch.no_grad():
            assert network(tokens)[0, -1, :4].argmax() == base
        tokens = torch.cat([tokens, torch.tensor([[int(base)]])], dim=1)


def test_a_sequence_depends_on_seed_prompt_and_copy_alone(network: MambaForPretraining) -> None:
    network = network.double()  # so that a batch's rounding cannot flip a base
    together = generate(network, _draws(5), 40, Sampling(seed=3))
    again = np.stack([generate(network, [d], 40, Sampling(seed=3))[0] for d in _draws(5)])
    assert np.array_equal(together, again)
    assert len(np.unique(together, axis=0)) == 5
    longer = generate(network, _draws(5), 50, Sampling(seed=3))
    assert np.array_equal(longer[:, :40], together)
    assert not np.array_equal(together, generate(network, _draws(5), 40, Sampling(seed=4)))
    other = [Draw(1, CODES, copy) for copy in range(5)]
    assert not np.array_equal(together, generate(network, other, 40, Sampling(seed=3)))
    assert together.max() < 4


@pytest.mark.parametrize("mixer", ["mamba", "attention"])
def test_recording_a_step_does_not_move_the_sequence(mixer: str, monkeypatch) -> None:
    network = network_of(mixer)
    logits = torch.tensor([[0.3, 0.0, 0.1, 0.2, 0.0]] * 2, dtype=torch.float64)
    state = MambaState.zeros(network.config, 2, dtype=torch.float64)
    numbers = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = Drawing(Stepper(network, state, 5), logits, Sampling(), graph=False)

    def record(function: Callable[[], None]) -> Callable[[], None]:
        for _ in range(3):
            function()
        return function

    monkeypatch.setattr("genomamba.inference.step_graph._cuda_graph", record)
    found = Drawing(Stepper(network, state, 5), logits, Sampling(), graph=True)
    for number in numbers:
        assert torch.equal(found(number), expected(number))
        assert torch.equal(found.logits, expected.logits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("mixer", ["mamba", "attention"])
def test_a_graph_draws_what_steps_draw(mixer: str, backend: str, monkeypatch) -> None:
    monkeypatch.setenv("GENOMAMBA_BACKEND", backend)
    network = network_of(mixer).float().cuda()
    logits = torch.zeros(3, 5, device="cuda")
    state = MambaState.zeros(network.config, 3, "cuda")
    alone, graph = (
        Drawing(Stepper(network, state, 40), logits, Sampling(), graph=g) for g in (False, True)
    )
    for number in torch.rand(40, 3, dtype=torch.float64, device="cuda"):
        assert torch.equal(graph(number), alone(number))
        assert torch.equal(graph.logits, alone.logits)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton")
def test_kernels_draw_what_torch_draws() -> None:
    """Without a GPU the interpreter does, which has to be asked for before Triton is imported."""
    script = """
import numpy, torch
from genomamba.inference.generation import Draw, Sampling, generate
from genomamba.models import MambaConfig, MambaForPretraining
codes, found = numpy.arange(70, dtype=numpy.uint8) % 4, []
for backend in ("torch", "triton"):
    torch.manual_seed(0)
    config = MambaConfig(d_model=16, n_layer=2, n_heads=2, mixer="attention", backend=backend)
    model = MambaForPretraining(config).eval()
    if torch.cuda.is_available():
        model.cuda()
    draws = [Draw(0, codes, copy) for copy in range(2)]
    found.append(generate(model, draws, 30, Sampling(seed=1)))
assert (found[0] == found[1]).all(), found
assert (found[0][0] != found[0][1]).any(), found
"""
    environment = {**os.environ, "TRITON_INTERPRET": str(int(not torch.cuda.is_available()))}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_random_numbers_are_the_same_in_blocks() -> None:
    whole = uniforms(_draws(3), 1, 0, 32)
    assert torch.equal(uniforms(_draws(3), 1, 8, 24), whole[:, 8:])
    assert 0 <= whole.min() < 0.2
    assert 0.8 < whole.max() < 1
    assert BLOCK % 4 == 0


def test_long_prompts_are_read_in_segments(network: MambaForPretraining, monkeypatch) -> None:
    whole, _ = read_prompt(network, CODES)
    monkeypatch.setattr("genomamba.inference.generation.SEGMENT", 7)
    monkeypatch.setattr("genomamba.inference.generation.BLOCK", 8)
    parts, _ = read_prompt(network, CODES)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    assert generate(network, _draws(2), 19, Sampling()).shape == (2, 19)


def test_without_a_prompt_the_first_base_is_any(network: MambaForPretraining) -> None:
    first = generate(network, _draws(400, None), 1, Sampling(allow_n=True))[:, 0]
    assert np.bincount(first, minlength=5)[:4].min() > 60
    assert first.max() < 4


def test_weights_that_are_no_numbers(network: MambaForPretraining) -> None:
    with torch.no_grad():
        network.backbone.norm_f.weight[0] = torch.nan
    with pytest.raises(InputError, match="not numbers"):
        generate(network, _draws(1), 3, Sampling())


def test_command(tmp_path: Path, pretraining_checkpoint: Path, write_fasta, capsys) -> None:
    prompt = write_fasta({"one": 30, "two": "ACGTNNRacgt"})
    arguments = [
        *("generate", str(pretraining_checkpoint), "--prompt", str(prompt), "--length", "100"),
        *("--number", "3", "--seed", "5", "--top-k", "3", "--device", "cpu", "--output"),
    ]
    first, second = tmp_path / "first.fa", tmp_path / "second.fa"
    assert main([*arguments, str(first)]) == 0
    assert capsys.readouterr().out == ""
    assert main([*arguments, str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    records = list(read_fasta(first))
    assert [r.name for r in records] == [f"{p}.{i}" for p in ("one", "two") for i in (1, 2, 3)]
    assert all(len(r.codes) == 100 and r.codes.max() < 4 for r in records)
    lines = first.read_text().splitlines()
    expected = ">two.2 seed=5 temperature=1 top_k=3 prompt=two prompt_length=11"
    assert lines[4 * 3] == expected
    assert [len(line) for line in lines[1:3]] == [80, 20]


def network_of(mixer: str) -> MambaForPretraining:
    torch.manual_seed(0)
    config = MambaConfig(d_model=16, n_layer=2, d_state=4, n_heads=2, mixer=mixer)  # type: ignore[arg-type]
    return MambaForPretraining(config).double().eval()


@pytest.mark.parametrize("mixer", ["s4d", "attention"])
def test_other_mixers_and_prompts_of_other_lengths(mixer: str) -> None:
    network = network_of(mixer)
    draws = [Draw(0, CODES, 0), Draw(1, CODES[:20], 0), Draw(2, None, 0), Draw(0, CODES, 1)]
    together = generate(network, draws, 300, Sampling(seed=3))
    again = np.stack([generate(network, [draw], 300, Sampling(seed=3))[0] for draw in draws])
    assert np.array_equal(together, again)
    assert len(np.unique(together, axis=0)) == 4


def test_commands_refuse_mixers_that_read_whole_sequences(
    tmp_path: Path, write_fasta, capsys
) -> None:
    fasta, out = str(write_fasta({"one": 30})), str(tmp_path / "out.npy")
    for mixer, command in (("hyena", "generate"), ("attention", "embed")):
        network, path = network_of(mixer), tmp_path / f"{mixer}.ckpt"
        weights = {f"model.{name}": value for name, value in network.state_dict().items()}
        meta = {"format": 1, "task": "pretraining", "config": network.config.as_dict()}
        meta |= {"vocabulary": list(VOCABULARY)}
        torch.save({"state_dict": weights, "genomamba": meta}, path)
        given = ["--length", "9"] if command == "generate" else [fasta]
        assert main([command, str(path), *given, "--device", "cpu", "--output", out]) == 2
        assert f"its mixer, {mixer}, reads" in capsys.readouterr().err
        assert not Path(out).exists()


def test_bad_use(tmp_path: Path, checkpoint: Path, pretraining_checkpoint: Path, capsys) -> None:
    out = ["--device", "cpu", "--output", str(tmp_path / "out.fa")]
    assert main(["generate", str(checkpoint), "--length", "9", *out]) == 2
    assert "predicts no next base" in capsys.readouterr().err
    for option in (["--length", "0"], ["--length", "9", "--temperature", "nan"]):
        with pytest.raises(SystemExit):
            main(["generate", str(pretraining_checkpoint), *option, *out])
    bad = tmp_path / "bad.fa"
    bad.write_text(">protein\nMEF\n")
    prompt = ["--prompt", str(bad), "--length", "9"]
    assert main(["generate", str(pretraining_checkpoint), *prompt, *out]) == 2
    assert "no nucleotide" in capsys.readouterr().err
    assert not (tmp_path / "out.fa").exists()
