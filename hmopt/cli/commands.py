"""The commands: each parses its arguments, calls the function of `hmopt` with its name, and prints the outcome."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

import hmopt
from hmopt.cli.conversation import INPUT_ERROR, conversation
from hmopt.errors import DeclarationError
from hmopt.progress import duration
from hmopt.space import Setting, Value

if TYPE_CHECKING:
    from hmopt.analysis.gradient import GradientResult
    from hmopt.data.inspection import Inspection
    from hmopt.workflow.ledger import LedgerContent
    from hmopt.workflow.new import NewStudy

COUNTS = ("settings", "pairs", "labels", "rows")
HEADER = ("model", "identity", "metric", *COUNTS, "shards", "size", "")
"""Columns of what `hmopt ledger` prints."""
WIDE = 10_000
"""Width of a table that goes to a file or a pipe: no line is cut."""

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="Study folder that contains study.toml.", show_default=False
    ),
]
NewFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Study folder to create.", show_default=False)
]
DemoFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Study folder to create.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Compute device: cpu, cuda, cuda:1 or mps. Default: the fastest available device.",
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices",
        min=1,
        help="Number of devices (cpu or cuda) that share the pairs of each step.",
    ),
]

Images = Annotated[Path | None, typer.Option("--images", help="Folder of images, one per subject.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Folder of label maps, with the same file names as the images."),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        help="CSV file with the columns image, label, subject and any others; replaces --images and --labels.",
    ),
]
Bids = Annotated[
    Path | None,
    typer.Option(
        "--bids", help="BIDS dataset; replaces --images and --labels. Writes FOLDER/cohort.csv."
    ),
]
Derivative = Annotated[
    str | None,
    typer.Option(
        "--derivative",
        help="With --bids: derivative dataset of the label maps, as a folder or a name below derivatives. Default: the "
        "only derivative with label maps.",
    ),
]
Suffix = Annotated[
    list[str] | None,
    typer.Option(
        "--suffix",
        help="With --bids: suffix of the images, such as T1w. Repeatable. Default: the only suffix in the dataset.",
    ),
]
BidsSpace = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="With --bids: space of the images and label maps. Default: native space.",
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="ENTITY=VALUE",
        help=(
            "With --bids: required entity of the images, such as acq=mprage. An empty value selects images without "
            "the entity. Repeatable."
        ),
    ),
]
SelectLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--select-labels",
        metavar="ENTITY=VALUE",
        help="With --bids: required entity of the label maps, such as desc=aparcaseg. Repeatable.",
    ),
]
LabelNames = Annotated[
    Path | None,
    typer.Option(
        "--label-names",
        help="Table of label names: dseg.tsv, dataset.json, or a colour table of FreeSurfer, 3D Slicer or ITK-SNAP.",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="ants|elastix|convexadam",
        help="Registration program to search instead of a trained model.",
    ),
]
NoTraining = Annotated[
    bool,
    typer.Option(
        "--no-training",
        help="Search without a model; each pair is registered by minimizing its loss.",
    ),
]
SlicesOption = Annotated[
    str | None,
    typer.Option(
        "--slices",
        metavar="AXIS:INDEX,…",
        help="Slices of volumes for 2-D registration, such as z:15,17; z alone selects the slices that show "
        "structures. Default: slices only if the volumes have few slices or --model registers 2-D images.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Allow running the Python file that defines the network of the model, if there is one.",
    ),
]
OtherModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="OTHER",
        help="Existing model to search: another study folder, a published folder, or a model file. Default: train a "
        "new model.",
    ),
]

Dense = Annotated[
    bool,
    typer.Option(
        "--dense",
        help="Also measure the optimized metric at every value of the hyperparameter; one hyperparameter only.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Register failed pairs of an engine again."),
]
PerStructure = Annotated[
    bool,
    typer.Option(
        "--per-structure",
        help="Also measure a single field with a separate setting per structure, and compare it on held-out subjects "
        "with one setting for all structures and with one field per structure.",
    ),
]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--maps",
        metavar="frequency|fixed|moving",
        help="With --per-structure: source of the structure maps: frequency in training subjects, or label maps of the "
        "fixed or moving images. Repeatable. Default: frequency, or moving if there are no training subjects.",
    ),
]
MapWidth = Annotated[
    float | None,
    typer.Option(
        "--map-width",
        help=(
            "With --per-structure: width of the Gaussian smoothing of the maps, in voxels of the prepared grid. "
            "Default: 2."
        ),
    ),
]
Gap = Annotated[
    bool,
    typer.Option(
        "--gap",
        help="Also measure the amortization gap: refine the registrations of some pairs until convergence, and test "
        "whether the best values of the model carry over.",
    ),
]
GapPairs = Annotated[
    int | None,
    typer.Option("--gap-pairs", help="With --gap: maximum number of pairs per task. Default: 60."),
]
GapIterations = Annotated[
    int | None,
    typer.Option(
        "--gap-iterations",
        help=(
            "With --gap: number of refinement iterations to measure in addition to convergence. Default: that of "
            "\\[refine], or 25."
        ),
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        help="Number of measuring processes on this machine, which share its CPU cores. To distribute a search, run "
        "the same command on other machines with access to FOLDER.",
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="dask",
        help="Measure on the workers of a Dask cluster, which need hmopt and access to FOLDER under the same path.",
        show_default=False,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of the Dask scheduler, such as tcp://127.0.0.1:8786.",
        show_default=False,
    ),
]
SearchUncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="Also register pairs with landmarks at several settings of the confidence set of the whole cohort, and "
        "test whether landmark errors are larger where displacements are uncertain.",
    ),
]
UncertaintySettings = Annotated[
    int | None,
    typer.Option(
        "--uncertainty-settings",
        metavar="N",
        help="With --uncertainty: maximum number of settings of the confidence set. Default: 9.",
    ),
]
TunedFor = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        metavar="KIND",
        help="Kind of scope to tune: cohort, task, label, subject, pair, or a column of the manifest. Repeatable. "
        "Default: cohort and subject.",
        show_default=False,
    ),
]
TunedScope = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="Single scope to tune instead: KIND=VALUE,…; the value * selects all.",
        show_default=False,
    ),
]
TunedBy = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="NAME",
        help="Objective: a differentiable metric (dice, similarity, log_jacobian_sd), a similarity loss (lncc, mse, "
        "mutual_information), inverse_consistency, or landmarks. Default: the metric of the search.",
        show_default=False,
    ),
]
TunedPairs = Annotated[
    int | None, typer.Option("--pairs", help="Maximum number of pairs per scope. Default: 20.")
]
TunedStarts = Annotated[
    int | None,
    typer.Option("--starts", help="Number of starts, spread over the range. Default: 5."),
]
TunedPoints = Annotated[
    Path | None,
    typer.Option(
        "--points",
        help="With --objective landmarks: table with the columns image, x, y, z, in mm (RAS); corresponding points in "
        "the same order for all images.",
        show_default=False,
    ),
]
RegisterPerStructure = Annotated[
    bool,
    typer.Option(
        "--per-structure",
        help=(
            "Use the best setting of each structure around it, blended into one field. Requires hmopt search "
            "--per-structure."
        ),
    ),
]
FixedLabels = Annotated[
    Path | None,
    typer.Option(
        "--fixed-labels",
        help="With --per-structure: label map of the fixed image. Default: structure maps from the training subjects.",
    ),
]
MovingLabels = Annotated[
    Path | None,
    typer.Option(
        "--moving-labels",
        help="With --per-structure: label map of the moving image. Default: as for --fixed-labels.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", min=1, help="Number of parallel trainings, which share the CPU cores."),
]
Results = Annotated[
    bool,
    typer.Option("--results", help="Also write FOLDER/results, which is small enough to commit."),
]
Pictures = Annotated[
    bool,
    typer.Option(
        "--pictures",
        help="With --results: include pictures of pairs, which show images of the cohort.",
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="HMOPT_STORAGE",
        help="Optuna storage URL: sqlite:///all.db, postgresql://user:${PASSWORD}@host/database; ${PASSWORD} is "
        "replaced by the environment variable. Quote the URL.",
        show_default=False,
    ),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="Scope to export: cohort, or KIND=VALUE,… with the kinds label, task, subject or a column of the "
        "manifest; the value * selects all. Repeatable. Default: all declared scopes.",
        show_default=False,
    ),
]

Moving = Annotated[
    Path,
    typer.Argument(metavar="MOVING", help="Moving image: the image to warp.", show_default=False),
]
Fixed = Annotated[
    Path,
    typer.Argument(
        metavar="FIXED", help="Fixed image: the target of the registration.", show_default=False
    ),
]
Moved = Annotated[
    Path | None,
    typer.Option("--moved", help="Output file: moved image (NIfTI).", show_default=False),
]
BidsDerivatives = Annotated[
    Path | None,
    typer.Option(
        "--bids-derivatives",
        help="Output folder: BIDS derivative dataset, with BIDS file names and JSON sidecars. Replaces the output "
        "files.",
    ),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(
        "--uncertainty",
        help="Output file: standard deviation of the displacement over the confidence set of the best value, in mm, on "
        "the grid of the fixed image.",
    ),
]
Starts = Annotated[
    list[Path] | None,
    typer.Option(
        "--start",
        metavar="PATH",
        help="With --uncertainty: model from another random start to include, as a study folder, published folder or "
        "model file. Repeatable.",
    ),
]
Displacement = Annotated[
    Path | None,
    typer.Option(
        "--displacement",
        help="Output file: complete transformation, as a NIfTI displacement field or, with the suffix .h5, as an ITK "
        "composite transform. Default: a displacement field next to the moved image.",
    ),
]
Inverse = Annotated[
    Path | None,
    typer.Option(
        "--inverse",
        help="Output file: inverse transformation on the grid of the moving image, in the formats of --displacement.",
    ),
]
InverseMoved = Annotated[
    Path | None,
    typer.Option(
        "--inverse-moved",
        help="Output file: fixed image warped to the moving image (NIfTI).",
    ),
]
Regularization = Annotated[
    float | None,
    typer.Option("--regularization", help="Value of λ. Default: the best value of the scope."),
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Value of a hyperparameter. Repeatable."),
]
SettingFile = Annotated[
    Path | None,
    typer.Option("--setting", metavar="FILE", help="Setting file written by `hmopt tune`."),
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="Scope whose best setting is used: cohort, or KIND=VALUE,… with the kinds label, task, subject or a "
        "column of the manifest. Default: cohort.",
    ),
]
Label = Annotated[str | None, typer.Option("--label", help="Short form of --scope label=….")]
Subject = Annotated[str | None, typer.Option("--subject", help="Short form of --scope subject=….")]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="KIND=VALUE",
        help="Further criterion of the scope, such as task=within, or site=A->B for a pair of groups. Repeatable.",
    ),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        "--placement",
        metavar="header|centre|affine",
        help="Placement of images on the grid of the model. Default: as in training.",
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        "--refine",
        min=0,
        metavar="N",
        help="Maximum number of iterations that refine the registration predicted by the model. Default: that of "
        "\\[refine].",
    ),
]
WithinLimits = Annotated[
    bool,
    typer.Option(
        "--within-limits",
        "--within-folding-limit",
        help="Use the best setting that satisfies search.folding_limit and search.limits.",
    ),
]

TunedMoving = Annotated[
    Path | None,
    typer.Argument(metavar="MOVING", help="Moving image: the image to warp.", show_default=False),
]
TunedFixed = Annotated[
    Path | None,
    typer.Argument(
        metavar="FIXED", help="Fixed image: the target of the registration.", show_default=False
    ),
]
OutlinedMoving = Annotated[
    Path | None,
    typer.Option("--moving-labels", help="Label map of MOVING, shown as outlines."),
]
OutlinedFixed = Annotated[
    Path | None,
    typer.Option("--fixed-labels", help="Label map of FIXED, shown as outlines."),
]
SettingOutput = Annotated[
    Path | None,
    typer.Option(
        "--setting",
        metavar="FILE",
        help="Output file: chosen setting, for hmopt register --setting. Default: FOLDER/setting.toml.",
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 selects a free port.")
]
NoBrowser = Annotated[
    bool,
    typer.Option("--no-browser", help="Print the address of the page without opening a browser."),
]

ToApply = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="Transformations in the order of antsApplyTransforms (the first one is applied first to a voxel of the "
        "reference; [FILE,1] inverts a transformation), followed by the image, label map or points (.csv, .vtk) "
        "to transform. With --compose: transformations only.",
        show_default=False,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--to", help="Reference image that defines the grid of the result; not for points."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", help="Output file: result (NIfTI, or the format of the input points)."
    ),
]
Compose = Annotated[
    Path | None,
    typer.Option(
        "--compose",
        help=(
            "Output file: composition of the transformations on the grid of --to, as a NIfTI displacement field or "
            "ITK .h5 file."
        ),
    ),
]
Inverted = Annotated[
    list[str] | None,
    typer.Option(
        "--inverse",
        metavar="TRANSFORM",
        help="Transformation to invert, named as in the list of transformations. Repeatable.",
    ),
]
LabelMap = Annotated[
    bool,
    typer.Option(
        "--labels", help="Treat the input as a label map: keep its labels and integer type."
    ),
]
InterpolationOption = Annotated[
    str,
    typer.Option(
        "--interpolation", metavar="linear|nearest|bspline", help="Interpolation of intensities."
    ),
]
Outside = Annotated[
    float | None,
    typer.Option("--outside", help="Value outside the image. Default: the minimum of the image."),
]
Coordinates = Annotated[
    str | None,
    typer.Option(
        "--coordinates",
        metavar="ras|lps",
        help="Orientation of the x, y and z coordinates of points. Required unless a .vtk file states it.",
    ),
]
Destination = Annotated[
    Path, typer.Option("--to", metavar="DESTINATION", help="Folder to create.", show_default=False)
]
DataLicense = Annotated[
    str | None,
    typer.Option(
        "--data-license",
        help="Licence of the training images, such as cc-by-4.0. Default: cohort.license of study.toml.",
    ),
]
Citation = Annotated[
    str | None,
    typer.Option(
        "--citation", help="Citation of the images. Default: cohort.citation of study.toml."
    ),
]

BakeFormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="safetensors|torch|onnx|monai-bundle",
        help="Output format: weights (safetensors), exported program (torch), ONNX graph, or MONAI bundle.",
        show_default=False,
    ),
]
BakeOutput = Annotated[
    Path,
    typer.Option(
        "--output",
        help="Output file: .safetensors; .pt2 (program) or .pt (weights); .onnx; or a new folder for a MONAI bundle.",
        show_default=False,
    ),
]
ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Study folder that contains a model, or a model file.",
        show_default=False,
    ),
]

Compact = Annotated[
    bool, typer.Option("--compact", help="Merge the shards of each model into one before listing.")
]


def new(
    folder: NewFolder,
    images: Images = None,
    labels: Labels = None,
    manifest: Manifest = None,
    label_names: LabelNames = None,
    bids: Bids = None,
    derivative: Derivative = None,
    suffix: Suffix = None,
    space: BidsSpace = None,
    select: Select = None,
    select_labels: SelectLabels = None,
    slices: SlicesOption = None,
    model: OtherModel = None,
    trust_code: TrustCode = False,
    engine: Engine = None,
    no_training: NoTraining = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Create a study of labelled images: inspect the images, print a summary, and write FOLDER/study.toml.

    With --model, the images are prepared for an existing model, and nothing is trained.
    """
    with conversation(f"hmopt new {folder} …", quiet=quiet, debug=debug) as talk:
        made = hmopt.new(
            folder,
            images=images,
            labels=labels,
            manifest=manifest,
            label_names=label_names,
            bids=bids,
            derivative=derivative,
            suffix=suffix or (),
            space=space,
            select=_entities("--select", select),
            select_labels=_entities("--select-labels", select_labels),
            slices=slices,
            model=model,
            trust_code=trust_code,
            engine=engine,
            training=not no_training,
            track=talk.track,
        )
        for line in describe(made):
            talk.say(line)
        for note in made.notes:
            typer.echo(f"warning: {note}", err=True)
        for warning in made.warnings:
            typer.echo(f"warning: {warning}", err=True)
        talk.say(made)


