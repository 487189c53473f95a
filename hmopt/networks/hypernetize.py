"""Any module conditioned on hyperparameters: its weights are predicted from a setting."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from hmopt.errors import HmoptError
from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.space import Hyperparameter, Setting, Space

Target = str | type[nn.Module]
"""A name or a pattern of parameters or modules, or a type of modules."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WRAPPERS = {
    "ScriptModule": "Hypernetize the module before it is scripted.",
    "DataParallel": "Hypernetize its `module`, and wrap the result.",
    "DistributedDataParallel": "Hypernetize its `module`, and wrap the result.",
    "FullyShardedDataParallel": "Hypernetize the module before it is sharded.",
    "OptimizedModule": "Hypernetize the module, and compile the result.",
}
"""Modules that hold others in a form in which weights cannot be replaced, and what to do."""

OLDER_NORMS = (
    "torch.nn.utils.weight_norm",
    "torch.nn.utils.spectral_norm",
    "torch.nn.utils.prune",
)
"""Modules of torch that compute weights in a hook before each call."""


class HypernetizedModule(nn.Module):
    """A module some or all of whose parameters a hypernetwork predicts from a setting.

    `hypernetize` makes it. With g the module, θ its predicted and ψ its other parameters,

        output = g(inputs; h(setting), ψ)

    Its state has the hypernetwork's tensors under `hypernetwork.`, and ψ and the buffers under
    `module.`.

    Parameters
    ----------
    module
        g; it is kept, and its predicted parameters no longer learn by themselves.
    space
        The hyperparameters.
    names
        The predicted parameters.
    widths
        Outputs of each dense layer of the hypernetwork.
    spread
        How far from its start a setting moves a weight at first, in standard deviations of its
        tensor.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> layer = nn.Linear(3, 2)
    >>> conditioned = HypernetizedModule(layer, space, ["weight"], widths=[8], spread=0.05)
    >>> weights = conditioned.weights({"regularization": 0.3})
    >>> [(name, tuple(tensor.shape)) for name, tensor in weights.items()]
    [('weight', (2, 3))]
    """

    def __init__(
        self,
        module: nn.Module,
        space: Space,
        names: Sequence[str],
        widths: Sequence[int],
        spread: float,
    ) -> None:
        super().__init__()
        self.space = space
        self.names = tuple(names)
        self.hypernetwork = Hypernetwork(
            module, len(space.hyperparameters), widths, names=names, spread=spread
        )
        parameters = dict(module.named_parameters())
        self._types = {name: parameters[name].dtype for name in names}
        is_double = torch.float64 in self._types.values()
        device = parameters[self.names[0]].device
        self.hypernetwork.to(device, torch.float64 if is_double else torch.float32)
        for name in names:
            parameters[name].requires_grad_(False)
        self.module = module
        self.register_state_dict_post_hook(_leave_predicted_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_predicted_in)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> "HypernetizedModule":
        """Return a copy, also where the module keeps outputs of an earlier call."""
        return deep_copy(self, memo)

    def weights(self, setting: Setting) -> dict[str, Tensor]:
        """Predict the parameters θ at a setting, by name.

        Raises
        ------
        DeclarationError
            If the setting is not of the module's space.
        """
        places = self.space.to_unit_interval(setting)
        base = self.hypernetwork.base
        inputs = torch.tensor(places, dtype=base.dtype, device=base.device)
        predicted: dict[str, Tensor] = self.hypernetwork(inputs)
        return {name: tensor.to(self._types[name]) for name, tensor in predicted.items()}

    def forward(self, *inputs: Any, setting: Setting | None = None, **options: Any) -> Any:
        """Return what the module returns with the weights of a setting.

        Parameters
        ----------
        *inputs, **options
            Those of the module.
        setting
            A value for each hyperparameter; it can also stand last among the inputs.

        Raises
        ------
        HmoptError
            If no setting is given.
        """
        if setting is None:
            *inputs_alone, last = inputs or [None]
            if not isinstance(last, Mapping):
                raise HmoptError(
                    "setting",
                    expected="a value for each hyperparameter, as the last input",
                    got=type(last).__name__,
                    advice='Call module(inputs, {"regularization": 0.3}).',
                )
            inputs, setting = tuple(inputs_alone), dict(last)
        return functional_call(self.module, self.weights(setting), inputs, options)

    def bake(self, setting: Setting) -> nn.Module:
        """Return an ordinary module with the weights of a setting, all of which can be trained."""
        module = copied_module(self.module)
        with torch.no_grad():
            assign(module, self.weights(setting))
        for name, parameter in module.named_parameters():
            if name in self._types:
                parameter.requires_grad_(True)
        return module


def _leave_predicted_out(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: object
) -> None:
    """Take what the hypernetwork predicts out of a state, under all names of tied weights."""
    assert isinstance(module, HypernetizedModule)
    for name in _aliases(module):
        state.pop(f"{prefix}module.{name}", None)


