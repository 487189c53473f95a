import numpy as np
import pandas as pd
import pytest

from hmopt.data.prepared import IMAGES, LABEL_MAPS, PreparedCohort

SHAPE = (16, 16)
SIDES = {"train": 4, "tune": 2, "search": 2}


def blobs(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of two soft discs, each somewhere near its place, and their labels."""
    image, labels = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    for label, centre in enumerate([(5.0, 5.0), (10.0, 10.0)], start=1):
        place = np.add(centre, generator.normal(0, 1, 2)).reshape(2, 1, 1)
        distance = np.linalg.norm(np.indices(SHAPE) - place, axis=0)
        image += label / 2 * np.exp(-((distance / 3) ** 2))
        labels[distance < 2.5] = label
    return np.clip(image, 0, 1).astype(np.float32), labels


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> PreparedCohort:
    """Return eight people with two discs each, one image a person."""
    folder, generator = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0)
    split = [side for side, count in SIDES.items() for _ in range(count)]
    images, labels = zip(*(blobs(generator) for _ in split), strict=True)
    np.save(folder / IMAGES, np.stack(images))
    np.save(folder / LABEL_MAPS, np.stack(labels))
    names = [f"sub-{number}" for number in range(len(split))]
    columns = {"subject": names, "scan": names, "slice": -1, "split": split}
    return PreparedCohort(
        folder=folder,
        images=pd.DataFrame(columns, index=pd.Index(names, name="name")),
        labels=("small", "large"),
        shape=SHAPE,
        spacing_mm=(1.0, 1.0),
        identity="discs",
    )
