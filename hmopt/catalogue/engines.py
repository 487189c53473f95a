"""The registration programs that there is an adaptor for."""

from dataclasses import dataclass

from hmopt.catalogue import references
from hmopt.catalogue.references import Reference
from hmopt.errors import DeclarationError


@dataclass(frozen=True, kw_only=True)
class EngineProgram:
    """A registration program that `[model] engine` can name.

    To add one, write its adaptor, a module as those in `hmopt.interop.engines`, and a record here.

    Parameters
    ----------
    name
        What `study.toml` calls it; also the optional extra that installs it.
    title
        What text and plots call it.
    module
        Dotted path of the adaptor: `SPACE`, `OPTIONS` and `register`.
    package
        The distribution whose version is a part of what was measured.
    imports
        The module that this distribution installs.
    dimensions
        Of images that it takes: 2, 3 or both.
    seconds_per_voxel
        At its defaults on one core, roughly; for estimates.
    references
        What a paper cites that used it.
    """

    name: str
    title: str
    module: str
    package: str
    imports: str
    dimensions: tuple[int, ...]
    seconds_per_voxel: float
    references: tuple[Reference, ...] = ()

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'hmopt[{self.name}]'"


ENGINES: dict[str, EngineProgram] = {
    program.name: program
    for program in (
        EngineProgram(
            name="ants",
            title="ANTs",
            module="hmopt.interop.engines.ants",
            package="antspyx",
            imports="ants",
            dimensions=(2, 3),
            seconds_per_voxel=6e-6,
            references=(references.ANTS,),
        ),
        EngineProgram(
            name="elastix",
            title="elastix",
            module="hmopt.interop.engines.elastix",
            package="itk-elastix",
            imports="itk",
            dimensions=(2, 3),
            seconds_per_voxel=1e-4,
            references=(references.ELASTIX,),
        ),
        EngineProgram(
            name="convexadam",
            title="ConvexAdam",
            module="hmopt.interop.engines.convexadam",
            package="convexAdam",
            imports="convexAdam",
            dimensions=(3,),
            seconds_per_voxel=1.7e-5,
            references=(references.CONVEXADAM,),
        ),
    )
}
"""All programs with an adaptor, by name."""


def find_engine_program(name: str) -> EngineProgram:
    """Return the record of a program.

    Raises
    ------
    DeclarationError
        If there is no adaptor of that name.

    Examples
    --------
    >>> find_engine_program("ants").dimensions
    (2, 3)
    """
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise DeclarationError(
            "model.engine", expected=f"one of {known}", got=repr(name), advice="Correct the name."
        )
    return ENGINES[name]
