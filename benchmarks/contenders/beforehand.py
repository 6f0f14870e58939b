"""What the author of `careful` did beforehand: trained teachers, and perhaps extracted features."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlfd_tune.config import SweepConfig, load_experiment, settings_for
from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.store import Store, walk


def main() -> None:
    """Compute the stages of the given names that the trials of an experiment need."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("stages", nargs="+", help="names, such as teacher")
    chosen = parser.parse_args()
    loaded, store, catalogue = load_experiment(chosen.experiment), Store(chosen.store), Catalogue()
    assert isinstance(loaded.config, SweepConfig)
    for dataset in loaded.config.target_names:
        for point in loaded.config.search.points_of(dataset):
            settings = settings_for(loaded.raw, dataset, point)
            student = Pipeline(settings, catalogue).student(dataset)
            for stage in walk([student]):
                if stage.stage_name in chosen.stages and not store.has(stage):
                    store.get_or_compute(stage)


if __name__ == "__main__":
    main()
