"""Nuclear-area fraction from frozen features, on real tissue, by the real commands.

    python benchmarks/nuclei.py TISSUE OUT [--steps 300] [--seeds 3]

TISSUE holds `dsb2018_brightfield/{images,instance_mask_png}` (DSB2018 / BBBC038, CC0: 81 stained
images of 320x256). Each gives four patches of 128 pixels; the target is the share of pixels inside
a nucleus, in percent. Most backgrounds are purple, some white, a few pink: that colour group is the
label by which splits are stratified; the image is the group that no split may cut.
One run a training seed; the tables are printed and kept under OUT. It checks that the path works;
81 images say nothing about how good the method is.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from runs import run, table

SIDE = 128  # pixels
CORNERS = ((0, 0), (192, 0), (0, 128), (192, 128))  # of the four patches: x, y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tissue", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    flags = parser.parse_args()
    out = flags.out.resolve()
    count = prepare(flags.tissue / "dsb2018_brightfield", out / "patches")
    print(f"{count} patches in {out / 'patches'}")
    tfds, python = Path(sys.executable).with_name("tfds"), sys.executable
    folders = ("--manual_dir", out / "patches", "--data_dir", out / "data")
    run(tfds, "build", "tfds_builders/histo_labelled", "--config", '{"name": "nuclei"}', *folders)
    data = f"--config.data.dir={out / 'data'}"
    reports = []
    for seed in range(flags.seeds):
        workdir = out / f"seed{seed}"
        length = (f"--config.seed={seed}", f"--config.training.total_steps={flags.steps}")
        run(python, "train.py", "--config=configs/nuclei.py", f"--workdir={workdir}", data, *length)
        scored = (f"--checkpoint={workdir}", "--config.dataset=histo_labelled/nuclei")
        run(python, "eval.py", "--config=configs/probe.py", data, *scored)
        reports.append(json.loads((workdir / "report.json").read_text()))
    print(table(reports))


def prepare(source: Path, folder: Path) -> int:
    """Cuts the patches and writes `labels.csv`; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in sorted((source / "images").glob("*.png")):
        image = np.asarray(Image.open(path).convert("RGB"))
        nuclei = np.asarray(Image.open(source / "instance_mask_png" / path.name)) > 0
        red, green, blue = np.median(image.reshape(-1, 3), axis=0)
        group = "white" if green >= 165 else "pink" if red > blue else "purple"
        for number, (x, y) in enumerate(CORNERS):
            name = f"{path.stem[:16]}_{number}.png"
            patch = np.s_[y : y + SIDE, x : x + SIDE]
            Image.fromarray(image[patch]).save(folder / name)
            rows.append((name, group, f"{100 * nuclei[patch].mean():.4f}", path.stem[:16]))
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "target", "slide"), *rows])
    return len(rows)


if __name__ == "__main__":
    main()
