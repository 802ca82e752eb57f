"""What was run and what came out, in sentences a pathologist follows, from the report alone."""

import numpy as np

from histo_jax.data.prepared import DRAWN
from histo_jax.evaluation import report as reports
from histo_jax.evaluation.page import tasks
from histo_jax.models import LAYER_NORM

FEW = 10  # patients, below which an interval of theirs is rough
NAMES = {
    "ssl": "this encoder",
    "random": "untrained network",
    "random_calibrated": "untrained, calibrated",
    "colour_histogram": "colour histogram",
    "mean_rgb": "mean colour",
    "texture": "classical texture",
    "imagenet": "trained on ImageNet",
    "constant": "the commonest class everywhere",
    "otsu": "a threshold in each image",
    "colour_pixels": "colour of the single pixel",
}
PROTOCOLS = {
    "linear": "one linear layer",
    "regression": "one linear layer",
    "linear_raw": "one linear layer on raw features, rate chosen",
    "regression_raw": "one linear layer on raw features, rate chosen",
    "linear_paper": "one linear layer on raw features, the paper's way with one rate",
    "regression_paper": "one linear layer on raw features, the paper's way with one rate",
    "knn20": "20 nearest neighbours",
    "knn200": "200 nearest neighbours",
    "logistic": "logistic regression (for targets ridge), weight chosen",
    "svm": "support vectors",
    "forest": "random forest",
    "tree": "one decision tree",
    "selected": "logistic regression on the best single features",
    "slide_mean": "logistic regression on the mean of each slide's tiles, one example a slide",
    "finetune": "the whole network trained with the labels",
    "segment": "a U-Net trained with the masks",
}
SPLITS = {
    "grouped": "no {unit} on two sides",
    "official": "the set's own parts",
    "paper": "{unit} on any side, as in the paper: optimistic",
}


def name(init: str) -> str:
    """An init in words; one that the user named is called that."""
    first, _, architecture = init.partition(":")
    if first not in NAMES:
        return init
    return NAMES[first] + (
        f" ({network({'encoder': architecture, 'width': 64})})" if architecture else ""
    )


def drawn(report: dict) -> dict | None:
    """`names` of the sets that are drawn, and whether the `labelled` one is; None without any."""
    trained = [d["name"] for d in (report["card"] or {"datasets": []})["datasets"]]
    own = report["data"]["name"]
    names = [name for name in dict.fromkeys([own, *trained]) if name.startswith(DRAWN)]
    return {"names": names, "labelled": own in names} if names else None


def main_split(summary: list[dict]) -> str:
    """The split that counts most: grouped, else the set's own, else the paper's."""
    here = {row["split_by"] for row in summary}
    return next(split for split in SPLITS if split in here)


def pretraining(report: dict, minutes: float | None) -> list[str]:
    """What the encoder is and how it learned; nothing where there is none."""
    card = report["card"]
    if card is None and report["encoders"]:
        return [f"Features of {', '.join(report['encoders'])} were made by another program."]
    if card is None:
        return ["No encoder was given: these are the floors alone, what any encoder has to beat."]
    if not card["datasets"]:
        file = card.get("source", {}).get("file", "a file")
        return [f"A {network(card)} with the weights of {file}; what it learned from is not known."]
    config = card.get("config", {})
    size, sets = card["image_size"], [d["name"] for d in card["datasets"]]
    images = sum(d["n"] for d in card["datasets"])
    text = f"A {network(card)} looked at {images:,} images of {size} by {size} pixels"
    text += f" ({mpp(card.get('mpp'))}) from {_listed(sets)}"
    step, batch = card.get("step"), config.get("data", {}).get("batch_size")
    if step and batch:
        often = step * batch / max(images, 1)
        often = f"{often:,.0f}" if often >= 3 else f"{often:.1f}"
        text += f", {batch} at a time, {step:,} times: each image about {often} times"
    text += f", in about {_duration(minutes)}." if minutes else "."
    return [
        text,
        f"It saw no labels. {tasks.of(config).about} What is not needed for that, it may forget.",
    ]


def question(report: dict) -> str:
    """What was asked of the encoder."""
    data, summary = report["data"], reports.full(reports.summarise(report))
    main, unit, head = main_split(summary), report["data"]["unit"], reports.head(summary)
    rows = [row for row in summary if (row["split_by"], row["protocol"]) == (main, head)]
    text = {
        "segment": "Then a U-Net was built on it and trained with the masks of",
        "finetune": "Then the whole network was trained with the labels of",
    }.get(head)
    if text is None and report["encoders"]:
        how = "a single linear layer" if head in reports.HEADS else PROTOCOLS[head]
        text = f"Then the encoder was frozen, and {how} was fitted on what it says about"
    elif text is None:
        text = "A single linear layer was fitted on what each floor says about"
    part = "the training part" if main == "official" else "half"
    of_slides = reports.counted(head) == "slides"
    what = "the slides" if of_slides else f"{data['n']:,} images"
    text += f" {part} of {what} of {data['name']}, to "
    if data["classes"]:
        count, whose = len(data["classes"]), "of every pixel " if head == "segment" else ""
        text += f"name {whose}one of {count} classes ({_listed(data['classes'])})"
    else:
        text += "estimate a percentage"
    text += f". Validation {reports.counted(head)} chose the settings. The score is from "
    text += f"{span(rows)} {'other slides' if of_slides else 'others'}"
    text += {
        "grouped": f", of {unit} that were in no other part",
        "official": ", the set's own test part",
        "paper": f"; the same {unit} may be in training" if unit != "source images" else "",
    }[main]
    seeds = rows[0]["seeds"]
    return text + (f". This was done {seeds} times over." if seeds > 1 else ".")


