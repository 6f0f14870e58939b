"""The page of the papers names every experiment, and its tables come from MLflow."""

from __future__ import annotations

import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from mlfd_tune.ablation import arms_of
from mlfd_tune.config import AblationConfig, load_experiment
from mlfd_tune.tracking import Tracker

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "papers.md").read_text(encoding="utf-8")
TWINS = sorted((PROJECT / "experiments" / "small").glob("*.yaml"))
SHIPPED = [*sorted((PROJECT / "experiments").glob("*.yaml")), *TWINS]

T_2 = 4.302653  # two-sided 95 % Student t quantile with 2 degrees of freedom


def shown(file: Path) -> str:
    return file.relative_to(PROJECT).as_posix()


@pytest.mark.parametrize("file", SHIPPED, ids=shown)
def test_every_experiment_is_named_with_the_command_that_runs_it(file: Path) -> None:
    assert f"mlfd-tune run {shown(file)}\n" in PAGE


@pytest.mark.parametrize("file", TWINS, ids=shown)
def test_every_small_twin_has_room_for_its_results_and_for_what_came_out(file: Path) -> None:
    name = f"small_{file.stem}"
    marks = (
        rf"<!-- results: {name} -->\n.*?<!-- end of results -->\n+"
        rf"(<!-- differences: {name} .*?<!-- end of differences -->\n+)?<!-- verdict: {name} -->"
    )
    assert len(re.findall(marks, PAGE, re.DOTALL)) == 1


def test_the_page_has_marks_for_what_ships_and_for_nothing_else() -> None:
    assert sorted(re.findall(r"<!-- results: (\S+) -->", PAGE)) == [
        f"small_{f.stem}" for f in TWINS
    ]


