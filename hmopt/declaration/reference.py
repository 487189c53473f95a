"""The guide to `study.toml`, generated from the declaration itself.

`python -m hmopt.declaration.reference > docs/reference/study-file.md` writes it.
"""

import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from hmopt.declaration.document import field_meaning, table_meaning, toml_value
from hmopt.declaration.options import OneOf, Options
from hmopt.declaration.study import Study

INTRODUCTION = """# `study.toml`, key by key

`hmopt new` writes the keys that are relevant to a study, each with a comment. You can edit all values
and add any key of this page; omitted keys take their defaults. Only `name`, `[cohort]`,
`[preprocessing]` and `[split]` are required. Paths are relative to the study folder and may contain
environment variables, such as `${DATA}/brains`. Unknown keys are errors. Former names of keys are
still read, with a warning that gives the new name.
"""

EXAMPLES = {
    "cohort": """
        [cohort]
        manifest = "cohort.csv"
        label_names = "dseg.tsv"
        structures = { thalamus = ["Left-Thalamus", "Right-Thalamus"], "brain stem" = ["Brain-Stem"] }
        minimum_voxels = 20
    """,
    "preprocessing": """
        [preprocessing]
        shape = [160, 192, 160]
        spacing_mm = [1.0, 1.0, 1.0]
        normalization = "percentile"
        placement = "affine"
        template = "sub-01_T1w" # all other images are aligned to it
    """,
    "preprocessing.slices": """
        [preprocessing.slices]
        axis = 1 # coronal
        indices = [3, 4, 5]
        search_indices = [4]
    """,
    "split": """
        [split]
        train = 14
        tune = 2
        search = ["sub-1003", "sub-1004", "sub-1005", "sub-1018", "sub-1107"]
    """,
    "pairs": """
        [pairs]
        tasks = ["cross", "within"]
        same = ["modality"] # T1 to T1, T2 to T2
        search = 200
    """,
    "model": """
        [model] # trained in another study folder
        source = "study"
        path = "../brains"

        # Or an engine, named in one of three ways:
        # source = "engine"
        # engine = "ants"
        # callable = "mine.py:register"
        # command = "demons {moving} {fixed} {output} --sigma {sigma}"

        # Or no model: the loss of each pair is minimized directly.
        # source = "optimize"
    """,
    "network": """
        [network] # half the resolution, for volumes
        encoder = [16, 32, 32, 32]
        decoder = [32, 32, 32]
        stride = 2

        # Or a custom network:
        # callable = "network.py:make_network"
        # options = { depth = 3 }
    """,
    "hypernetwork": """
        [hypernetwork]
        widths = [32, 64, 8]
    """,
    "hyperparameters.NAME": """
        [hyperparameters.regularization] # λ
        default = 0.5

        [hyperparameters.label_weight] # γ
        low = 0.0
        high = 0.9
    """,
    "loss": """
        [loss]
        similarity = "lncc"
        window = 9
        regularizer = "gradient"
    """,
    "training": """
        [training]
        steps = 20000
        batch = 4
        learning_rate = 2e-3
    """,
    "training.augmentation": """
        [training.augmentation]
        rotation_degrees = 5.0
        scaling = 0.03
        flip_axis = 0
    """,
    "refine": """
        [refine]
        iterations = 25
    """,
    "search": """
        [search]
        metric = "dice"
        scopes = [["cohort"], ["label"], ["age"], ["label", "age"]]
        bins = { age = [40, 60] } # three groups
    """,
    "compare": """
        [compare]
        values = { regularization = [0.1, 0.3, 0.5, 0.7, 0.9] }
        seeds = 3
    """,
    "report": """
        [report]
        title = "hypermorph"
        choices = ["tuned", "default"]
        # Other studies of the same pairs, by path:
        # beside = ["../ants", "../convexadam"]
    """,
    "report.beside": """
        [[report.beside]] # one table per method
        path = "../ants"
        title = "ANTs SyN"
        choices = ["default"]
    """,
}
"""A table of each kind, as a study could declare it."""


def reference() -> str:
    """Return the guide as Markdown: a table for each table of the file, with key, values, default and meaning.

    Examples
    --------
    >>> reference().splitlines()[0]
    '# `study.toml`, key by key'
    """
    lines = [INTRODUCTION, *_lines(Study, "")]
    return "\n".join(lines)


def example(table: str) -> str:
    """Return an example of a table as TOML; empty where there is none.

    Examples
    --------
    >>> print(example("hypernetwork"))
    [hypernetwork]
    widths = [32, 64, 8]
    """
    text = EXAMPLES.get(table, "")
    lines = text.strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _lines(options: type[Options], path: str) -> Iterator[str]:
    inner: dict[str, type[Options]] = {}
    repeated: dict[str, type[Options]] = {}  # tables that can occur several times
    yield "| key | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in options.model_fields.items():
        if name in options.computed:
            continue
        found = _inner_table(field)
        if found is None:
            values = allowed_values(field.annotation, field.metadata)
            meaning = field_meaning(field)
            yield f"| `{name}` | {values} | {_default(field)} | {meaning} |"
        elif get_origin(field.annotation) is dict:
            inner[f"{path}{name}.NAME"] = found
        elif get_origin(field.annotation) is list:
            repeated[f"{path}{name}"] = found
        else:
            inner[f"{path}{name}"] = found
    yield ""
    heads = {name: f"[{name}]" for name in inner} | {name: f"[[{name}]]" for name in repeated}
    for name, table in {**inner, **repeated}.items():
        yield from (f"## `{heads[name]}`", "", table_meaning(table), "")
        shown = example(name)
        if shown:
            yield from ("```toml", *shown.splitlines(), "```", "")
        yield from _lines(table, f"{name}.")