def span(rows: list[dict]) -> str:
    """How many images were in the test part."""
    return reports.span([n for row in rows for n in row["n"]])


def answer(report: dict) -> list[str]:
    """One or two sentences: how good, and what it did not beat."""
    summary = reports.full(reports.summarise(report))
    main = main_split(summary)
    head, ssl_name = reports.head(summary), reports.main_init(summary)
    rows = {r["init"]: r for r in summary if (r["split_by"], r["protocol"]) == (main, head)}
    ssl = rows.get(ssl_name)
    if ssl is None:
        best = max(rows.values(), key=lambda r: reports.PRIMARY[r["metric"]] * r["value"])
        return [f"The strongest floor, {name(best['init'])}, reaches {_score(best, report)}."]
    said = [f"{capital(name(ssl['init']))} reaches {_score(ssl, report)}."]
    duel = next((d for d in reports.duels(summary) if d["ssl"] is ssl), None)
    if duel is None:
        return [*said, "No floor was run beside it, so nothing says what this is worth."]
    best, value = duel["best"], number(duel["best"])
    against = f"the strongest floor, {_floor(best)}, at {value}"
    said.append(
        {
            "beats": f"It beats {against}, by more than the chance of the test images.",
            "ahead": f"It is ahead of {against}, but the intervals overlap or are unknown: "
            "don't claim it.",
            "behind": f"It does not beat {against}.",
        }[duel["verdict"]]
    )
    if duel["unbeaten"]:
        floors = dict.fromkeys(_floor(row) for row in duel["unbeaten"])
        said.append(f"Not clearly beaten: {', '.join(floors)}.")
    groups, unit = ssl["n_groups"], report["data"]["unit"]
    if main != "paper" and min(groups) < FEW:
        said.append(
            f"Only {reports.span(groups)} {unit} are in the test part: intervals are rough."
        )
    return said


def learned_nothing(lines: list[dict], guess: float | None) -> bool:
    """Whether the last quarter of the logged losses is hardly better than that of guessing."""
    losses = [line["loss"] for line in lines[-max(1, len(lines) // 4) :] if "loss" in line]
    return bool(guess and losses) and np.mean(losses) > 0.98 * guess


def training_overlap(report: dict) -> list[str]:
    """Whether the images of the test were in pretraining."""
    if report["card"] is None:
        return []
    data, seen = report["data"], report["data"]["pretrained_on"]
    count = seen["images"]
    if count:
        share = "All" if count == data["n"] else f"{count:,} of {data['n']:,}"
        text = f"{share} labelled images were in pretraining, without their labels."
    else:
        text = "None of the labelled images was in the pretraining sets that are here."
        text = text if len(seen["unknown"]) < len(report["card"]["datasets"]) else ""
    unknown = [f"{name}: set not here, unknown whether it holds them." for name in seen["unknown"]]
    return [t for t in (text, *unknown) if t]


def network(card: dict) -> str:
    """`ResNet-18`, and its width where it is not the usual 64."""
    name = card["encoder"].replace("resnet_", "ResNet ").replace("resnet", "ResNet-")
    name = name.replace(LAYER_NORM, " with layer norm")
    return name + ("" if card["width"] == 64 else f" of width {card['width']}")


def mpp(known: list[float] | None) -> str:
    """Pixel size in words."""
    if not known:
        return "pixel size unknown"
    low, high = (f"{m:.3g}" for m in known)
    return f"{low} µm per pixel" if low == high else f"{low} to {high} µm per pixel"


def minutes(lines: list[dict], timing: list[dict], batch: int) -> float | None:
    """How long the logged steps took; None where nothing was timed."""
    before, total = 0, 0.0
    for line in timing:
        speed = line.get("images_per_s")
        if not speed or line["step"] > (lines[-1]["step"] if lines else 0):
            continue
        total += (line["step"] - before) * batch / speed
        before = line["step"]
    return total / 60 if total else None


def _score(row: dict, report: dict) -> str:
    if row["metric"] == "l1":
        text = f"a mean error of {number(row)} percent points (0 is perfect"
    else:
        text = f"a macro-F1 of {number(row)} (1 is perfect"
        if row["protocol"] != "segment":  # of pixels the commonest class is most
            text += f", guessing at most about {1 / len(report['data']['classes']):.2f}"
    if row["ci"]:
        low, high = (f"{x:.{_digits(row)}f}" for x in row["ci"])
        text += f"; 95 % interval of one test part {low} to {high}"
    return text.replace(" %", "\N{NO-BREAK SPACE}%") + ")"


def number(row: dict) -> str:
    """The mean of a row of the summary, as prose has it."""
    return f"{row['value']:.{_digits(row)}f}"


def _digits(row: dict) -> int:
    return 1 if row["metric"] == "l1" else 2


def _floor(row: dict) -> str:
    return name(row["init"]) + (
        " (raw)" if row["protocol"] != reports.base(row["protocol"]) else ""
    )


def capital(text: str) -> str:
    """With a capital, names left as they are."""
    return text[:1].upper() + text[1:]


def _listed(names: list[str], most: int = 12) -> str:
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return ", ".join(shown)


def _duration(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(minutes, 1):.0f} minutes"
