"""An oracle that reads measurements out of a table."""

from collections.abc import Iterator, Sequence

from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements, pair_records
from hmopt.records import Block, Pair
from hmopt.space import Index, Space


class Tabulated:
    """An oracle that answers from measurements in memory, and only at the settings that they have.

    Parameters
    ----------
    measurements
        What it answers from.
    identity
        What it goes by; left out: the identity of the oracle that was measured.
    """

    def __init__(self, measurements: Measurements, identity: str | None = None) -> None:
        self._measurements = measurements
        self._identity = measurements.identity if identity is None else identity
        self._setting_places = {
            setting: place for place, setting in enumerate(measurements.settings)
        }
        self._pair_places = {pair: place for place, pair in enumerate(measurements.pairs["pair"])}

    @property
    def space(self) -> Space:
        """The hyperparameters that were measured."""
        return self._measurements.space

    @property
    def identity(self) -> str:
        """The identity of the oracle that was measured."""
        return self._identity

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that were measured."""
        return self._measurements.labels

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that were measured."""
        return tuple(pair_records(self._measurements.pairs))

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Give a block for each setting.

        Raises
        ------
        LedgerError
            If a setting, a pair or a metric was not measured.
        """
        names = tuple(pair.id for pair in pairs)
        places = [self._pair_place(name) for name in names]
        arrays = {metric: self._measurements.array(metric) for metric in metrics}
        for index in settings:
            here = self._setting_place(index)
            values = {metric: array[here, places] for metric, array in arrays.items()}
            yield Block(index=index, pairs=names, labels=self.labels, values=values)

    def _pair_place(self, name: str) -> int:
        if name not in self._pair_places:
            raise LedgerError(
                "pair",
                expected="one that was measured",
                got=name,
                advice="Measure it with the model.",
            )
        return self._pair_places[name]

    def _setting_place(self, index: Index) -> int:
        if index not in self._setting_places:
            raise LedgerError(
                "setting",
                expected=f"one of the {len(self._setting_places)} that were measured",
                got=self.space.setting(index),
                advice="Choose one of them, or measure it with the model.",
            )
        return self._setting_places[index]