def train(
    folder: Folder,
    device: Device = None,
    devices: Devices = 1,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the hypermorph of a study. Rerun the command to resume."""
    with conversation(f"hmopt train {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.train(folder, track=talk.track, device=device, devices=devices))


def search(
    folder: Folder,
    device: Device = None,
    dense: Dense = False,
    retry_failed: RetryFailed = False,
    per_structure: PerStructure = False,
    maps: Maps = None,
    map_width: MapWidth = None,
    gap: Gap = False,
    gap_pairs: GapPairs = None,
    gap_iterations: GapIterations = None,
    workers: Workers = 1,
    executor: ExecutorName = None,
    scheduler: Scheduler = None,
    uncertainty: SearchUncertainty = False,
    uncertainty_settings: UncertaintySettings = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search the best λ of every declared scope and write one Optuna study per scope. Rerun the command to resume."""
    from hmopt.workflow.executor import open_executor

    command = f"hmopt search {folder}"
    if executor is not None:
        command += f" --executor {executor} --scheduler {scheduler}"
    with (
        conversation(command, quiet=quiet, debug=debug) as talk,
        open_executor(executor, scheduler) as found,
    ):
        swept = hmopt.search(
            folder,
            dense=dense,
            retry_failed=retry_failed,
            per_structure=per_structure,
            maps=maps or (),
            map_width=map_width,
            gap=gap,
            gap_pairs=gap_pairs,
            gap_iterations=gap_iterations,
            workers=workers,
            executor=found,
            uncertainty=uncertainty,
            uncertainty_settings=uncertainty_settings,
            track=talk.track,
            device=device,
        )
        talk.say(swept)


def tune_by_gradient(
    folder: Folder,
    kinds: TunedFor = None,
    scope: TunedScope = None,
    objective: TunedBy = None,
    pairs: TunedPairs = None,
    starts: TunedStarts = None,
    points: TunedPoints = None,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Tune λ of the cohort, of each subject or of a pair by gradient, and compare it with the sweep."""
    with conversation(f"hmopt tune-by-gradient {folder}", quiet=quiet, debug=debug) as talk:
        found = hmopt.tune_by_gradient(
            folder,
            kinds=kinds or (),
            scope=scope,
            objective=objective,
            pairs=pairs,
            starts=starts,
            points=points,
            track=talk.track,
            device=device,
        )
        for line in lines_of(*gradient_rows(found)):
            talk.say(line)
        talk.say(found)


def compare(
    folder: Folder,
    jobs: Jobs = 1,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train and measure baselines: separate networks, and hypermorphs with other seeds. Rerun the command to resume."""
    with conversation(f"hmopt compare {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.compare(folder, jobs=jobs, track=talk.track, say=talk.say, device=device))


def report(
    folder: Folder,
    results: Results = False,
    pictures: Pictures = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write FOLDER/report: a self-contained HTML page, a Markdown summary, optima.csv and figures.

    The model is not needed. If the folder already has a report, a line lists the changes.
    """
    with conversation(f"hmopt report {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.report(folder, results=results, pictures=pictures, track=talk.track))


def run(folder: Folder, device: Device = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Train, search and report. Rerun the command to resume."""
    with conversation(f"hmopt run {folder}", quiet=quiet, debug=debug) as talk:
        hmopt.run(folder, track=talk.track, say=talk.say, device=device)


def register(
    folder: Folder,
    moving: Moving,
    fixed: Fixed,
    moved: Moved = None,
    displacement: Displacement = None,
    inverse: Inverse = None,
    inverse_moved: InverseMoved = None,
    bids_derivatives: BidsDerivatives = None,
    uncertainty: Uncertainty = None,
    uncertainty_settings: UncertaintySettings = None,
    start: Starts = None,
    regularization: Regularization = None,
    values: Values = None,
    setting: SettingFile = None,
    scope: ScopeOption = None,
    label: Label = None,
    subject: Subject = None,
    group: Groups = None,
    placement: PlacementOption = None,
    within_limits: WithinLimits = False,
    per_structure: RegisterPerStructure = False,
    fixed_labels: FixedLabels = None,
    moving_labels: MovingLabels = None,
    refine: Refine = None,
    trust_code: TrustCode = False,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Register a moving image to a fixed image, and write the moved image and the transformation.

    The moved image is on the grid of the fixed image. Without a value or a scope, the best setting of the whole
    cohort is used.
    """
    again = f"hmopt register {folder} {moving} {fixed} with the same options"
    with conversation(again, quiet=quiet, debug=debug) as talk:
        outputs = (moved, displacement, inverse, inverse_moved, uncertainty, bids_derivatives)
        if all(output is None for output in outputs):
            raise DeclarationError(
                "hmopt register",
                expected="an output, such as --moved, --displacement or --bids-derivatives",
                got="none",
                advice="Name one.",
            )
        registered = hmopt.register(
            folder,
            moving,
            fixed,
            moved=moved,
            displacement=displacement,
            inverse=inverse,
            inverse_moved=inverse_moved,
            bids_derivatives=bids_derivatives,
            uncertainty=uncertainty,
            uncertainty_settings=uncertainty_settings,
            starts=start or (),
            setting=_setting(regularization, values, setting),
            scope=_criteria(scope, label, subject, group),
            within_limits=within_limits,
            per_structure=per_structure,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            placement=placement,
            trust_code=trust_code,
            refine=refine,
            device=device,
        )
        for remark in registered.remarks:
            typer.echo(f"warning: {remark}", err=True)
        talk.say(registered)


def apply(
    files: ToApply,
    to: Reference = None,
    output: Output = None,
    compose: Compose = None,
    bids_derivatives: BidsDerivatives = None,
    inverse: Inverted = None,
    labels: LabelMap = False,
    interpolation: InterpolationOption = "linear",
    outside: Outside = None,
    coordinates: Coordinates = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Apply transformations to an image, a label map or points, or compose them into one.

    Points are mapped in the direction of the transformations: a transformation that warps the moving image to the
    fixed image maps points from the fixed to the moving image. To move points along with the moved image, use the
    inverse.
    """
    with conversation("hmopt apply with the same arguments", quiet=quiet, debug=debug) as talk:
        *transforms, last = files
        if compose is None and output is None and bids_derivatives is None:
            raise DeclarationError(
                "hmopt apply",
                expected="--output, --bids-derivatives or --compose",
                got="neither",
                advice="Name the output.",
            )
        applied = hmopt.apply(
            transforms if compose is None else files,
            last if compose is None else None,
            to=to,
            output=output,
            compose=compose,
            bids_derivatives=bids_derivatives,
            inverse=inverse or (),
            labels=labels,
            interpolation=interpolation,
            outside=outside,
            coordinates=coordinates,
        )
        for remark in applied.remarks:
            typer.echo(f"warning: {remark}", err=True)
        talk.say(applied)


def tune(
    folder: Folder,
    moving: TunedMoving = None,
    fixed: TunedFixed = None,
    moving_labels: OutlinedMoving = None,
    fixed_labels: OutlinedFixed = None,
    setting: SettingOutput = None,
    placement: PlacementOption = None,
    refine: Refine = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
    trust_code: TrustCode = False,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Open a page with a slider per hyperparameter that shows images, deformation, folding and response curves.

    The page is served to this machine only, until Ctrl-C. Without two images, it shows pairs of the search subjects.
    """
    with conversation(f"hmopt tune {folder}", quiet=quiet, debug=debug) as talk:
        tuned = hmopt.tune(
            folder,
            moving,
            fixed,
            moving_labels=moving_labels,
            fixed_labels=fixed_labels,
            setting=setting,
            placement=placement,
            refine=refine,
            port=port,
            browser=not no_browser,
            trust_code=trust_code,
            device=device,
            track=talk.track,
            say=talk.say,
        )
        talk.say(tuned)


def publish(
    folder: Folder,
    to: Destination,
    data_license: DataLicense = None,
    citation: Citation = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the model card, weights, declaration and best settings to one folder, ready to upload to a model hub.

    No personal data are written: no paths and no names of subjects or images.
    """
    with conversation(f"hmopt publish {folder}", quiet=quiet, debug=debug) as talk:
        made = hmopt.publish(
            folder, to, data_license=data_license, citation=citation, track=talk.track
        )
        for remark in made.remarks:
            typer.echo(f"warning: {remark}", err=True)
        talk.say(made)


def bake(
    folder: ModelFolder,
    form: BakeFormatOption,
    output: BakeOutput,
    regularization: Regularization = None,
    values: Values = None,
    setting: SettingFile = None,
    scope: ScopeOption = None,
    label: Label = None,
    subject: Subject = None,
    group: Groups = None,
    within_limits: WithinLimits = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the network at one setting for other programs: PyTorch, ONNX Runtime or MONAI.

    Without a value or a scope, the best setting of the whole cohort is used.
    """
    with conversation(f"hmopt bake {folder} …", quiet=quiet, debug=debug) as talk:
        talk.say(
            hmopt.bake(
                folder,
                format=form,
                output=output,
                setting=_setting(regularization, values, setting),
                scope=_criteria(scope, label, subject, group),
                within_limits=within_limits,
                trust_code=trust_code,
            )
        )


def check(folder: Folder, quiet: Quiet = False, debug: Debug = False) -> None:
    """Check all files of a study for damage, invalid values and mismatches, and list the commands to rerun.

    The exit code is 2 if a problem was found. No file is changed.
    """
    with conversation(f"hmopt check {folder}", quiet=quiet, debug=debug) as talk:
        checked = hmopt.check(folder, track=talk.track)
        for problem in checked.problems:
            typer.echo(problem.line, err=True)
        talk.say(checked)
    if checked.problems:
        raise typer.Exit(INPUT_ERROR)


def ledger(
    folder: Folder, compact: Compact = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """List the measurements of a study by model and metric, and mark stale ones."""
    with conversation(f"hmopt ledger {folder}", quiet=quiet, debug=debug) as talk:
        content = hmopt.inspect_ledger(folder, compact=compact)
        if content.before is not None:
            talk.say(f"Before: {content.total_before}")
            talk.say(f"Now:    {content.total}")
        for line in [*lines_of(HEADER, table_rows(content)), *content.failures]:
            talk.say(line)
        talk.say(content)


def export(
    folder: Folder,
    storage: Storage,
    scope: Scopes = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write Optuna studies of selected scopes to an Optuna storage. The model is not needed."""
    again = f"hmopt export {folder} with the same options"
    with conversation(again, quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.export(folder, storage, *(scope or ()), track=talk.track))


def demo(
    folder: DemoFolder = Path("demo"),
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Create a synthetic cohort, then train, search and report; takes about three minutes."""
    with conversation(f"hmopt demo {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.demo(folder, track=talk.track, say=talk.say, device=device))


def _entities(option: str, given: list[str] | None) -> dict[str, str]:
    """Return entities of BIDS, given as ENTITY=VALUE; the value may be empty."""
    from hmopt.search.scopes import add_once

    entities: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise DeclarationError(
                option,
                expected="ENTITY=VALUE, such as acq=mprage",
                got=repr(text),
                advice="Correct the option.",
            )
        add_once(entities, name, value, option)
    return entities


def _setting(
    regularization: float | None, values: list[str] | None, file: Path | None
) -> dict[str, Value] | Path:
    """Return the values that were given, by hyperparameter, or the file that holds them."""
    from hmopt.search.scopes import add_once, parse_pairs

    setting: dict[str, Value] = {}
    setting.update(parse_pairs("--set", values or []))
    if regularization is not None:
        add_once(setting, "regularization", regularization, "--regularization")
    if file is None:
        return setting
    if setting:
        raise DeclarationError(
            "--setting",
            expected="either a file or values (--regularization, --set)",
            got="both",
            advice="Use one of them.",
        )
    return file


def _criteria(
    scope: str | None, label: str | None, subject: str | None, group: list[str] | None
) -> dict[str, str]:
    """Return the criteria of the scope that was asked for."""
    from hmopt.search.scopes import add_once, parse_pairs, parse_scope

    criteria = {} if scope is None else parse_scope(scope)
    if label is not None:
        add_once(criteria, "label", label, "--label")
    if subject is not None:
        add_once(criteria, "subject", subject, "--subject")
    for kind, value in parse_pairs("--group", group or []).items():
        add_once(criteria, kind, value, "--group")
    return criteria


def describe(made: "NewStudy") -> list[str]:
    """Return what was found in the data, and what the study will use, a line for each kind of fact."""
    from hmopt.analysis.power import describe_power

    subjects = made.subjects
    split = (
        f"{subjects['train']} subjects for training, {subjects['tune']} for tuning, {subjects['search']} for the "
        "search"
    )
    power = describe_power(subjects["search"])
    training = duration(made.estimate.training_s)
    search_s = made.estimate.search_s
    search = "unknown" if search_s is None else duration(search_s)
    gigabytes = made.estimate.disk_bytes / 1e9
    time = f"training {training}, search {search}"
    placement = made.found.advice
    model = []
    if made.study.model.source != "trained":
        time = f"search {search}"
        chosen = made.study.preprocessing.placement
        placement = f"{chosen}. {made.remarks['preprocessing.placement']}"
        grid = _product(np.array(made.study.preprocessing.shape))
        title = made.remarks["model.source"]
        model = [f"Model: {title}", f"Grid: {grid}. {made.remarks['preprocessing.shape']}"]
        if "preprocessing.normalization" in made.remarks:
            normalization = made.study.preprocessing.normalization
            model.append(
                f"Normalization: {normalization}. {made.remarks['preprocessing.normalization']}"
            )
    slices = made.study.preprocessing.slices
    if slices is not None:
        indices = ", ".join(str(index) for index in slices.indices)
        reason = made.remarks["preprocessing.slices.axis"]
        model.append(f"Slices: {indices}, perpendicular to axis {slices.axis}. {reason}")
    return [
        *_describe_data(made.found),
        *model,
        f"Placement: {placement}",
        f"Split: {split}. {power}",
        f"Estimated time on this machine: {time}",
        f"Estimated disk space: {gigabytes:.2f} GB",
    ]


def _describe_data(found: "Inspection") -> list[str]:
    lines = [
        f"Cohort: {len(found.scans)} images of {len(found.subjects)} subjects",
        f"Shapes: {_range(found.shapes)} voxels",
        f"Spacings: {_range(found.spacings_mm)} mm",
        "Structures:",
    ]
    for name, facts in found.structures.iterrows():
        volume_ml = facts["volume_mm3"] / 1000
        voxels = facts["voxels"]
        images = facts["images"]
        lines.append(f"  {name}: {volume_ml:.3g} ml, {voxels:.0f} voxels, in {images:.0f} images")
    pairs = found.pairs
    lines.append(f"Pairs: {pairs['cross']} between subjects, {pairs['within']} within subjects")
    in_world = found.placement.distance_in_world_mm
    centred = found.placement.distance_centred_mm
    lines.append(
        f"Median distance between label centres: {in_world:.3g} mm with placement by headers, {centred:.3g} mm "
        "with centred images"
    )
    lines += [f"Headers: {remark}" for remark in found.headers.remarks]
    return lines


def _range(values: NDArray[Any]) -> str:
    """Return the smallest and the largest of each column, as `80 x 96 to 80 x 100`; one where they are equal."""
    low = _product(values.min(axis=0))
    high = _product(values.max(axis=0))
    return low if low == high else f"{low} to {high}"


def _product(values: NDArray[Any]) -> str:
    parts = [f"{value:g}" for value in values]
    return " x ".join(parts)


def table_rows(content: "LedgerContent") -> list[list[str]]:
    """Return the rows of the table: one for each metric of each model; shards and size stand in a model's first."""
    import humanize

    rows = []
    for holding in content.holdings:
        files = [str(holding.shards), humanize.naturalsize(holding.size)]
        for kept in holding.metrics:
            row = [content.name(holding.identity), holding.identity, kept.metric]
            row += [f"{getattr(kept, name):,}" for name in COUNTS]
            row += files
            row.append(content.stale(holding.identity, kept.metric))
            rows.append(row)
            files = ["", ""]
    return rows


def gradient_rows(found: "GradientResult") -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of `hmopt tune-by-gradient`: one for each scope."""
    header = ["scope", "gradient", found.record.objective, "optima", "sweep", "seconds"]
    rows = []
    for one in found.results:
        row = [
            one.scope.name,
            _values_text(one.setting),
            f"{one.score:.4f}",
            str(len(one.tuned.optima)),
            "" if one.sweep is None else _values_text(one.sweep),
            f"{one.tuned.seconds:.1f}",
        ]
        rows.append(row)
    return header, rows


def _values_text(setting: Setting) -> str:
    values = [
        f"{value:.3g}" if isinstance(value, float) else str(value) for value in setting.values()
    ]
    return ", ".join(values)


def lines_of(
    header: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> list[str]:
    """Return the lines of a table: with rules on a terminal, in plain columns elsewhere.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells as text; columns of numbers are aligned to the right.
    console
        Where it is to stand; None: stdout.

    Examples
    --------
    >>> lines_of(("metric", "rows"), [("dice@1", "44,352"), ("folding@1", "3,168")], Console(force_terminal=False))
    ['metric       rows', 'dice@1     44,352', 'folding@1   3,168']
    """
    console = console or Console()
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        console = Console(width=WIDE)
    for place, name in enumerate(header):
        cells = [row[place] for row in rows]
        numbers = all(cell[:1].isdigit() or not cell for cell in cells)
        table.add_column(name, justify="right" if numbers and name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    with console.capture() as capture:
        console.print(table, markup=False, highlight=False)
    return [line.rstrip() for line in capture.get().splitlines()]
