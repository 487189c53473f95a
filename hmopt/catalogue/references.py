"""What is cited: the publications of methods, losses, metrics and programs, each once.

A record of the catalogue names those of what it declares (`references`); the constants here are of
what every study of a kind uses, as the optimizer or the correction of p-values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["article", "inproceedings", "phdthesis", "misc"]
"""Kinds of entries of BibTeX."""

_VENUES: dict[Kind, str] = {
    "article": "journal",
    "inproceedings": "booktitle",
    "phdthesis": "school",
    "misc": "howpublished",
}
"""By kind: the field that holds where it was published."""

_SPECIAL = str.maketrans({"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One publication.

    Parameters
    ----------
    key
        Of its entry in BibTeX.
    kind
        Of that entry.
    authors
        All of them, as `Hoopes, Andrew`.
    title, venue, year
        As published; the venue is a journal, proceedings, a university or a place.
    volume, number, pages, doi, url
        Where it is found; empty where there is none.

    Examples
    --------
    >>> OPTUNA.cited, HOLM.cited
    ('Akiba et al., 2019', 'Holm, 1979')
    """

    key: str
    kind: Kind = "article"
    authors: tuple[str, ...]
    title: str
    venue: str
    year: int
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    url: str = ""

    @property
    def cited(self) -> str:
        """How a sentence cites it: `Holm, 1979`, `Efron and Stein, 1981`, `Hoopes et al., 2022`."""
        names = [author.split(",")[0] for author in self.authors]
        who = names[0]
        if len(names) == 2:
            who = f"{names[0]} and {names[1]}"
        elif len(names) > 2:
            who = f"{names[0]} et al."
        return f"{who}, {self.year}"

    @property
    def text(self) -> str:
        """The entry of a list of references, without its address.

        Examples
        --------
        >>> DICE.text[:80]
        'Dice, Lee R. Measures of the amount of ecologic association between species. Eco'
        >>> DICE.text[76:]
        ' Ecology 26(3), 297–302, 1945.'
        """
        authors = "; ".join(self.authors).removesuffix(".")
        place = f" {self.volume}" if self.volume else ""
        if self.number:
            place += f"({self.number})"
        if self.pages:
            place += f", {self.pages.replace('--', '–')}"
        return f"{authors}. {self.title}. {self.venue}{place}, {self.year}."

    @property
    def link(self) -> str:
        """Its address; empty where there is none."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    @property
    def bibtex(self) -> str:
        """Its entry in BibTeX, fields one a line.

        Examples
        --------
        >>> print(HOLM.bibtex)
        @article{holm1979,
          author = {Holm, Sture},
          title = {{A simple sequentially rejective multiple test procedure}},
          journal = {Scandinavian Journal of Statistics},
          year = {1979},
          volume = {6},
          number = {2},
          pages = {65--70},
        }
        """
        fields = {
            "author": " and ".join(self.authors),
            "title": f"{{{self.title}}}",
            _VENUES[self.kind]: self.venue,
            "year": str(self.year),
            "volume": self.volume,
            "number": self.number,
            "pages": self.pages,
        }
        lines = [
            f"  {name} = {{{value.translate(_SPECIAL)}}},"
            for name, value in fields.items()
            if value
        ]
        # addresses are taken as they are
        addresses = {"doi": self.doi, "url": "" if self.doi else self.url}
        lines += [f"  {name} = {{{value}}}," for name, value in addresses.items() if value]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def cited(*references: Reference) -> str:
    """Return how a sentence cites some publications, with a space before; nothing without any.

    Examples
    --------
    >>> cited(HOLM, OPTUNA), cited()
    (' (Holm, 1979; Akiba et al., 2019)', '')
    """
    names = [reference.cited for reference in references]
    return f" ({'; '.join(names)})" if names else ""


def bibtex(references: Iterable[Reference]) -> str:
    """Return a file of BibTeX, an entry for each publication, by key.

    Raises
    ------
    ValueError
        If two different publications have one key.
    """
    by_key: dict[str, Reference] = {}
    for reference in references:
        known = by_key.setdefault(reference.key, reference)
        if known != reference:
            raise ValueError(f"two publications have the key {reference.key}")
    entries = [by_key[key].bibtex for key in sorted(by_key)]
    return "\n\n".join(entries) + "\n" if entries else ""


HYPERMORPH = Reference(
    key="hoopes2022",
    authors=(
        "Hoopes, Andrew",
        "Hoffmann, Malte",
        "Greve, Douglas N.",
        "Fischl, Bruce",
        "Guttag, John",
        "Dalca, Adrian V.",
    ),
    title="Learning the effect of registration hyperparameters with HyperMorph",
    venue="Machine Learning for Biomedical Imaging",
    year=2022,
    volume="1",
    url="https://www.melba-journal.org/papers/2022:003.html",
)

OPTUNA = Reference(
    key="akiba2019",
    kind="inproceedings",
    authors=(
        "Akiba, Takuya",
        "Sano, Shotaro",
        "Yanase, Toshihiko",
        "Ohta, Takeru",
        "Koyama, Masanori",
    ),
    title="Optuna: A next-generation hyperparameter optimization framework",
    venue="Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery & Data Mining",
    year=2019,
    pages="2623--2631",
    doi="10.1145/3292500.3330701",
)

PYTORCH = Reference(
    key="paszke2019",
    kind="inproceedings",
    authors=("Paszke, Adam", "Gross, Sam", "Massa, Francisco", "Lerer, Adam", "others"),
    title="PyTorch: An imperative style, high-performance deep learning library",
    venue="Advances in Neural Information Processing Systems",
    year=2019,
    volume="32",
    pages="8024--8035",
)

UNET = Reference(
    key="ronneberger2015",
    kind="inproceedings",
    authors=("Ronneberger, Olaf", "Fischer, Philipp", "Brox, Thomas"),
    title="U-Net: Convolutional networks for biomedical image segmentation",
    venue="Medical Image Computing and Computer-Assisted Intervention – MICCAI 2015",
    year=2015,
    pages="234--241",
    doi="10.1007/978-3-319-24574-4_28",
)

STATIONARY_VELOCITY = Reference(
    key="arsigny2006",
    kind="inproceedings",
    authors=(
        "Arsigny, Vincent",
        "Commowick, Olivier",
        "Pennec, Xavier",
        "Ayache, Nicholas",
    ),
    title="A log-Euclidean framework for statistics on diffeomorphisms",
    venue="Medical Image Computing and Computer-Assisted Intervention – MICCAI 2006",
    year=2006,
    pages="924--931",
    doi="10.1007/11866565_113",
)

ADAM = Reference(
    key="kingma2015",
    kind="inproceedings",
    authors=("Kingma, Diederik P.", "Ba, Jimmy"),
    title="Adam: A method for stochastic optimization",
    venue="International Conference on Learning Representations",
    year=2015,
    url="https://arxiv.org/abs/1412.6980",
)

LBFGS = Reference(
    key="liu1989",
    authors=("Liu, Dong C.", "Nocedal, Jorge"),
    title="On the limited memory BFGS method for large scale optimization",
    venue="Mathematical Programming",
    year=1989,
    volume="45",
    pages="503--528",
    doi="10.1007/BF01589116",
)

VOXELMORPH = Reference(
    key="balakrishnan2019",
    authors=(
        "Balakrishnan, Guha",
        "Zhao, Amy",
        "Sabuncu, Mert R.",
        "Guttag, John",
        "Dalca, Adrian V.",
    ),
    title="VoxelMorph: A learning framework for deformable medical image registration",
    venue="IEEE Transactions on Medical Imaging",
    year=2019,
    volume="38",
    number="8",
    pages="1788--1800",
    doi="10.1109/TMI.2019.2897538",
)

CROSS_CORRELATION = Reference(
    key="avants2008",
    authors=("Avants, Brian B.", "Epstein, Charles L.", "Grossman, Murray", "Gee, James C."),
    title="Symmetric diffeomorphic image registration with cross-correlation: Evaluating automated labeling of "
    "elderly and neurodegenerative brain",
    venue="Medical Image Analysis",
    year=2008,
    volume="12",
    number="1",
    pages="26--41",
    doi="10.1016/j.media.2007.06.004",
)

MUTUAL_INFORMATION = Reference(
    key="wells1996",
    authors=(
        "Wells, William M.",
        "Viola, Paul",
        "Atsumi, Hideki",
        "Nakajima, Shin",
        "Kikinis, Ron",
    ),
    title="Multi-modal volume registration by maximization of mutual information",
    venue="Medical Image Analysis",
    year=1996,
    volume="1",
    number="1",
    pages="35--51",
    doi="10.1016/S1361-8415(01)80004-9",
)

BENDING = Reference(
    key="rueckert1999",
    authors=(
        "Rueckert, Daniel",
        "Sonoda, Luke I.",
        "Hayes, Carmel",
        "Hill, Derek L. G.",
        "Leach, Martin O.",
        "Hawkes, David J.",
    ),
    title="Nonrigid registration using free-form deformations: application to breast MR images",
    venue="IEEE Transactions on Medical Imaging",
    year=1999,
    volume="18",
    number="8",
    pages="712--721",
    doi="10.1109/42.796284",
)

DICE = Reference(
    key="dice1945",
    authors=("Dice, Lee R.",),
    title="Measures of the amount of ecologic association between species",
    venue="Ecology",
    year=1945,
    volume="26",
    number="3",
    pages="297--302",
    doi="10.2307/1932409",
)

TARGET_REGISTRATION_ERROR = Reference(
    key="fitzpatrick1998",
    authors=("Fitzpatrick, J. Michael", "West, Jay B.", "Maurer, Calvin R."),
    title="Predicting error in rigid-body point-based registration",
    venue="IEEE Transactions on Medical Imaging",
    year=1998,
    volume="17",
    number="5",
    pages="694--702",
    doi="10.1109/42.736021",
)

ANTS = Reference(
    key="avants2011",
    authors=(
        "Avants, Brian B.",
        "Tustison, Nicholas J.",
        "Song, Gang",
        "Cook, Philip A.",
        "Klein, Arno",
        "Gee, James C.",
    ),
    title="A reproducible evaluation of ANTs similarity metric performance in brain image registration",
    venue="NeuroImage",
    year=2011,
    volume="54",
    number="3",
    pages="2033--2044",
    doi="10.1016/j.neuroimage.2010.09.025",
)

ELASTIX = Reference(
    key="klein2010",
    authors=(
        "Klein, Stefan",
        "Staring, Marius",
        "Murphy, Keelin",
        "Viergever, Max A.",
        "Pluim, Josien P. W.",
    ),
    title="elastix: A toolbox for intensity-based medical image registration",
    venue="IEEE Transactions on Medical Imaging",
    year=2010,
    volume="29",
    number="1",
    pages="196--205",
    doi="10.1109/TMI.2009.2035616",
)

CONVEXADAM = Reference(
    key="siebert2025",
    authors=(
        "Siebert, Hanna",
        "Großbröhmer, Christoph",
        "Hansen, Lasse",
        "Heinrich, Mattias P.",
    ),
    title="ConvexAdam: Self-configuring dual-optimisation-based 3D multitask medical image registration",
    venue="IEEE Transactions on Medical Imaging",
    year=2025,
    volume="44",
    number="2",
    pages="738--748",
)

BOOTSTRAP = Reference(
    key="owen2007",
    authors=("Owen, Art B.",),
    title="The pigeonhole bootstrap",
    venue="The Annals of Applied Statistics",
    year=2007,
    volume="1",
    number="2",
    pages="386--411",
    doi="10.1214/07-AOAS122",
)

JACKKNIFE = Reference(
    key="efron1981",
    authors=("Efron, Bradley", "Stein, Charles"),
    title="The jackknife estimate of variance",
    venue="The Annals of Statistics",
    year=1981,
    volume="9",
    number="3",
    pages="586--596",
    doi="10.1214/aos/1176345462",
)

HOLM = Reference(
    key="holm1979",
    authors=("Holm, Sture",),
    title="A simple sequentially rejective multiple test procedure",
    venue="Scandinavian Journal of Statistics",
    year=1979,
    volume="6",
    number="2",
    pages="65--70",
)

EQUIVALENCE = Reference(
    key="schuirmann1987",
    authors=("Schuirmann, Donald J.",),
    title="A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence "
    "of average bioavailability",
    venue="Journal of Pharmacokinetics and Biopharmaceutics",
    year=1987,
    volume="15",
    number="6",
    pages="657--680",
    doi="10.1007/BF01068419",
)
