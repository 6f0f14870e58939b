"""The model card of an exported student: Markdown with front matter, as the Hugging Face hub reads.

Every number was measured before: accuracies and intervals are the leaderboard's, the rest is read
from MLflow and from the manifests of the store. A result that shows nothing says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Artifact
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.model_card_origin import data_lines, environment_lines, lineage_lines
from mlfd_tune.tracking.model_card_parts import code, number, plain, table
from mlfd_tune.tracking.model_card_training import training_lines
from mlfd_tune.tracking.model_card_use import reproduce_lines, use_lines
from mlfd_tune.tracking.stored_runs import TEST

__all__ = ["Card", "model_card"]

_SHOWN_CLASSES = 50
_SEEDS_FOR_A_TEST = 6  # 2 / 2**6 is the first below 0.05


@dataclass(frozen=True)
class Card:
    """What a model card is made of.

    Attributes:
        row: The leaderboard's row.
        better_control: A baseline or control with higher validation accuracy, if there is one.
        config: Content of the exported configuration.
        seed: Seed of the exported weights.
        tags: Of the exported seed's run.
        metrics: Likewise, in percent.
        params: Likewise.
        artifacts: What the student is made of, by label, ``student`` among them; those that the
            store still has.
        network: What rebuilds the network, with class names and normalisation; None without
            weights.
        parameters: The number of trainable values; None likewise.
        files: The names of the other files of the bundle by their format.
        onnx_difference: How far the ONNX file's logits lie from torch's; None without that file.
    """

    row: Row
    better_control: Row | None
    config: Mapping[str, Any]
    seed: int
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    artifacts: Mapping[str, Artifact]
    network: Mapping[str, Any] | None
    parameters: int | None
    files: Mapping[str, str]
    onnx_difference: float | None = None


def model_card(card: Card) -> str:
    """Return the card as Markdown."""
    row = card.row
    lines = [
        *_front_matter(card),
        f"# {plain(row.experiment)}: {plain(row.dataset)}",
        "",
        *_summary(card),
    ]
    sections = {
        "What it is": _network_lines(card),
        "Results": _result_lines(card),
        "How it was chosen": _choice_lines(card),
        "Data": data_lines(card.artifacts),
        "Training": training_lines(card.config, card.params, card.artifacts),
        "How to use it": use_lines(row.dataset, card.network, card.files, card.onnx_difference),
        "How to reproduce it": reproduce_lines(row, card.files, card.seed),
        "Lineage": lineage_lines(card.artifacts, card.tags[vocabulary.ARTIFACT_KEY]),
        "Software and hardware": environment_lines(card.tags, card.artifacts.get("student")),
        "Limits": _limits(card),
    }
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _front_matter(card: Card) -> Iterator[str]:
    # No `datasets`: its names would be taken for those of the hub, where others' data has them.
    row = card.row
    content: dict[str, Any] = {
        "library_name": "mlfd-tune",
        "pipeline_tag": "image-classification",
        "tags": [
            *dict.fromkeys(("image-classification", "knowledge-distillation", "mlfd", row.method))
        ],
        "metrics": ["accuracy"],
    }
    measured = row.test or row.val
    if measured is not None:
        split = "test" if row.test else "validation"
        seeds = f"mean of {measured.n} seeds" if measured.n > 1 else "one seed"
        content["model-index"] = [
            {
                "name": f"{row.experiment}-{row.dataset}",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": row.dataset, "type": row.dataset, "split": split},
                        "metrics": [
                            {
                                "type": "accuracy",
                                "value": round(measured.mean, 2),
                                "name": f"{split} top-1 accuracy in %, {seeds} ({row.status})",
                            }
                        ],
                    }
                ],
            }
        ]
    yield "---"
    yield yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip()
    yield "---"
    yield ""


def _summary(card: Card) -> Iterator[str]:
    row = card.row
    arch = card.network["arch"] if card.network else card.params.get("student.arch", "a network")
    yield (
        f"A student of the method {code(row.method)}, trained with mlfd-tune (Multi-Level Feature "
        f"Distillation): {code(arch)} for the dataset {code(row.dataset)}."
    )
    if row.status == "provisional":
        yield ""
        yield (
            "> **Provisional.** This is one training with one seed, and the best of many trials of "
            "a search by its validation accuracy. Such a figure is too good on average: it was "
            "not measured again on fresh seeds, and not on the test split."
        )


def _network_lines(card: Card) -> Iterator[str]:
    if card.network is None:
        yield "The weights were no longer in the store when this was exported."
        return
    about, size = card.network, card.network["image_size"]
    classes = [code(name) for name in about["classes"]]
    more = len(classes) - _SHOWN_CLASSES
    shown = ", ".join(classes[:_SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")
    yield from table(
        ("", ""),
        [
            ("architecture", f"{code(about['arch'])} (timm)"),
            ("parameters", f"{card.parameters:,}"),
            ("input", f"RGB images of {size} x {size} pixels"),
            ("mean of the channels", ", ".join(number(value, 4) for value in about["mean"])),
            ("standard deviation", ", ".join(number(value, 4) for value in about["std"])),
            ("classes", f"{len(classes)}: {shown}"),
            ("seed of these weights", str(card.seed)),
        ],
    )


def _result_lines(card: Card) -> Iterator[str]:
    row = card.row
    rows = []
    for name, metric, interval in (
        ("validation", "val/acc1", row.val),
        ("test", "test/acc1", row.test),
    ):
        if interval is None:
            rows.append((name, "not measured", "", ""))
            continue
        own = card.metrics.get(metric)
        rows.append(
            (name, number(own), f"{number(interval.mean)} (n = {interval.n})", _ends(interval))
        )
    yield "Top-1 accuracy in percent:"
    yield ""
    yield from table(("split", f"seed {card.seed}", "mean over seeds", "95 % interval"), rows)
    yield ""
    yield f"- {_gain('the same student without distillation', 'the baseline', row.gain, row)}"
    own_teacher = row.gain_over_own_teacher
    if row.method != vocabulary.OWN_TEACHER:
        what = "distillation from the dataset's own teacher alone"
        yield f"- {_gain(what, 'the own-teacher control', own_teacher, row)}"
    if card.better_control is not None:
        other = card.better_control
        yield (
            f"- {code(other.method)} scores higher on validation in the same run: "
            f"{_mean(other)} against {_mean(row)}."
        )
    if "test/ece" in card.metrics:
        yield (
            "- Expected calibration error on the test split (seed "
            f"{card.seed}): {number(card.metrics['test/ece'])} %."
        )
    if row.n_seeds < _SEEDS_FOR_A_TEST and row.n_seeds > 1:
        yield ""
        yield (
            f"Intervals over {row.n_seeds} seeds are wide and assume roughly normal values; an "
            f"exact paired test needs {_SEEDS_FOR_A_TEST} seeds to reach p = 0.05 at all."
        )


def _gain(what: str, name: str, gain: Interval | None, row: Row) -> str:
    start = f"Against {what}"
    if gain is None:
        return f"{start}: not measured; no gain is claimed."
    split = "test" if row.gain_metric == TEST else "validation"
    text = f"{start} ({split}, paired by seed, n = {gain.n}): {gain.mean:+.2f} points"
    if gain.low is None or gain.high is None:
        return f"{text}; one seed has no interval: no gain shown over {name}."
    text += f", 95 % interval {gain.low:+.2f} to {gain.high:+.2f}"
    if gain.low > 0:
        return f"{text}: higher than {name}."
    if gain.high < 0:
        return f"{text}: **lower** than {name}."
    return f"{text}: **no gain shown over {name}**."


def _choice_lines(card: Card) -> Iterator[str]:
    row = card.row
    if row.status == "confirmed":
        yield (
            "The configuration was found by a search that saw the validation split only, and was "
            f"then trained again on {row.n_seeds} fresh seeds, from which all figures above are. "
            "The test split was read once for each of them."
        )
    elif row.status == "ablation":
        yield (
            f"The configuration is the arm {code(row.arm or '')} of a designed comparison, trained "
            f"on {row.n_seeds} seeds. It is the arm with the highest validation accuracy, so that "
            "figure is too good on average."
        )
    else:
        yield (
            "The configuration is the trial with the highest validation accuracy of a search; it "
            "was not confirmed."
        )
    if row.n_seeds > 1:
        yield ""
        yield (
            f"The weights are those of seed {card.seed}, the one of {row.n_seeds} with the highest "
            "validation accuracy. What to expect of the method is the mean over seeds."
        )


def _limits(card: Card) -> Iterator[str]:
    row = card.row
    yield (
        "- Intervals speak of new seeds on the same split of the same data. They say nothing of "
        "other data, or of pictures from elsewhere."
    )
    if row.test is None:
        yield "- The test split was not read: there is no figure free of selection."
    yield (
        f"- It knows {'its' if card.network is None else len(card.network['classes'])} classes and "
        "names one of them for any picture, also for one that shows none."
    )
    yield (
        "- Robustness to other cameras, noise or attacks, and differences between groups of people "
        "or places, were not measured."
    )
    yield (
        f"- Licences of the dataset {code(row.dataset)}, of the teachers' datasets and of "
        "pretrained weights may bind whoever uses this."
    )


def _mean(row: Row) -> str:
    return number(row.val.mean if row.val else None)


def _ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "none (one seed)"
    return f"{number(interval.low)} to {number(interval.high)}"
