"""Top-5 accuracies of an ablation's arms, read from MLflow."""

from __future__ import annotations

from collections.abc import Mapping

from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.session import tag_equals

__all__ = ["BySeed", "read_top5"]

BySeed = Mapping[tuple[str, str], Mapping[str, float]]
"""An accuracy in percent by seed, by dataset and arm."""


def read_top5(uri: str, experiment: str, run: str, metric: str) -> BySeed:
    """Return the top-5 accuracy of a run's finished arms.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        run: Id of the run.
        metric: The top-1 metric that is shown, which names the split.

    Raises:
        UserError: MLflow cannot be reached.
    """
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    wanted = f"{tag_equals(vocabulary.KIND, 'arm')} and {tag_equals(vocabulary.SWEEP, run)}"
    values: dict[tuple[str, str], dict[str, float]] = {}
    token = None
    while True:
        page = client.search_runs(
            [found.experiment_id],
            f"{wanted} and attributes.status = 'FINISHED'",
            max_results=1000,
            page_token=token,
        )
        for one in page:
            tags, value = one.data.tags, one.data.metrics.get(metric.replace("acc1", "acc5"))
            if value is not None and vocabulary.ARM in tags:
                key = tags[vocabulary.DATASET], tags[vocabulary.ARM]
                values.setdefault(key, {})[tags[vocabulary.SEED]] = value
        token = page.token
        if not token:
            return values