@pytest.fixture(scope="module")
def results() -> ModuleType:
    """The script that fills the page."""
    spec = spec_from_file_location("results", PROJECT / "docs" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Recorder:
    """Writes the runs of one execution of an experiment, as the program does."""

    def __init__(self, uri: str, experiment: str, kind: str, outbox: Path) -> None:
        self.tracker = Tracker(uri, experiment, outbox, linger_s=0.01)
        self.sweep, self.count = outbox.name, 0
        tags = {"mlfd.kind": kind, "mlfd.sweep": self.sweep, "mlfd.hardware.cpus": "2"}
        self.tracker.start_run("parent", "parent", tags=tags)

    def runs(self, kind: str, dataset: str, method: str, tests: list[float], **more: str) -> None:
        """One configuration with the seeds 0, 1, 2 and so on; `more` are tags, and params."""
        tags = {name: more.pop(name) for name in ("arm", "baseline_of", "config") if name in more}
        for seed, test in enumerate(tests):
            self.count += 1
            name = f"run {self.count}"
            own = {"kind": kind, "dataset": dataset, "method": method, "seed": str(seed)}
            named = {"config": name, "sweep": self.sweep, **own, **tags}
            of_mlfd = {f"mlfd.{tag}": value for tag, value in named.items()}
            params = {key.replace("__", "."): value for key, value in more.items()}
            self.tracker.start_run(name, name, parent="parent", tags=of_mlfd, params=params)
            self.tracker.log_metrics(name, {"val/acc1": 50.0, "test/acc1": test}, step=1)
            self.tracker.end_run(name, "FINISHED")

    def close(self, status: str = "FINISHED") -> None:
        self.tracker.end_run("parent", status)  # type: ignore[arg-type]
        assert self.tracker.close(30)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """An ablation that ran twice, a grid and a sweep, with numbers that are easy to check."""
    folder = tmp_path_factory.mktemp("database")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"

    # Differences to the reference: 4, 5, 6 at L1, and -1, 0, 1 at L2.
    depth = Recorder(uri, "small_table4_fusion_depth", "ablation", folder / "first")
    for dataset in ("digits", "letters"):
        depth.runs("arm", dataset, "none", [60.0, 61.0, 62.0], arm="dataset-specific")
        depth.runs("arm", dataset, "joint_teacher", [64.0, 66.0, 68.0], arm="joint teacher L1")
        depth.runs("arm", dataset, "joint_teacher", [59.0, 61.0, 63.0], arm="joint teacher L2")
    depth.close()
    stopped = Recorder(uri, "small_table4_fusion_depth", "ablation", folder / "second")
    stopped.runs("arm", "digits", "none", [10.0, 10.0, 10.0], arm="dataset-specific")
    stopped.close("KILLED")

    grid = Recorder(uri, "small_imbalance", "ablation", folder / "grid")
    for size, gain in (("520", 0.0), ("26", 5.0)):
        arm = f"train_size={size}, sampling=uniform, method="
        grid.runs("arm", "digits", "none", [50.0, 52.0, 54.0], arm=f"{arm}none")
        taught = [49.0 + gain, 52.0 + gain, 55.0 + gain]
        grid.runs("arm", "digits", "mlfd", taught, arm=f"{arm}mlfd")
    grid.close()

    sweep = Recorder(uri, "small_t1_sweep", "sweep", folder / "sweep")
    sweep.runs("trial", "digits", "mlfd", [99.0], config="bbbb")
    chosen = {"joint_teacher__levels": "embedding,stride32", "distillation__alpha": "0.612345"}
    sweep.runs("confirm", "digits", "mlfd", [84.0, 86.0, 88.0], config="aaaa", **chosen)
    of = {"baseline_of": "aaaa"}
    sweep.runs("confirm", "digits", "none", [80.0, 81.0, 82.0], config="base", **of)
    sweep.runs("confirm", "digits", "own_teacher", [85.0, 86.0, 87.0], config="ctrl", **of)
    sweep.close()
    return uri


def page_of(folder: Path, *names: str) -> Path:
    page = folder / "page.md"
    marked = (f"<!-- results: {n} -->\nNot run yet.\n<!-- end of results -->\n" for n in names)
    page.write_text(f"# Title\n\n{''.join(marked)}\nThe end.\n", encoding="utf-8")
    return page


def cells(page: Path) -> dict[str, list[str]]:
    """The lines of all tables by their first cell."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_arms_stand_against_the_reference_of_the_latest_finished_run(
    results: ModuleType, database: str, tmp_path: Path
) -> None:
    page = page_of(tmp_path, "small_table4_fusion_depth")

    results.main(["--uri", database, "--page", str(page)])

    rows = cells(page)
    half = T_2 / 3**0.5
    assert rows["arm"][:3] == ["digits", "against dataset-specific", "letters"]
    assert rows["dataset-specific"][:2] == [f"61.00 ± {half:.2f}", "reference"]
    assert rows["joint teacher L1"][0] == f"66.00 ± {2 * half:.2f}"
    # 5 ± 2.48 excludes zero and is bold; 0 ± 2.48 is not.
    assert rows["joint teacher L1"][1] == f"**+5.00 [{5 - half:.2f}, {5 + half:.2f}]**"
    assert rows["joint teacher L2"][1] == f"+0.00 [{-half:.2f}, {half:.2f}]"
    assert rows["joint teacher L4"] == ["–"] * 6  # it has no results
    text = page.read_text(encoding="utf-8")
    assert "`mlfd-tune run experiments/small/table4_fusion_depth.yaml`: 3 seeds;" in text
    assert "MLflow experiment `small_table4_fusion_depth`; 0.0 min on 2 CPU cores." in text
    assert text.startswith("# Title\n\n<!-- results:")
    assert text.endswith("<!-- end of results -->\n\nThe end.\n")


def test_filling_a_page_again_changes_nothing(
    results: ModuleType, database: str, tmp_path: Path
) -> None:
    page = page_of(tmp_path, "small_table4_fusion_depth", "small_imbalance", "small_t1_sweep")
    results.main(["--uri", database, "--page", str(page)])
    once = page.read_text(encoding="utf-8")

    results.main(["--uri", database, "--page", str(page)])

    assert page.read_text(encoding="utf-8") == once
    assert "Not run yet." not in once


def test_a_grid_with_methods_shows_what_they_gain_at_each_of_the_other_factors(
    results: ModuleType, database: str, tmp_path: Path
) -> None:
    page = page_of(tmp_path, "small_imbalance")

    results.main(["--uri", database, "--page", str(page)])

    text = page.read_text(encoding="utf-8")
    half = T_2 / 3**0.5
    assert (
        "| `datasets.digits.train_size` | `joint_teacher.sampling` | digits: mlfd | photos: mlfd |"
    ) in text
    assert f"| 520 (1:1) | uniform | +0.00 [{-half:.2f}, {half:.2f}] | – |" in text
    assert f"| 26 (1:20) | uniform | **+5.00 [{5 - half:.2f}, {5 + half:.2f}]** | – |" in text


def test_of_a_search_the_confirmed_stand_there_and_what_was_chosen(
    results: ModuleType, database: str, tmp_path: Path
) -> None:
    page = page_of(tmp_path, "small_t1_sweep")

    results.main(["--uri", database, "--page", str(page)])

    text, half = page.read_text(encoding="utf-8"), T_2 / 3**0.5
    of_mlfd = f"86.00 ± {2 * half:.2f} | **+5.00 [{5 - half:.2f}, {5 + half:.2f}]**"
    assert f"| digits | `mlfd` | {of_mlfd} | +0.00 [{-half:.2f}, {half:.2f}] |" in text
    assert f"| digits | `none` | 81.00 ± {half:.2f} | – | – |" in text
    assert "99.00" not in text  # a trial is not confirmed
    rows = cells(page)
    assert rows["chosen"] == ["digits"]
    assert rows["`joint_teacher.levels`"] == ["L2"]
    assert rows["`distillation.alpha`"] == ["0.6123"]
    assert rows["`student.train.augment`"] == ["–"]


def test_any_two_arms_can_be_compared(results: ModuleType, database: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    pairs = "joint teacher L1 - joint teacher L2 | dataset-specific - joint teacher L4"
    mark = f"<!-- differences: small_table4_fusion_depth | {pairs} -->"
    page.write_text(f"{mark}\nNot run yet.\n<!-- end of differences -->\n", encoding="utf-8")

    results.main(["--uri", database, "--page", str(page)])

    rows = cells(page)
    assert rows["difference in points"] == ["digits", "letters", "photos"]
    # 5, 5, 5: there is no spread.
    told = "**+5.00 [5.00, 5.00]**"
    assert rows["joint teacher L1 over joint teacher L2"] == [told, told, "–"]
    assert rows["dataset-specific over joint teacher L4"] == ["–"] * 3
    assert page.read_text(encoding="utf-8").startswith(f"{mark}\n| difference")

    page.write_text(f"{mark.replace('L4', 'L5')}\n<!-- end of differences -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="unknown arm 'joint teacher L5'"):
        results.main(["--uri", database, "--page", str(page)])


def test_what_the_program_prints_can_stand_there_without_its_caption(
    results: ModuleType, database: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- tables: small_table4_fusion_depth -->\nNot run yet.\n<!-- end of tables -->\n",
        encoding="utf-8",
    )

    results.main(["--uri", database, "--page", str(page)])

    text = page.read_text(encoding="utf-8")
    assert "**digits · test/acc1 in %, 3 seeds; difference to dataset-specific" in text
    [of_digits, of_letters] = re.findall(r"^\| joint teacher L1 \| \*\*66\.00\*\* .+$", text, re.M)
    assert of_digits.endswith("| too few seeds |")
    assert of_letters.endswith("| too few seeds |")
    assert "Hedges" not in text
    assert text.endswith("\n<!-- end of tables -->\n")


def test_every_difference_on_the_page_is_between_arms_of_its_experiment() -> None:
    for name, pairs in re.findall(r"<!-- differences: (\S+) \| (.+?) -->", PAGE):
        loaded = load_experiment(PROJECT / "experiments" / "small" / f"{name[6:]}.yaml")
        assert isinstance(loaded.config, AblationConfig)
        arms = {arm.name for arm in arms_of(loaded.config)}
        assert {arm for pair in pairs.split(" | ") for arm in pair.split(" - ")} <= arms


def test_only_what_is_asked_for_is_filled_and_what_never_ran_stays(
    results: ModuleType, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(tmp_path, "small_imbalance", "small_table2", "small_t1_sweep")

    results.main(["--uri", database, "--page", str(page), "small_imbalance", "small_table2"])

    text = page.read_text(encoding="utf-8")
    assert text.count("Not run yet.") == 2
    assert "<!-- results: small_table2 -->\nNot run yet." in text
    assert capsys.readouterr().err == "small_table2: no finished run; left as it is\n"


@pytest.mark.parametrize(
    ("marked", "arguments", "told"),
    [
        ("small_table2", ["small_tabel2"], "did you mean 'small_table2'?"),
        ("small_tabel2", [], "unknown experiment 'small_tabel2'"),
        ("small_table2", ["--uri", "sqlite:///nowhere.db"], "there is no database"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_page_stays(
    marked: str,
    arguments: list[str],
    told: str,
    results: ModuleType,
    database: str,
    tmp_path: Path,
) -> None:
    page = page_of(tmp_path, marked)
    before = page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match=re.escape(told)):
        results.main(["--uri", database, "--page", str(page), *arguments])
    assert page.read_text(encoding="utf-8") == before
