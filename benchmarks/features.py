"""Extracting the features of frozen teachers: batches into one file, or images one by one."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.eight_bits import compare_eight_bits
from benchmarks.harness import Bar, Report, Samples, measure_in_turns
from benchmarks.one_by_one import extract_one_by_one, load_values, read_one_by_one
from mlfd_tune.core.data import DatasetSpec, load_dataset
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages import DatasetStage, FeaturesStage
from mlfd_tune.core.stages.feature_files import CachedFeatures, features_name
from mlfd_tune.core.stages.feature_formats import FeatureArray, FeaturesDtype
from mlfd_tune.core.stages.features import FEATURE_SPLITS
from mlfd_tune.core.stages.images import EVALUATION_BATCH
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Store

__all__ = ["run"]

PICTURES = "pictures"
LEVELS = ("embedding", "stride32")  # L2
BATCH = 64  # of reading back


@dataclass(frozen=True)
class Case:
    """Teachers that look at the pictures.

    Attributes:
        title: For people.
        teachers: Architecture by dataset; built-in datasets, and the pictures.
        image_size: Pixels.
        per_class: Training pictures of each of the 17 classes; validation has a quarter of it.
    """

    title: str
    teachers: Mapping[str, str]
    image_size: int
    per_class: int


USUAL, PACKED, FROM_FILES = "one by one", "stages, packed", "stages, from files"
ALONE = "networks alone"
LINEUP = {"digits": "test_convnext", "letters": "test_resnet", PICTURES: "test_efficientnet"}


def run(quick: bool) -> Report:
    """Measure extraction, reading back and storage; check that the features are equal."""
    cases = (
        [Case("three test_* teachers, 32 px", LINEUP, 32, 2)]
        if quick
        else [
            Case("three test_* teachers, 32 px", LINEUP, 32, 32),
            Case("ResNet-18, 64 px", {PICTURES: "resnet18"}, 64, 6),
        ]
    )
    repeats = 1 if quick else 3
    report = Report(
        "features",
        "Feature extraction",
        "Frozen teachers look at pictures that lie as PNG files (tiles of 17 photographs, a folder "
        "a class; training and validation images). *One by one*: for every image and teacher, PIL "
        "decode, torchvision resize and normalise, a forward pass of batch 1 under "
        "`inference_mode`, `np.save` of each of the two levels of L2 as float32; networks are "
        "loaded once. *Stages, packed*: the platform's stages `features` through the store, with "
        "checksums, from images that are packed already; the coarser level follows from the finer "
        "one. *Stages, from files*: listing, hashing, decoding and packing the files as well. One "
        "thread each. *Read back* is one epoch of the finer level as float32 in random order, 64 "
        "images at a time, files in the system's cache. Files and bytes are those of the features.",
        ("teachers", "way", "images/s", "files", "MB", "read back, ms per 1000 images"),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = 50.0 if device.type == "cuda" else 10.0
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases):
            bench = _Extraction(Path(folder) / str(number), case, device)
            _measure(bench, repeats, wanted, report)
        seeds, epochs, images = (range(1), 1, 64) if quick else (range(5), 6, 204)
        comparison = compare_eight_bits(
            Store(Path(folder) / "store"), seeds, epochs, images, str(device)
        )
    report.notes.append(
        f"What 8 bits cost in accuracy ({len(seeds)} seeds of everything; photos, three "
        f"`test_resnet` teachers, {epochs} epochs, {images} training images of each dataset; "
        f"val/acc1). " + "; ".join(f"{each}" for each in comparison) + "."
    )
    return report


def _measure(bench: _Extraction, repeats: int, wanted: float, report: Report) -> None:
    """Measure one case into the report."""
    seconds = measure_in_turns(
        {
            USUAL: bench.one_by_one,
            PACKED: bench.from_packed,
            FROM_FILES: bench.from_files,
            ALONE: bench.networks_alone,
        },
        repeats,
    )
    alone = seconds.pop(ALONE)
    reading = measure_in_turns(bench.readers(), repeats)
    error = bench.check_equal()
    half, eight = bench.stored("float16"), bench.stored("int8")
    sizes = {USUAL: _contents(bench.latest), PACKED: half, FROM_FILES: half}
    for way, taken in seconds.items():
        per_second = Samples(tuple(bench.images / each for each in taken.values), "images/s")
        files, size = sizes[way]
        back = reading.get(way, reading[PACKED])
        read = Samples(tuple(1e6 * each / bench.training for each in back.values), "ms")
        report.rows.append((bench.case.title, way, per_second, files, f"{size / 1e6:.2f}", read))
    for way in (PACKED, FROM_FILES):
        ratio = seconds[USUAL].over(seconds[way])
        report.bars.append(Bar(f"{bench.case.title}, {way}", ratio, wanted))
    faster = reading[USUAL].over(reading[PACKED])
    report.notes.append(
        f"{bench.case.title}: {bench.images} images. Both ways' features are equal: beyond "
        f"float16's rounding they differ by {error:.1e} of the largest feature at most. Reading "
        f"back is {faster} faster. The networks' forward passes alone, in batches of images that "
        f"lie in memory, are {seconds[USUAL].over(alone)} faster than one by one: no way to read "
        "and store can be faster than that with these networks on this machine. As `int8` they "
        f"take {eight[1] / 1e6:.2f} MB and are off by {bench.check_eight_bits()}."
    )


class _Extraction:
    """One case on disk: its pictures, teachers and store, and both ways to extract.

    Attributes:
        case: What it is.
        images: How many images are looked at, training and validation.
        training: How many of them are training images.
        latest: The folder of the latest features extracted one by one.
    """

    def __init__(self, folder: Path, case: Case, device: torch.device) -> None:
        self.case = case
        self.device = device
        self._folder = folder
        source = DatasetSpec(source="folder", path=str(_write_pictures(folder, case.per_class)))
        self._source = source
        self._store = Store(folder / "store")
        self._pipeline = Pipeline(_settings(case, source), Catalogue())
        self._teachers = {name: self._pipeline.teacher(name) for name in case.teachers}
        self._made = {
            name: self._store.get_or_compute(stage, device=str(device)).path
            for name, stage in self._teachers.items()
        }
        self._networks = {name: load_backbone(path, device) for name, path in self._made.items()}
        size = case.image_size
        self._blank = torch.zeros(EVALUATION_BATCH, 3, size, size, device=device)
        splits = load_dataset(source).splits
        self._files = [
            Path(str(source.path)) / name
            for split in FEATURE_SPLITS
            for name in splits[split].names
        ]
        self.images = len(self._files)
        self.training = len(splits["train"])
        self._turn = count()
        self.latest = folder

    def one_by_one(self) -> None:
        """Extract one by one into a new folder."""
        self.latest = self._folder / f"one-by-one-{next(self._turn)}"
        extract_one_by_one(self._files, self._made, LEVELS, self.latest, self.device)

    def from_packed(self) -> None:
        """Compute the stages `features` anew."""
        for stage in self._stages().values():
            shutil.rmtree(self._store.artifact_path(stage), ignore_errors=True)
            self._store.get_or_compute(stage, device=str(self.device))

    def from_files(self) -> None:
        """Compute the packed dataset and the stages `features` anew."""
        data = DatasetStage(PICTURES, self._source, self.case.image_size)
        shutil.rmtree(self._store.artifact_path(data), ignore_errors=True)
        self._store.get_or_compute(data)
        self.from_packed()

    def networks_alone(self) -> None:
        """Run the teachers over as many images that are in memory, and keep nothing."""
        for model in self._networks.values():
            for first in range(0, self.images, EVALUATION_BATCH):
                images = self._blank[: min(EVALUATION_BATCH, self.images - first)]
                with torch.inference_mode(), fixed_threads(1):
                    model(images, levels=LEVELS[-1:])

    def cached(self, split: str) -> CachedFeatures:
        """Return what reads the artifacts."""
        stages = {features_name(name, PICTURES): stage for name, stage in self._stages().items()}
        data = {f"dataset/{PICTURES}": self._pipeline.dataset(PICTURES)}
        inputs = {
            name: self._store.get_or_compute(below) for name, below in (stages | data).items()
        }
        return CachedFeatures(inputs, tuple(self.case.teachers), PICTURES, split)

    def readers(self) -> dict[str, Callable[[], None]]:
        """Return what reads all training images' features in random order, by way."""
        usual = partial(read_one_by_one, self.latest, tuple(self.case.teachers), LEVELS[-1])
        ours = self.cached("train").gather
        return {
            USUAL: partial(self._read, partial(usual, device=self.device)),
            PACKED: partial(self._read, partial(ours, device=self.device)),
        }

    def check_equal(self) -> float:
        """Compare all features; return the largest error beyond float16's rounding.

        Raises:
            AssertionError: It is more than the sums of a network differ by in another batch.
        """
        worst = 0.0
        first = 0
        # Mixed precision, the default on a GPU, rounds inside the network.
        allowed = 1e-5 if self._stages()[PICTURES].spec.precision == "fp32" else 5e-2
        for split in FEATURE_SPLITS:
            cached = self.cached(split)
            rows = np.arange(len(cached))
            for teacher, values in cached.gather(rows, self.device).items():
                usual = load_values(self.latest, teacher, LEVELS[-1], first + rows)
                beyond = np.abs(values.cpu().numpy() - usual) - 2.0**-11 * np.abs(usual)
                worst = max(worst, float(beyond.max() / np.abs(usual).max()))
            first += len(rows)
        assert worst <= allowed, f"features differ by {worst:.1e} of the largest"
        return max(worst, 0.0)

    def stored(self, dtype: FeaturesDtype) -> tuple[int, int]:
        """Return the number of files of all teachers' features, and their bytes."""
        found = [
            self._store.get_or_compute(stage, device=str(self.device))
            for stage in self._stages(dtype).values()
        ]
        manifests = [each.manifest for each in found]
        return sum(len(each.files) for each in manifests), sum(each.bytes for each in manifests)

    def check_eight_bits(self) -> str:
        """Compare 8-bit features with float16 ones and return how far they are off.

        Raises:
            AssertionError: By more than half a step of a channel's scale.
        """
        worst, mean_error = 0.0, []
        for half, eight in zip(self._stages().values(), self._stages("int8").values(), strict=True):
            for split in FEATURE_SPLITS:
                values, coded = (
                    _values(self._store.artifact_path(stage), split) for stage in (half, eight)
                )
                over = (0, *range(2, values.ndim))
                step = (values.max(over, keepdims=True) - values.min(over, keepdims=True)) / 255
                off = np.abs(coded - values) / np.where(step == 0, 1, step)
                worst = max(worst, float(off.max()))
                mean_error.append(float(np.abs(coded - values).mean() / np.abs(values).mean()))
        assert worst <= 0.501, f"8-bit features are off by {worst:.3f} steps"
        mean = sum(mean_error) / len(mean_error)
        return (
            f"at most {worst:.3f} steps, on average {100 * mean:.2f} % of the features' mean size"
        )

    def _stages(self, dtype: FeaturesDtype = "float16") -> dict[str, FeaturesStage]:
        return {
            name: self._pipeline.features(name, PICTURES, LEVELS[-1], dtype)
            for name in self.case.teachers
        }

    def _read(self, gather: Callable[[NDArray[np.int64]], object]) -> None:
        order = np.random.default_rng(0).permutation(self.training)
        for first in range(0, len(order), BATCH):
            gather(order[first : first + BATCH])


