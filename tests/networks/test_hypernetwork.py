from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from hmopt.networks import Hypernetwork, hypernetwork_operations
from hmopt.networks.hypernetwork import Heads

MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 2),
    "without biases": lambda: nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)
    ),
    "convolutions": lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 1, 1, bias=False)),
}


def predicted_by_numpy(
    module: nn.Module, hypernetwork: Hypernetwork, units: list[float]
) -> dict[str, np.ndarray]:
    """Return the module's own weights plus what the dense layers add at a setting, by name."""
    cosines = [np.cos(np.pi / 2 * unit) for unit in units]
    sines = [np.sin(np.pi / 2 * unit) for unit in units]
    hidden = np.array(cosines + sines)
    for layer in hypernetwork.trunk:
        tensors = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
        hidden = np.maximum(tensors["weight"] @ hidden + tensors["bias"], 0)
    flat = hypernetwork.heads.weight.detach().numpy() @ hidden
    expected = {}
    start = 0
    for name, weight in module.named_parameters():
        end = start + weight.numel()
        part = flat[start:end].reshape(weight.shape)
        expected[name] = weight.detach().numpy() + part
        start = end
    return expected


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("units", [[0.3], [0.0, 1.0], [0.2, 0.5, 0.9]])
@pytest.mark.parametrize("widths", [[], [4, 5]])
def test_first_weights_are_the_modules_own_and_what_the_setting_adds(
    name: str, units: list[float], widths: list[int]
) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    hypernetwork = Hypernetwork(module, len(units), widths)
    weights = hypernetwork(torch.tensor(units))
    expected = predicted_by_numpy(module, hypernetwork, units)
    assert list(weights) == list(expected)
    for key, weight in weights.items():
        np.testing.assert_allclose(weight.detach(), expected[key], atol=1e-6)


@pytest.mark.parametrize("name", MODULES)
def test_any_module_runs_with_predicted_weights(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    weights = Hypernetwork(module, 1, [4])(torch.tensor([0.4]))
    inputs = torch.rand(2, 1, 5) if name == "convolutions" else torch.rand(2, 3)
    called = functional_call(module, weights, (inputs,))
    module.load_state_dict(weights)
    torch.testing.assert_close(called, module(inputs))


def test_other_settings_give_other_weights_about_as_spread_as_the_modules() -> None:
    torch.manual_seed(0)
    module = nn.Linear(50, 40)
    hypernetwork = Hypernetwork(module, 1, [32, 64])
    low, high = (hypernetwork(torch.tensor([unit]))["weight"] for unit in (0.0, 1.0))
    spread = module.weight.std()
    assert 0.02 * spread < (high - low).std() < 0.5 * spread
    assert 0.8 * spread < low.std() < 1.5 * spread


def test_module_is_read_and_not_kept() -> None:
    module = nn.Linear(3, 2)
    hypernetwork = Hypernetwork(module, 1, [4])
    before = hypernetwork(torch.tensor([0.5]))["weight"].clone()
    nn.init.zeros_(module.weight)
    assert torch.equal(hypernetwork(torch.tensor([0.5]))["weight"], before)
    assert module.weight is not hypernetwork.base


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    hypernetwork = Hypernetwork(module, 2, [3]).double()
    inputs, names = (
        torch.rand(4, 2, dtype=torch.float64),
        list(dict(hypernetwork.named_parameters())),
    )

    def output(units: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        weights = functional_call(hypernetwork, dict(zip(names, tensors, strict=True)), (units,))
        result: torch.Tensor = functional_call(module, weights, (inputs,))
        return result

    units = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    tensors = [tensor.detach().clone().requires_grad_() for tensor in hypernetwork.parameters()]
    assert torch.autograd.gradcheck(output, (units, *tensors))


def test_a_hypernetwork_takes_two_operations_for_each_weight_of_its_layers() -> None:
    hypernetwork = Hypernetwork(nn.Linear(5, 3), hyperparameters=2, widths=[8, 16])
    assert hypernetwork_operations(hypernetwork) == 2 * (4 * 8 + 8 * 16 + 16 * (5 * 3 + 3))


def test_state_dictionaries_have_the_last_layer_as_torch_has_dense_layers() -> None:
    """What it adds is that of `nn.Linear`, and a state dictionary goes from one to the other."""
    heads = Heads(4, 9)
    nn.init.normal_(heads.transposed)
    linear = nn.Linear(4, 9, bias=False)
    linear.load_state_dict(heads.state_dict())
    hidden = torch.randn(3, 4)
    torch.testing.assert_close(heads(hidden), linear(hidden))
    assert heads.state_dict()["weight"].is_contiguous()

    other = Heads(4, 9)
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other.transposed, heads.transposed)
