"""The linear head's sweep in one program, against a loop of single fits.

    python benchmarks/probe.py [--problems 8] [--json FILE]

The sweep fits one head a problem and learning rate, all together. `one by one` calls the same
function for one head at a time, so that only what is done together differs. `PyTorch loop` is the
usual way, on one thread: nn.Linear and Adam, the validation score after every epoch.
Features and labels are drawn; compiling is not counted. Heads per second.
"""

import argparse
from collections.abc import Generator
from pathlib import Path

import measure
import numpy as np
from measure import told

from histo_jax.evaluation import linear

BAR = 20.0  # times as many heads a second as a loop of single fits
CLASSES, DECAY = 8, 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=8, help="splits, seeds or encoders")
    parser.add_argument("--images", type=int, default=512, help="training images of a problem")
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=linear.EPOCHS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    flags = parser.parse_args()
    facts = measure.machine()
    measure.show_machine(facts)
    problems = [draw(seed, flags.images, flags.features) for seed in range(flags.problems)]
    systems = {
        "sweep": sweep(problems, flags.epochs),
        "one by one": one_by_one(problems, flags.epochs),
    }
    if measure.has("torch"):
        systems["PyTorch loop"] = torch_loop(problems, flags.epochs)
    samples = measure.alternate(systems, rounds=flags.rounds, seconds=0.5)
    rows, found = [], {}
    for name, some in samples.items():
        times = measure.ratio(samples["sweep"], some)
        found[name] = measure.rates(some) | {"sweep_times_as_fast": times}
        both = [told(found[name][unit], ",.2f") for unit in ("per_second", "per_cpu_second")]
        rows.append((name, *both, told(times, ".1f")))
    heads = flags.problems * len(linear.RATES)
    print(
        f"{heads} heads: {flags.problems} problems of {flags.images} images, {flags.epochs} epochs"
    )
    print(measure.table(("fits", "heads/s", "heads a CPU-second", "sweep: times as fast"), rows))
    bars = [
        measure.verdict(f"sweep / {name}", numbers["sweep_times_as_fast"]["median"], BAR)
        for name, numbers in found.items()
        if name != "sweep"
    ]
    measure.write(flags.json, facts, {"fits": found, "bars": bars})


def draw(seed: int, images: int, features: int) -> linear.Problem:
    """Classes that overlap; half as many images to validate on."""
    random = np.random.default_rng(seed)
    centres = 0.2 * random.normal(size=(CLASSES, features))
    y = np.arange(images + images // 2) % CLASSES
    x = (centres[y] + random.normal(size=(len(y), features))).astype(np.float32)
    return linear.Problem(x[:images], y[:images], x[images:], y[images:], seed)


def sweep(problems: list[linear.Problem], epochs: int) -> Generator[int]:
    while True:
        heads = linear.fit(problems, classes=CLASSES, decay=DECAY, epochs=epochs)
        yield sum(map(len, heads))


def one_by_one(problems: list[linear.Problem], epochs: int) -> Generator[int]:
    while True:
        for number, problem in enumerate(problems):
            rate = linear.RATES[number % len(linear.RATES)]
            linear.fit([problem], classes=CLASSES, decay=DECAY, rates=(rate,), epochs=epochs)
            yield 1


def torch_loop(problems: list[linear.Problem], epochs: int) -> Generator[int]:
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)  # faster: the operations are small
    while True:
        for number, problem in enumerate(problems):
            x, y, new_x, new_y = map(
                torch.from_numpy, (problem.x, problem.y, problem.validation_x, problem.validation_y)
            )
            head = torch.nn.Linear(x.shape[1], CLASSES)
            rate = linear.RATES[number % len(linear.RATES)]
            optimizer = torch.optim.Adam(head.parameters(), lr=rate, weight_decay=DECAY)
            best = 0.0
            for _ in range(epochs):
                for rows in torch.randperm(len(x)).split(linear.BATCH):
                    optimizer.zero_grad()
                    cross_entropy(head(x[rows]), y[rows]).backward()
                    optimizer.step()
                with torch.no_grad():
                    found = head(new_x).argmax(1)
                    counts = torch.bincount(new_y * CLASSES + found, minlength=CLASSES**2)
                    counts = counts.reshape(CLASSES, CLASSES).float()
                    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1)).clamp(min=1)
                    best = max(best, f1.mean().item())
            yield 1


if __name__ == "__main__":
    main()