def _write_pictures(folder: Path, per_class: int) -> Path:
    """Write tiles of the built-in photographs as PNG files, and return their folder."""
    kept = {"train": per_class, "val": max(per_class // 4, 1), "test": 1}
    raw = load_dataset(DatasetSpec(source="photos"))
    for split, most in kept.items():
        written: Counter[int] = Counter()
        for index, label in enumerate(raw.splits[split].labels.tolist()):
            if written[label] < most:
                file = folder / PICTURES / split / raw.classes[label] / f"{written[label]}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                raw.splits[split].image(index).save(file)
                written[label] += 1
    return folder / PICTURES


def _settings(case: Case, pictures: DatasetSpec) -> PipelineSettings:
    """Return settings whose teachers are hardly trained: what they cost does not depend on it."""
    return PipelineSettings.model_validate(
        {
            "image_size": case.image_size,
            "datasets": {
                name: pictures if name == PICTURES else {"source": name, "train_size": 104}
                for name in case.teachers
            },
            "teacher": {"train": {"epochs": 1}},
            "teachers": {name: {"arch": arch} for name, arch in case.teachers.items()},
        }
    )


def _contents(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _values(folder: Path, split: str) -> NDArray[np.float32]:
    array = FeatureArray(folder, split)
    values: NDArray[np.float32] = array.between(0, len(array), torch.device("cpu")).numpy()
    return values
