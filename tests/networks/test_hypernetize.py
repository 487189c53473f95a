"""Modules conditioned on hyperparameters: what is predicted, what stays, what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import hmopt
from hmopt.errors import DeclarationError, HmoptError
from hmopt.networks.hypernetize import HypernetizedModule, predictable
from hmopt.space import Setting

SETTING: Setting = {"regularization": 0.3}


class Tied(nn.Module):
    """Two layers of one weight, a third that reads the weight of the first, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the shared weight three times."""
        hidden = self.second(self.first(x).tanh()) + self.offset
        return functional.linear(hidden, self.first.weight)


class Listed(nn.Module):
    """Weights in a list and in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = nn.ParameterList([torch.randn(4), torch.randn(4)])
        self.named = nn.ParameterDict({"scale": torch.randn(4)})

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift."""
        scaled: Tensor = (x * self.listed[0] + self.listed[1]) * self.named["scale"]
        return scaled


class Recurrent(nn.Module):
    """A recurrent layer, whose weights torch also keeps in a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 3, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last outputs."""
        outputs: Tensor = self.rnn(x[:, None].expand(-1, 5, -1))[0]
        return outputs[:, -1]


class Attention(nn.Module):
    """A transformer layer, which has a fast path of its own in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the rows."""
        attended: Tensor = self.layer(x[None])
        return attended[0]


class Keeping(nn.Module):
    """A layer that keeps its last output, as VoxelMorph's network does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return and keep the output."""
        self.last = self.layer(x)
        return self.last


def weight_normed() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.LayerNorm(3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.Flatten()
    )


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 3),
    "tied": Tied,
    "listed": Listed,
    "recurrent": Recurrent,
    "attention": Attention,
    "keeping": Keeping,
    "weight norm": weight_normed,
    "convolutional": convolutional,
}


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MODULES[name]()


