"""Nuclei on real tissue: masks by a U-Net, area with few labels, by the real commands.

    python benchmarks/nuclei_masks.py TISSUE OUT [--steps 300] [--repeats 3] [--epochs 100]

TISSUE as in `benchmarks/nuclei.py`, whose patches and pretraining it uses: one training seed. The
U-Nets see whole images of 320x256, resized to 128 pixels a side, and are judged on all pixels; the
same network from random weights, colour pixel by pixel, Otsu's threshold and the commonest class
stand beside. Then the area of nuclei from frozen features with 5 to 100 % of the labels. The tables
are printed; reports with pictures are kept under OUT. 81 images say nothing about how good a
method is.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import nuclei
from runs import run, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tissue", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=300, help="of pretraining")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of split and decoder")
    parser.add_argument("--epochs", type=int, default=100, help="of each U-Net")
    flags = parser.parse_args()
    out, source = flags.out.resolve(), flags.tissue / "dsb2018_brightfield"
    nuclei.prepare(source, out / "patches")
    whole(source, out / "images")
    tfds, python = Path(sys.executable).with_name("tfds"), sys.executable
    for folder, options in (
        ("patches", {"name": "nuclei"}),
        ("images", {"name": "masks", "instance_masks": True}),
    ):
        build = ("build", "tfds_builders/histo_labelled", "--config", json.dumps(options))
        run(tfds, *build, "--manual_dir", out / folder, "--data_dir", out / "data")
    data, workdir = f"--config.data.dir={out / 'data'}", out / "encoder"
    length = f"--config.training.total_steps={flags.steps}"
    run(python, "train.py", "--config=configs/nuclei.py", f"--workdir={workdir}", data, length)
    of = (f"--checkpoint={workdir}", data)
    run(
        python, "eval.py", "--config=configs/segment.py", *of, f"--out={out / 'segment'}",
        "--config.dataset=histo_labelled/masks", "--config.image_size=128",
        f"--config.repeats={flags.repeats}", f"--config.supervised.epochs={flags.epochs}",
        "--config.supervised.learning_rate=1e-3",
    )  # fmt: skip
    run(
        python, "eval.py", "--config=configs/fractions.py", *of, f"--out={out / 'fractions'}",
        "--config.dataset=histo_labelled/nuclei", "--config.split_by=grouped",
    )  # fmt: skip
    for name in ("segment", "fractions"):
        print(table([json.loads((out / name / "report.json").read_text())]))


def whole(source: Path, folder: Path) -> None:
    """The images beside their masks, as `histo_labelled` takes them."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "images").glob("*.png")):
        shutil.copy(path, folder / path.name)
        shutil.copy(source / "instance_mask_png" / path.name, folder / "masks" / path.name)


if __name__ == "__main__":
    main()