def _inner_table(field: FieldInfo) -> type[Options] | None:
    """Return the options of a field that is a table, or several by name."""
    for one in (field.annotation, *get_args(field.annotation)):
        if isinstance(one, type) and issubclass(one, Options):
            return one
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    return f"`{toml_value(field.default)}`"


def allowed_values(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """Return what a key accepts, as Markdown, from its type and the constraints beside it.

    Parameters
    ----------
    annotation
        The type.
    constraints
        What `Annotated` and `Field` add to it: bounds, lengths, names.

    Examples
    --------
    >>> allowed_values(Literal["cross", "within"] | None)
    '`"cross"`, `"within"`'
    >>> allowed_values(Annotated[list[float], annotated_types.MinLen(2), annotated_types.MaxLen(3)])
    'list of numbers (2 to 3)'
    >>> allowed_values(int, [annotated_types.Ge(1), annotated_types.Le(4096)])
    'integer in [1, 4096]'
    """
    origin = get_origin(annotation)
    inner = get_args(annotation)
    if origin is Annotated:
        plain, *further = inner
        return allowed_values(plain, [*further, *constraints])
    known = _flat(constraints)
    names = [one for one in known if isinstance(one, OneOf)]
    if names and annotation is str:
        return _words(names[0].names)
    if origin is Literal:
        return _words(inner)
    if origin in (Union, types.UnionType):
        options = [one for one in inner if one is not types.NoneType]
        if bool in options and str in options:
            return "any value"
        kinds = [allowed_values(one, known) for one in options]
        return ", or ".join(kinds)
    if origin is list:
        length = _length(known)
        entries = allowed_values(inner[0], names)
        return f"list of {_plural(entries)}{length}"
    if origin is dict:
        entries = allowed_values(inner[1])
        return f"table: names to {_plural(entries)}"
    return _plain_values(annotation, known)


def _plural(values: str) -> str:
    """Return what a list or table accepts: `integer ≥ 1` becomes `integers ≥ 1`."""
    for word in ("integer", "number", "path", "list", "any value"):
        if values.startswith(word):
            return values.replace(word, f"{word}s", 1)
    return values


def _words(words: Iterable[str]) -> str:
    marked = [f"`{toml_value(word)}`" for word in words]
    return ", ".join(marked)


def _flat(constraints: Sequence[Any]) -> list[Any]:
    """Return constraints, those inside of `Field(…)` among them."""
    found = []
    for one in constraints:
        found += one.metadata if isinstance(one, FieldInfo) else [one]
    return found


def _plain_values(annotation: Any, constraints: Sequence[Any]) -> str:
    if annotation is bool:
        return "`true`, `false`"
    if annotation is str:
        return "text"
    if annotation is Path:
        return "path"
    if annotation is int:
        return f"integer{_bounds(constraints, smallest_step=1)}"
    return f"number{_bounds(constraints, smallest_step=0)}"


def _bounds(constraints: Sequence[Any], smallest_step: int) -> str:
    """Return the range of a number, as ` in (0, 1]`, ` ≥ 0` or ` > 0`.

    That of an integer is closed, as ` in [1, 4096]`.
    """
    low, high = "", ""
    for one in constraints:
        if isinstance(one, annotated_types.Ge):
            low = f"[{_number(one.ge)}"
        elif isinstance(one, annotated_types.Gt) and smallest_step:
            low = f"[{_number(one.gt + smallest_step)}"  # type: ignore[operator]
        elif isinstance(one, annotated_types.Gt):
            low = f"({_number(one.gt)}"
        elif isinstance(one, annotated_types.Le):
            high = f"{_number(one.le)}]"
        elif isinstance(one, annotated_types.Lt):
            high = f"{_number(one.lt)})"
    if low and high:
        return f" in {low}, {high}"
    if high:
        return f" {'≤' if high.endswith(']') else '<'} {high[:-1]}"
    if low:
        return f" {'≥' if low.startswith('[') else '>'} {low[1:]}"
    return ""


def _number(bound: Any) -> str:
    """Return a bound; large powers of ten and of two are written as such."""
    for base in (10, 2):
        for exponent in range(5 if base == 10 else 20, 65):
            if bound == base**exponent:
                return f"{base}^{exponent}"
            if bound == base**exponent - 1:
                return f"{base}^{exponent} - 1"
    return f"{bound:g}"


def _length(constraints: Sequence[Any]) -> str:
    shortest = [one.min_length for one in constraints if isinstance(one, annotated_types.MinLen)]
    longest = [one.max_length for one in constraints if isinstance(one, annotated_types.MaxLen)]
    if shortest and longest:
        return f" ({shortest[0]} to {longest[0]})"
    if shortest:
        return f" (at least {shortest[0]})"
    if longest:
        return f" (at most {longest[0]})"
    return ""


if __name__ == "__main__":
    print(reference(), end="")
