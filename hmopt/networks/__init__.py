"""The registration network, the hypernetwork that predicts its weights, both together, and their files."""

from hmopt.networks.checkpoint import (
    architecture,
    build_hypermorph,
    load_hypermorph,
    read_header,
    save_hypermorph,
    trained_part,
)
from hmopt.networks.hypermorph import Hypermorph
from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.networks.registration import RegistrationNetwork, check_architecture, coarsest_stride

__all__ = [
    "Hypermorph",
    "Hypernetwork",
    "RegistrationNetwork",
    "architecture",
    "build_hypermorph",
    "check_architecture",
    "coarsest_stride",
    "load_hypermorph",
    "read_header",
    "save_hypermorph",
    "trained_part",
]
