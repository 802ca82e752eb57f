"""Scores of the demo's encoder on tissue that nothing was tuned on, by the real commands.

    python benchmarks/demo.py OUT [--length short] [--generators 101 102] [--seeds 3]

Each generator seed draws its own patients, with a palette of stains that was not looked at while
the demo was made; each is trained on with several training seeds. One evaluation a run: its test
part is read once. The tables are printed and kept under OUT. Drawn tissue is no evidence about
patients.
"""

import argparse
import json
import sys
from pathlib import Path

from runs import run, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--length", default="short", choices=("short", "long"))
    parser.add_argument("--generators", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    parser.add_argument("--palette", default="other")
    flags = parser.parse_args()
    out, tfds = flags.out.resolve(), Path(sys.executable).with_name("tfds")
    reports = []
    for generator in flags.generators:
        name = f"{flags.palette}{generator}"
        options = {"name": name, "seed": generator, "palette": flags.palette}
        build = ("build", "tfds_builders/histo_demo", "--config", json.dumps(options))
        run(tfds, *build, "--data_dir", out / "data")
        for seed in range(flags.seeds):
            reports.append(score(out, name, seed, flags.length))
    text = table(reports)
    (out / f"{flags.length}.txt").write_text(text + "\n")
    print(text)


def score(out: Path, name: str, seed: int, length: str) -> dict:
    """Trains on one drawn set and evaluates on it; returns the report."""
    workdir, data = out / f"{name}-{length}-{seed}", f"--config.data.dir={out / 'data'}"
    dataset = f"histo_demo/{name}"
    trained = (
        f"--config=configs/demo.py:{length}", f"--workdir={workdir}", f"--config.seed={seed}",
        f"--config.data.datasets=(('{dataset}', None),)", f"--config.probe.dataset={dataset}",
    )  # fmt: skip
    run(sys.executable, "train.py", *trained, data)
    scored = (f"--checkpoint={workdir}", f"--config.dataset={dataset}")
    run(sys.executable, "eval.py", "--config=configs/probe.py", *scored, data)
    return json.loads((workdir / "report.json").read_text())


if __name__ == "__main__":
    main()
