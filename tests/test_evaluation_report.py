"""What the report says and does not say."""

import json

import pytest

from histo_jax.evaluation import report


def row(init, value, ci, protocol="linear", seed=0, metric="macro_f1", split_by="paper"):
    return {
        "init": init, "protocol": protocol, "dataset": "b/c", "split": "test",
        "split_by": split_by, "metric": metric, "value": value, "ci": ci, "n": 50, "n_groups": 9,
        "n_train": 100, "seed": seed, "layer": "pooled", "fraction": 1.0,
    }  # fmt: skip


def make(*rows, pretrained_on=None):
    data = {"name": "b/c", "n": 200, "n_groups": 30, "pretrained_on": pretrained_on}
    return report.build(scores=list(rows), data=data, config={}, versions={})


def test_rows_have_the_fields_of_the_schema(tmp_path):
    built = make(row("ssl", 0.8, [0.7, 0.9]), row("random", 0.5, None) | {"extra": 1})
    path = report.write(tmp_path / "new", built)
    read = json.loads(path.read_text())
    assert read == built and path.name == "report.json"
    assert {"schema", "scores", "per_class", "config", "card", "versions"} <= set(read)
    assert all(tuple(r) == report.ROW for r in read["scores"])
    assert read["schema"] == 1


def test_summary_is_mean_and_spread_over_seeds():
    built = make(
        row("ssl", 0.8, [0.7, 0.9], seed=0), row("ssl", 0.9, [0.8, 1.0], seed=1),
        row("ssl", 0.1, [0.0, 0.2], metric="accuracy"),
    )  # fmt: skip
    (cell,) = report.summarise(built)
    assert cell["value"] == pytest.approx(0.85) and cell["seeds"] == 2
    assert cell["spread"] == pytest.approx(0.0707107, abs=1e-6)
    assert cell["ci"] == pytest.approx([0.75, 0.95])


def test_separated_intervals_are_a_win():
    built = make(row("ssl", 0.8, [0.75, 0.85]), row("random", 0.5, [0.4, 0.6]),
                 row("texture", 0.7, [0.6, 0.74]))  # fmt: skip
    (line,) = report.verdict(report.summarise(built))
    assert "strongest floor is texture, 0.700" in line
    assert line.endswith("beats it, intervals separated")


def test_overlap_is_not_a_win_and_names_what_is_not_beaten():
    built = make(row("ssl", 0.8, [0.7, 0.9]), row("random", 0.5, [0.4, 0.6]),
                 row("texture", 0.75, [0.6, 0.8]), row("mean_rgb", 0.2, None))  # fmt: skip
    first, second = report.verdict(report.summarise(built))
    assert "intervals overlap" in first
    assert second.strip() == "ssl does not clearly beat: texture, mean_rgb"


def test_stronger_floor_is_said_plainly():
    lines = report.verdict(
        report.summarise(make(row("ssl", 0.6, [0.5, 0.7]), row("texture", 0.7, [0.6, 0.8])))
    )
    assert lines[0].endswith("does not beat it")


def test_lower_is_better_for_errors():
    built = make(row("ssl", 5.0, [4, 6], metric="l1"), row("random", 12.0, [10, 14], metric="l1"),
                 row("mean_rgb", 8.0, [7, 9], metric="l1"))  # fmt: skip
    (line,) = report.verdict(report.summarise(built))
    assert "strongest floor is mean_rgb" in line and line.endswith("intervals separated")


def test_raw_random_counts_against_standardised_ssl_and_the_reverse():
    built = make(
        row("ssl", 0.8, [0.75, 0.85]), row("random", 0.5, [0.4, 0.6]),
        row("random", 0.7, [0.6, 0.8], protocol="linear_raw"),
        row("ssl", 0.65, [0.6, 0.7], protocol="linear_raw"),
    )  # fmt: skip
    lines = report.verdict(report.summarise(built))
    assert "random (raw), 0.700" in lines[0]
    assert lines[2].startswith("paper, linear_raw") and lines[2].endswith("does not beat it")


def test_table_prints_every_cell_and_no_other():
    built = make(row("ssl", 0.8, [0.7, 0.9]), row("ssl", 0.7, [0.6, 0.8], split_by="grouped"),
                 row("random", 0.5, None, protocol="knn20"), pretrained_on={"images": 7, "unknown": ["x/y"]})  # fmt: skip
    text = report.table(built)
    assert "split paper" in text and "split grouped" in text and "knn20" in text
    assert "0.800 [0.700, 0.900]" in text and "0.500\n" in text
    assert "nan" not in text and "None" not in text and "7 of them were in pretraining" in text
    assert "unknown whether pretraining on x/y" in text