def _put_predicted_in(
    module: nn.Module, state: dict[str, Any], prefix: str, *others: object
) -> None:
    """Complete a state by parameters that are predicted anyway."""
    assert isinstance(module, HypernetizedModule)
    for name, parameter in _aliases(module).items():
        state.setdefault(f"{prefix}module.{name}", parameter)


def _aliases(module: HypernetizedModule) -> dict[str, Tensor]:
    """Return the predicted parameters under all their names."""
    every = dict(module.module.named_parameters(remove_duplicate=False))
    predicted = {id(every[name]) for name in module.names}
    return {name: tensor for name, tensor in every.items() if id(tensor) in predicted}


def hypernetize(
    module: nn.Module,
    hyperparameters: Space | Sequence[Hyperparameter | str] | Hyperparameter | str,
    *,
    targets: Iterable[Target] | Target | None = None,
    widths: Sequence[int] = (32, 64, 8),
    spread: float = 0.05,
) -> HypernetizedModule:
    """Return a module that takes a setting besides its inputs, and predicts its weights from it.

    The module is copied; its weights are where those of every setting start. What happens to parts
    of it:

    - Tied parameters are predicted once and stay tied.
    - Parametrizations (`torch.nn.utils.parametrizations.weight_norm`): what they are computed from
      is predicted.
    - Parameters that do not require gradients, are empty, or are not real floating-point numbers
      stay as they are; naming one of them as a target is refused.
    - Buffers are shared by all settings. Running statistics (`BatchNorm`) then mix those of all
      settings that were trained on, of which a warning tells.
    - Lazy modules that were not run yet, scripted, compiled or parallel ones, and the older
      `torch.nn.utils.weight_norm`, are refused.

    Parameters
    ----------
    module
        Any module, as one trained before.
    hyperparameters
        A `hmopt.Space`, or hyperparameters; of a name alone the range is [0, 1].
    targets
        Which parameters are predicted: names, as `decoder.0.weight`; names of modules, as
        `decoder`; patterns, as `decoder.*.weight`; and types of modules, as `nn.Conv3d`. None: all
        that can be. The others are ordinary parameters of the result.
    widths
        Outputs of each dense layer of the hypernetwork.
    spread
        How far a setting moves a weight at first, in standard deviations of its tensor; 0: at first
        every setting gives the module itself. A hypermorph of hmopt starts at 0.5.

    Returns
    -------
    HypernetizedModule
        Called as `result(*inputs, setting)`; `result.bake(setting)` is an ordinary module.

    Raises
    ------
    HmoptError
        If the module or a target cannot be handled; it is named.

    References
    ----------
    Ha et al., ICLR 2017; Hoopes et al., MELBA 2022, section 3.1.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> conditioned = hypernetize(network, ["regularization"], targets=["2"])
    >>> output = conditioned(torch.ones(1, 3), {"regularization": 0.3})
    >>> torch.equal(conditioned.bake({"regularization": 0.3})(torch.ones(1, 3)), output)
    True
    """
    space = _space(hyperparameters)
    if not 0 <= spread <= 10:
        raise _refused("spread", "a number in [0, 10]", spread, "Correct the value.")
    check_module(module)
    names = _targeted(module, targets)
    devices = {str(parameter.device) for parameter in _chosen(module, names).values()}
    if len(devices) > 1 or "meta" in devices:
        got = ", ".join(sorted(devices))
        raise _refused("module", "parameters on one device", got, "Move the module first.")
    statistics = _with_running_statistics(module)
    if statistics:
        warnings.warn(
            f"{', '.join(statistics)}: running statistics are shared by all settings; in eval mode "
            "they are those of a mixture. Use GroupNorm or InstanceNorm where settings differ much.",
            stacklevel=2,
        )
    try:
        copied = copied_module(module)
    except Exception as error:  # whatever keeps a module from being copied
        raise _refused(
            "module",
            "a module that can be copied",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Remove what it keeps of earlier calls.",
        ) from error
    return HypernetizedModule(copied, space, names, widths, spread)


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copied_module(module: ModuleT) -> ModuleT:
    """Return a copy of a module, also of one that keeps outputs of an earlier call.

    Torch copies no tensor that was computed with gradients; such ones are copied without them.
    """
    return copy.deepcopy(module, _computed(module))


def deep_copy(module: ModuleT, memo: dict[int, Any]) -> ModuleT:
    """Return what the `__deepcopy__` of a module does that holds one of the user."""
    memo.update(_computed(module))
    copied = type(module).__new__(type(module))
    memo[id(module)] = copied
    copied.__dict__.update(copy.deepcopy(module.__dict__, memo))
    return copied


def _computed(module: nn.Module) -> dict[int, Any]:
    """Return what stands for tensors that a module keeps of earlier calls, as `deepcopy` takes it."""
    computed: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                computed[id(value)] = value.detach().clone()
    return computed