def moved_apart(conditioned: HypernetizedModule) -> HypernetizedModule:
    """Return a module in which all weights, of all tensors, depend on the setting."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        heads = conditioned.hypernetwork.heads.transposed
        heads.copy_(0.05 * torch.randn(heads.shape, generator=generator))
    return conditioned


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_its_output_is_that_of_a_copy_with_the_predicted_weights(name: str, training: bool) -> None:
    module = made(name)
    conditioned = moved_apart(hmopt.hypernetize(module, ["regularization"])).train(training)
    x = torch.randn(6, 4)
    for place in (0.0, 0.4, 1.0):
        setting: Setting = {"regularization": place}
        weights = conditioned.weights(setting)
        assert set(weights) == set(dict(module.named_parameters()))
        plain = copy.deepcopy(module).train(training)
        parameters = dict(plain.named_parameters())
        with torch.no_grad():
            for key, value in weights.items():
                parameters[key].copy_(value)
            expected = plain(x)
        baked = conditioned.bake(setting)
        assert type(baked) is type(module)
        with torch.inference_mode():
            torch.testing.assert_close(baked(x), expected)
            torch.testing.assert_close(conditioned(x, setting), expected)
        torch.testing.assert_close(conditioned(x, setting=setting), expected)


@pytest.mark.parametrize("name", MODULES)
def test_every_predicted_tensor_learns(name: str) -> None:
    """The gradient of H reaches every row: no weight is taken from elsewhere."""
    conditioned = moved_apart(hmopt.hypernetize(made(name), ["regularization"]))
    x = torch.randn(6, 4)
    target = torch.randn(6, 4)
    output = conditioned(x, SETTING)
    (output * target[:, : output.shape[1]]).sum().backward()
    gradient = conditioned.hypernetwork.base.grad
    assert gradient is not None
    sizes = [shape.numel() for shape in conditioned.hypernetwork.shapes.values()]
    for key, part in zip(conditioned.names, torch.split(gradient, sizes), strict=True):
        assert part.abs().max() > 0, key


@pytest.mark.parametrize("name", ["linear", "tied", "listed", "weight norm", "convolutional"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    conditioned = moved_apart(hmopt.hypernetize(made(name).double(), ["regularization"]))
    x = torch.randn(3, 4, dtype=torch.float64)
    chosen = conditioned.hypernetwork.heads.transposed
    direction = torch.randn_like(chosen)

    conditioned(x, SETTING).square().sum().backward()
    assert chosen.grad is not None
    analytic = float((chosen.grad * direction).sum())

    def loss(step: float) -> float:
        with torch.no_grad():
            chosen.add_(step * direction)
            value = conditioned(x, SETTING).square().sum()
            chosen.sub_(step * direction)
        return float(value)

    step = 1e-5
    numeric = (loss(step) - loss(-step)) / (2 * step)
    assert numeric == pytest.approx(analytic, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(place=st.floats(0, 1), seed=st.integers(0, 100), name=st.sampled_from(sorted(MODULES)))
def test_at_first_every_setting_is_near_the_module_and_without_spread_it_is_the_module(
    place: float, seed: int, name: str
) -> None:
    module = made(name, seed).eval()
    x = torch.randn(6, 4)
    setting: Setting = {"regularization": place}
    with torch.no_grad():
        expected = module(x)
        same = hmopt.hypernetize(module, "regularization", spread=0)
        torch.testing.assert_close(same(x, setting), expected)
        weights = hmopt.hypernetize(module, "regularization", spread=0.01).weights(setting)
    for key, parameter in module.named_parameters():
        spread = float(parameter.detach().std(correction=0))
        change = (weights[key] - parameter).detach().abs().max()
        assert float(change) <= 0.1 * spread + 1e-6


def test_the_module_that_is_given_is_not_changed() -> None:
    module = made("tied")
    before = copy.deepcopy(module.state_dict())
    conditioned = hmopt.hypernetize(module, ["regularization"])
    conditioned(torch.randn(6, 4), SETTING).sum().backward()
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("2", ["2.weight", "2.bias"]),
        (["0.weight"], ["0.weight"]),
        (["*.bias"], ["0.bias", "2.bias", "3.bias"]),
        (nn.Linear, ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ([nn.Linear, "0.weight"], ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (None, ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"]),
    ],
)
def test_targets_are_names_modules_patterns_and_types(targets: Any, expected: list[str]) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.LayerNorm(4))
    conditioned = hmopt.hypernetize(module, ["regularization"], targets=targets)
    assert sorted(conditioned.names) == sorted(expected)
    learned = {name for name, one in conditioned.named_parameters() if one.requires_grad}
    others = {name for name, _ in module.named_parameters()} - set(expected)
    assert {f"module.{name}" for name in others} <= learned
    assert not {f"module.{name}" for name in expected} & learned


def test_other_parameters_learn_as_they_do_in_the_module() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    conditioned = hmopt.hypernetize(module, ["regularization"], targets="1", spread=0)
    x = torch.randn(5, 4)
    conditioned(x, SETTING).square().sum().backward()
    module(x).square().sum().backward()
    found = dict(conditioned.named_parameters())["module.0.weight"].grad
    torch.testing.assert_close(found, module[0].weight.grad)


@pytest.mark.parametrize("name", MODULES)
def test_a_state_is_restored_and_holds_no_weight_twice(name: str) -> None:
    conditioned = moved_apart(hmopt.hypernetize(made(name), ["regularization"]))
    state = conditioned.state_dict()
    assert not {f"module.{key}" for key in conditioned.names} & set(state)
    other = hmopt.hypernetize(made(name, seed=5), ["regularization"])
    other.load_state_dict(state)
    x = torch.randn(6, 4)
    conditioned.eval()
    other.eval()
    torch.testing.assert_close(other(x, SETTING), conditioned(x, SETTING))
    copied = copy.deepcopy(conditioned)
    torch.testing.assert_close(copied(x, SETTING), conditioned(x, SETTING))
    assert set(copied.state_dict()) == set(state)


def test_tied_weights_are_predicted_once_and_stay_tied() -> None:
    conditioned = moved_apart(
        hmopt.hypernetize(made("tied"), ["regularization"], targets=["second.weight"])
    )
    assert conditioned.names == ("first.weight",)
    baked = conditioned.bake(SETTING)
    assert isinstance(baked, Tied)
    assert baked.first.weight is baked.second.weight
    assert baked.first.weight.requires_grad


def test_two_hyperparameters_and_their_ranges() -> None:
    space = hmopt.Space(
        hyperparameters=(
            hmopt.Hyperparameter(name="regularization"),
            hmopt.Hyperparameter(name="label_weight", low=0.1, high=0.5, default=0.2),
        )
    )
    conditioned = moved_apart(hmopt.hypernetize(nn.Linear(4, 3), space))
    x = torch.randn(2, 4)
    one = conditioned(x, {"regularization": 0.2, "label_weight": 0.1})
    other = conditioned(x, {"label_weight": 0.5, "regularization": 0.2})
    assert not torch.allclose(one, other)
    with pytest.raises(DeclarationError):
        conditioned(x, {"regularization": 0.2, "label_weight": 0.9})


def test_running_statistics_are_shared_and_a_warning_says_so() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.warns(UserWarning, match=r"1 \(BatchNorm1d\): running statistics"):
        conditioned = hmopt.hypernetize(module, ["regularization"])
    x = torch.randn(20, 4) + 3
    conditioned(x, SETTING)
    statistics = conditioned.module.get_buffer("1.running_mean")
    assert statistics.abs().max() > 0
    assert torch.equal(conditioned.bake(SETTING).get_buffer("1.running_mean"), statistics)
    assert "module.1.running_mean" in conditioned.state_dict()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_precision(kind: torch.dtype) -> None:
    module = nn.Linear(4, 3).to(kind)
    conditioned = hmopt.hypernetize(module, ["regularization"])
    x = torch.randn(2, 4, dtype=kind)
    output = conditioned(x, SETTING)
    assert output.dtype == kind
    output.sum().backward()
    baked = conditioned.bake(SETTING)
    assert {parameter.dtype for parameter in baked.parameters()} == {kind}


class Odd(nn.Module):
    """Parameters that no hypernetwork predicts, beside one that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.empty = nn.Parameter(torch.zeros(0))
        self.whole = nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)
        self.complex = nn.Parameter(torch.ones(4, dtype=torch.complex64))
        self.plain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        """Use them all."""
        return x * self.plain * self.frozen * self.complex.real + self.whole.sum()


