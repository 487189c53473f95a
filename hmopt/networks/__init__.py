"""The registration network, the hypernetwork that predicts its weights, and their files."""

from hmopt.networks.checkpoint import FORMAT as HYPERMORPH_FORMAT
from hmopt.networks.checkpoint import (
    architecture,
    build_hypermorph,
    load_hypermorph,
    read_header,
    save_hypermorph,
    trained_part,
    unshared,
)
from hmopt.networks.custom import CustomNetwork, check_network, make_registration
from hmopt.networks.hypermorph import Hypermorph, hypermorph_hash
from hmopt.networks.hypernetize import HypernetizedModule, hypernetize
from hmopt.networks.hypernetwork import Hypernetwork, hypernetwork_operations
from hmopt.networks.registration import (
    RegistrationNetwork,
    check_architecture,
    coarsest_stride,
    registration_operations,
    velocity_stride,
)
from hmopt.networks.separate import FORMAT as NETWORK_FORMAT
from hmopt.networks.separate import SeparateNetwork, load_network, save_network
from hmopt.networks.unet import SLOPE

__all__ = [
    "HYPERMORPH_FORMAT",
    "NETWORK_FORMAT",
    "SLOPE",
    "CustomNetwork",
    "Hypermorph",
    "HypernetizedModule",
    "Hypernetwork",
    "RegistrationNetwork",
    "SeparateNetwork",
    "architecture",
    "build_hypermorph",
    "check_architecture",
    "check_network",
    "coarsest_stride",
    "hypermorph_hash",
    "hypernetize",
    "hypernetwork_operations",
    "load_hypermorph",
    "load_network",
    "make_registration",
    "read_header",
    "registration_operations",
    "save_hypermorph",
    "save_network",
    "trained_part",
    "unshared",
    "velocity_stride",
]