def assign(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy values into parameters of a module, which keep their ties."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def predictable(module: nn.Module) -> list[str]:
    """Return the names of the parameters that a hypernetwork can predict, tied ones once.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.bias.requires_grad_(False)
    >>> predictable(layer)
    ['weight']
    """
    named = module.named_parameters()
    return [name for name, parameter in named if _obstacle(parameter) is None]


def _obstacle(parameter: nn.Parameter) -> str | None:
    """Return why a parameter cannot be predicted, or None."""
    if parameter.dtype not in FLOATS:
        return f"of type {str(parameter.dtype).removeprefix('torch.')}"
    if not parameter.requires_grad:
        return "which is frozen"
    if parameter.numel() == 0:
        return "which is empty"
    return None


def check_module(module: nn.Module) -> None:
    """Refuse a module whose weights cannot be replaced from outside.

    Raises
    ------
    HmoptError
        With the name of the part that is in the way.
    """
    if not isinstance(module, nn.Module):
        got = type(module).__name__
        raise _refused("module", "a torch.nn.Module", got, "Give the network itself.")
    for name, part in module.named_modules():
        where = f"module.{name}" if name else "module"
        kinds = [kind.__name__ for kind in type(part).__mro__]
        for wrapper, advice in WRAPPERS.items():
            if wrapper in kinds:
                raise _refused(where, "an ordinary module", f"a {wrapper}", advice)
        tensors = [*part._parameters.values(), *part._buffers.values()]
        if any(
            isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors
        ):
            advice = "Run it once on an input, then hypernetize it."
            got = f"{type(part).__name__}, whose shapes are not known yet"
            raise _refused(where, "a module that was run", got, advice)
        for hook in part._forward_pre_hooks.values():
            kind = type(hook)
            if kind.__module__.startswith(OLDER_NORMS):
                raise _refused(
                    where,
                    "weights that are parameters",
                    f"those that {kind.__name__} computes before each call",
                    "Use torch.nn.utils.parametrizations, or remove the norm or the pruning.",
                )


def _with_running_statistics(module: nn.Module) -> list[str]:
    found = []
    for name, part in module.named_modules():
        if getattr(part, "running_mean", None) is not None:
            found.append(f"{name or 'module'} ({type(part).__name__})")
    return found


def _space(
    hyperparameters: Space | Sequence[Hyperparameter | str] | Hyperparameter | str,
) -> Space:
    if isinstance(hyperparameters, Space):
        space = hyperparameters
    else:
        listed = (
            [hyperparameters]
            if isinstance(hyperparameters, str | Hyperparameter)
            else list(hyperparameters)
        )
        made = [Hyperparameter(name=one) if isinstance(one, str) else one for one in listed]
        space = Space(hyperparameters=tuple(made))
    if not space.hyperparameters:
        advice = 'Name some, as ["regularization"].'
        raise _refused("hyperparameters", "at least one", "none", advice)
    return space


def _targeted(module: nn.Module, targets: Iterable[Target] | Target | None) -> list[str]:
    """Return the names of the parameters to predict, each once, in the module's order."""
    if targets is None:
        names = predictable(module)
        if not names:
            got = "none"
            advice = "Give a module with parameters that require gradients."
            raise _refused("module", "floating-point parameters to predict", got, advice)
        return names
    listed = [targets] if isinstance(targets, str | type) else list(targets)
    if not listed:
        raise _refused("targets", "at least one", "none", "Leave it out for all parameters.")
    first_name = {}
    for name, parameter in module.named_parameters():
        first_name[id(parameter)] = name
    chosen: dict[str, None] = {}
    for target in listed:
        matching = _matching(module, target)
        for name, parameter in matching.items():
            obstacle = _obstacle(parameter)
            if obstacle is None:
                chosen[first_name[id(parameter)]] = None
            elif target == name:
                advice = "Leave it out, or make it a parameter that is trained."
                expected = "parameters that can be predicted"
                raise _refused("targets", expected, f"{name}, {obstacle}", advice)
        possible = [name for name, parameter in matching.items() if _obstacle(parameter) is None]
        if not possible:
            known = ", ".join(predictable(module)[:8])
            told = target if isinstance(target, str) else target.__name__
            advice = "Correct the name, or leave targets out for all of them."
            raise _refused("targets", f"names of parameters ({known})", repr(told), advice)
    return [name for name in first_name.values() if name in chosen]


def _matching(module: nn.Module, target: Target) -> dict[str, nn.Parameter]:
    """Return the parameters that a target stands for, by all their names."""
    every = dict(module.named_parameters(remove_duplicate=False))
    if isinstance(target, str):
        inside = f"{target}."
        return {
            name: parameter
            for name, parameter in every.items()
            if fnmatchcase(name, target) or name.startswith(inside)
        }
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        advice = "Name parameters or modules, or give types of modules."
        raise _refused("targets", "names and types of modules", repr(target), advice)
    return dict(_of_type(module, target))


def _of_type(module: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, kind):
            dotted = f"{prefix}." if prefix else ""
            for name, parameter in part.named_parameters(remove_duplicate=False):
                yield f"{dotted}{name}", parameter


def _chosen(module: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    parameters = dict(module.named_parameters())
    return {name: parameters[name] for name in names}


def _refused(field: str, expected: str, got: object, advice: str) -> HmoptError:
    return HmoptError(field, expected=expected, got=got, advice=advice)