def test_parameters_that_cannot_be_predicted_stay_and_are_refused_as_targets() -> None:
    conditioned = hmopt.hypernetize(Odd(), ["regularization"])
    assert conditioned.names == ("plain",)
    assert conditioned(torch.ones(2, 4), SETTING).shape == (2, 4)
    assert conditioned.module.get_parameter("complex").requires_grad
    assert not conditioned.module.get_parameter("frozen").requires_grad
    for name in ("frozen", "empty", "whole", "complex"):
        with pytest.raises(HmoptError, match=name):
            hmopt.hypernetize(Odd(), ["regularization"], targets=[name])


class Nothing(nn.Module):
    """No parameters."""


def older_weight_norm() -> nn.Module:
    return torch.nn.utils.weight_norm(nn.Linear(2, 2))


def pruned() -> nn.Module:
    module = nn.Linear(2, 2)
    prune.random_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    return module


REFUSED: dict[str, Callable[[], Any]] = {
    "run": lambda: nn.Sequential(nn.LazyLinear(3)),
    "scripted": lambda: torch.jit.script(nn.Linear(2, 2)),
    "module": lambda: nn.DataParallel(nn.Linear(2, 2)),
    "compile": lambda: torch.compile(nn.Linear(2, 2)),
    "parametrizations": older_weight_norm,
    "pruning": pruned,
    "parameters to predict": Nothing,
    "torch.nn.Module": lambda: len,
    "Move": lambda: nn.Linear(2, 2, device="meta"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("word", REFUSED)
def test_modules_whose_weights_cannot_be_replaced_are_refused_by_name(word: str) -> None:
    with pytest.raises(HmoptError, match=word) as caught:
        hmopt.hypernetize(REFUSED[word](), ["regularization"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"targets": ["nowhere"]},
        {"targets": nn.Conv2d},
        {"targets": []},
        {"targets": [3]},
        {"hyperparameters": []},
        {"spread": -1},
        {"spread": float("nan")},
    ],
)
def test_arguments_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HmoptError):
        hmopt.hypernetize(nn.Linear(2, 2), **{"hyperparameters": ["regularization"], **options})


def test_a_call_without_a_setting_is_refused() -> None:
    conditioned = hmopt.hypernetize(nn.Linear(2, 2), ["regularization"])
    for inputs in ((), (torch.zeros(1, 2),)):
        with pytest.raises(HmoptError, match="setting"):
            conditioned(*inputs)


def test_what_is_predictable_is_listed_once() -> None:
    assert predictable(made("tied")) == ["first.weight", "first.bias", "second.bias"]
