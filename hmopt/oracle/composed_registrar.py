"""Two image files registered by one field in which every structure has a setting of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.data.image import resample_labels
from hmopt.errors import CheckpointError, DataError
from hmopt.interop.model import check_shapes
from hmopt.interop.own_model import HypermorphModel
from hmopt.interop.preparation import PreparedPair
from hmopt.interop.refined_model import RefinedModel
from hmopt.interop.registration import Registrar
from hmopt.networks import RegistrationNetwork
from hmopt.oracle.composed import Composition, check_structures, check_velocity
from hmopt.oracle.structure_maps import (
    FixedMaps,
    Frequencies,
    FrequencyMaps,
    MovingMaps,
    StructureMaps,
)
from hmopt.space import Index, Setting
from hmopt.spatial import image_tensor, label_tensor

Side = Literal["fixed", "moving"]


@dataclass(frozen=True, kw_only=True)
class GivenLabels:
    """A label map of one of the two files.

    Parameters
    ----------
    path
        The label map, on the voxels of its image.
    side
        Whose it is.
    codes
        By structure: its codes in the label map.
    """

    path: Path
    side: Side
    codes: Mapping[str, tuple[int, ...]]

    def prepared(self, pair: PreparedPair) -> list[NDArray[np.unsignedinteger]]:
        """Return the label map on the prepared grids, one for each slice.

        Raises
        ------
        DataError
            If the file cannot be read, or lies on another grid than its image.
        """
        items = pair.fixed if self.side == "fixed" else pair.moving
        label_maps = resample_labels(self.path, items, dict(self.codes), minimum_voxels=0)
        if not any(label_map.any() for label_map in label_maps):
            known = {name: list(codes) for name, codes in self.codes.items()}
            raise DataError(
                str(self.path),
                expected=f"codes of structures of the study ({known})",
                got="none of them",
                advice="Use a label map like those of the cohort.",
            )
        return label_maps


class ComposedRegistrar(Registrar):
    """A hypermorph, ready for two files, whose structures have settings of their own.

    `register` takes the common setting, of the background and of all other structures.

    Parameters
    ----------
    registrar
        The model and how images are prepared for it.
    structures
        By name of a structure: its setting.
    maps
        Where the structures are.
    labels
        The label map that the maps are made from; None where they need none.

    Raises
    ------
    CheckpointError
        If the model is none whose velocities can be blended, or registrations are refined.
    DeclarationError
        If a structure is unknown, or the model predicts displacements.
    """

    def __init__(
        self,
        registrar: Registrar,
        structures: Mapping[str, Setting],
        maps: StructureMaps,
        labels: GivenLabels | None = None,
    ) -> None:
        model = registrar.model
        if isinstance(model, RefinedModel):
            raise CheckpointError(
                "--per-structure",
                expected="registrations that are not refined",
                got="refined ones",
                advice="Add --refine 0, or register each structure separately with --label.",
            )
        if not isinstance(model, HypermorphModel):
            title = getattr(model, "title", "an engine, which gives no velocities")
            raise CheckpointError(
                "--per-structure",
                expected="a hypermorph of hmopt, whose velocities can be blended",
                got=title,
                advice="Register each structure separately with --label.",
            )
        super().__init__(model, registrar.preparation)
        check_structures(structures, maps.labels)
        self._hypermorph = model
        self._structures = {name: model.space.index(one) for name, one in structures.items()}
        self._maps = maps
        self._labels = labels
        check_velocity(model.registration_network(model.space.default))

    def displacements(
        self, prepared: PreparedPair, setting: Setting
    ) -> Sequence[NDArray[np.floating]]:
        """Return the displacement of each prepared slice, or of the whole image, (d, *shape)."""
        return self._integrated(prepared, setting, sign=1)

    def inverse_displacements(
        self, prepared: PreparedPair, setting: Setting
    ) -> Sequence[NDArray[np.floating] | None]:
        """Return the flow of the negative velocity for each of them."""
        return self._integrated(prepared, setting, sign=-1)

    @torch.inference_mode()
    def _integrated(
        self, prepared: PreparedPair, setting: Setting, sign: Literal[1, -1]
    ) -> list[NDArray[np.floating]]:
        label_maps: Sequence[NDArray[np.unsignedinteger] | None] = [None] * len(prepared.fixed)
        if self._labels is not None:
            label_maps = self._labels.prepared(prepared)
        common = self.space.index(setting)
        composition = Composition(
            network_of=self._network, structures=self._structures, maps=self._maps
        )
        network = self._network(common)
        displacements: list[NDArray[np.floating]] = []
        items = zip(prepared.moving, prepared.fixed, label_maps, strict=True)
        for moving, fixed, label_map in items:
            check_shapes(moving.data, fixed.data, self._hypermorph.shape, self._hypermorph.stride)
            images = (self._tensor(moving.data), self._tensor(fixed.data))
            labels = self._side(label_map)
            velocity = composition.velocity(common, images, slices=[fixed.slice], **labels)
            displacement = network.displacement(sign * velocity)[0]
            displacements.append(displacement.cpu().numpy())
        return displacements

    def _side(self, label_map: NDArray[np.unsignedinteger] | None) -> dict[str, Tensor]:
        """Return a label map under the name of its side; nothing where there is none."""
        if self._labels is None or label_map is None:
            return {}
        tensor = label_tensor([label_map]).to(self._hypermorph.device)
        return {f"{self._labels.side}_labels": tensor}

    def _network(self, index: Index) -> RegistrationNetwork:
        return self._hypermorph.registration_network(self.space.setting(index))

    def _tensor(self, image: NDArray[np.float32]) -> Tensor:
        return image_tensor([image]).to(self._hypermorph.device)


def compose_registrar(
    registrar: Registrar,
    structures: Mapping[str, Setting],
    frequencies: Frequencies,
    width: float,
    fixed_labels: Path | None = None,
    moving_labels: Path | None = None,
) -> ComposedRegistrar:
    """Return a registrar with a setting for each structure, by what is known of the two files.

    Parameters
    ----------
    registrar
        The model and how images are prepared for it.
    structures
        By name of a structure: its setting.
    frequencies
        Of the training subjects, with names and codes of the structures.
    width
        Standard deviation of the Gaussian that smooths maps, in voxels of the prepared grid.
    fixed_labels, moving_labels
        A label map of one of the files; neither: the frequencies tell where structures are.

    Raises
    ------
    HmoptError
        If the model's velocities cannot be blended, or there are no maps.
    """
    maps: StructureMaps
    labels = None
    if fixed_labels is not None:
        maps = FixedMaps(frequencies.labels, width)
        labels = GivenLabels(path=fixed_labels, side="fixed", codes=frequencies.codes)
    elif moving_labels is not None:
        maps = MovingMaps(frequencies.labels, width)
        labels = GivenLabels(path=moving_labels, side="moving", codes=frequencies.codes)
    else:
        maps = FrequencyMaps(frequencies, width)
    return ComposedRegistrar(registrar, structures, maps, labels)
