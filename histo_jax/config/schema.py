"""The options: default, meaning, unit and limits of each."""

import dataclasses
from typing import Any


def option(
    default: Any, about: str, *, known: tuple = (), least: Any = None, above: Any = None,
    most: Any = None, empty: bool = False,
) -> Any:  # fmt: skip
    """A field: its default, what it means and in which unit, and the values it may have.

    `known` lists them; `least`, `above` and `most` bound them; `empty` allows an empty tuple. None
    is for the type to allow.
    """
    limits = {"known": known, "least": least, "above": above, "most": most, "empty": empty}
    return dataclasses.field(default=default, metadata={"about": about, **limits})


@dataclasses.dataclass(frozen=True)
class Data:
    """What is read."""

    dir: str | None = option(None, "prepared data; None = TFDS_DATA_DIR, else TFDS's default")
    datasets: str | tuple = option(
        "auto", "((name or glob, weight or None), …); auto = all unlabelled sets"
    )
    where: tuple = option(
        (),
        "only sets of which the catalogue says so: (('organ', 'breast'), ('stain', 'H&E'), …); "
        "organ | stain | magnification | id; one of a name's values, of every name",
        empty=True,
    )
    split: str = option("train", "part of the sets")
    percent: float | None = option(
        None, "of each set's images, at least 10 and at most 2,000 a set; None = all",
        above=0, most=100,
    )  # fmt: skip
    exclude_validation: bool = option(
        False, "leave out images, slides and patients of the prepared validation sets"
    )
    image_size: int = option(224, "pixels a side of the stored image as read", least=1)
    batch_size: int = option(512, "source images a step, over all devices and processes", least=1)
    cache: str = option(
        "none",
        "none = decode TFRecords | raw = memory-mapped uint8 | device = that in device memory",
        known=("none", "raw", "device"),
    )


@dataclasses.dataclass(frozen=True)
class Augment:
    """How views are made of an image (paper, section 4.1 and appendix C)."""

    recipe: str = option("ciga2021", "ciga2021 | simclr", known=("ciga2021", "simclr"))
    crop_min: float | None = option(
        None, "smallest crop, share of the image's area; None = the recipe's", above=0, most=1
    )
    jitter: str | None = option(
        None, "none | light | medium | heavy; None = the recipe's",
        known=("none", "light", "medium", "heavy"),
    )  # fmt: skip
    placement: str = option(
        "auto", "host = inside tf.data | device = inside the step | auto",
        known=("auto", "host", "device"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    encoder: str = option(
        "resnet18",
        "resnet18 | resnet34 | resnet50 | resnet101; with _ln after it layer norm (cpc needs it)",
    )
    width: int = option(64, "channels of the stem", least=1)
    init: str | None = option(
        None,
        "encoder to start from: a run's folder, a .safetensors, .pth or .ckpt file, or "
        "imagenet:FILE; None = at random",
    )
    projector: str = option("google_v1", "google_v1 | plain")
    dtype: str = option(
        "float32", "of the computation, float32 | bfloat16; parameters are float32 always",
        known=("float32", "bfloat16"),
    )  # fmt: skip
    remat: bool = option(
        False, "compute each residual block again in the backward pass: less memory, slower"
    )


@dataclasses.dataclass(frozen=True)
class Objective:
    """The pretext task."""

    name: str = option("simclr", "simclr | autoencoder | colorization | cpc")
    temperature: float = option(0.1, "of simclr: divides the cosines before the softmax", above=0)
    skips: bool = option(
        True, "of autoencoder and colorization: the decoder sees the encoder's early layers too"
    )
    colours: str = option("rgb", "of colorization: rgb = painted | bins = chosen from 261")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What follows the gradient, with linear warm-up and cosine decay."""

    name: str = option(
        "lars",
        "lars | lamb | adam | lars_everywhere = lars as in the code the paper's author used",
    )
    base_lr: float | None = option(
        None,
        "the peak: of lars * batch_size / 256, of lamb * sqrt(batch_size / 512); "
        "None = the paper's: lars 0.3, lamb 0.005, adam 0.0001",
        above=0,
    )
    weight_decay: float = option(1e-6, "L2; lars and lamb leave out biases and norms", least=0)
    warmup_epochs: float = option(10.0, "epochs of rising rate", least=0)


@dataclasses.dataclass(frozen=True)
class Probe:
    """Nearest neighbours on a labelled set while training: looked at, never learned from."""

    dataset: str | None = option(
        None, "prepared labelled set, e.g. histo_labelled/mylab; None = no probe"
    )
    every: int = option(100, "steps", least=1)


@dataclasses.dataclass(frozen=True)
class Training:
    """The loop."""

    epochs: int = option(1000, "passes over all images", least=1)
    total_steps: int | None = option(None, "steps, instead of epochs", least=1)
    save_every: int = option(1000, "steps", least=1)
    log_every: int = option(10, "steps", least=1)
    micro_batches: int = option(
        1,
        "parts of each device's batch, one after the other: less memory, two forward passes; the "
        "loss sees all of the batch, batch norm a part",
        least=1,
    )
    mapper: str = option("pmap", "pmap | shard_map", known=("pmap", "shard_map"))
    on_change: str = option(
        "refuse", "a work directory made with other options or data: refuse | accept",
        known=("refuse", "accept"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """One pretraining run."""

    seed: int = option(0, "of weights, order and views", least=0, most=2**32 - 1)
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    probe: Probe = Probe()
    training: Training = Training()


@dataclasses.dataclass(frozen=True)
class EvalData:
    """Where the labelled set is."""

    dir: str | None = option(None, "prepared data; None = TFDS_DATA_DIR, else TFDS's default")


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Training a network with labels: `finetune` and `segment`."""

    epochs: int = option(100, "passes over the training part", least=1)
    batch_size: int = option(128, "images a step, over all devices", least=1)
    learning_rate: float = option(1e-4, "of Adam, constant; the paper names none", above=0)
    freeze_to: str | None = option(
        None, "stem | layer1 … layer4: the encoder up to there stays as it was",
        known=("stem", "layer1", "layer2", "layer3", "layer4"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Segment:
    """What is special about masks."""

    mode: str = option(
        "resize", "resize = whole images | windows = sliding over the pixels as they are",
        known=("resize", "windows"),
    )  # fmt: skip
    class_weights: bool = option(False, "weigh classes by 1/frequency, at most 1")
    dice: bool = option(False, "add soft Dice to the cross-entropy")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """One evaluation."""

    seed: int = option(0, "of the first repeat; repeat r uses seed + r", least=0, most=2**32 - 1)
    data: EvalData = EvalData()
    protocol: tuple = option(
        ("linear", "knn"),
        "on frozen features: linear | knn | logistic | svm | forest | tree | selected; of whole "
        "slides: slide_mean; training all of it: finetune | segment",
    )
    dataset: str = option("", "prepared labelled set, e.g. histo_labelled/mylab")
    split_by: tuple = option(("paper", "grouped"), "splits to score")
    init: tuple = option(
        ("random", "random_calibrated", "colour_histogram", "mean_rgb", "texture"),
        "floors: baselines scored beside the encoder",
    )
    layer: str = option("pooled", "stem | layer1 … layer4 | pooled")
    repeats: int = option(3, "seeds of split, head and untrained network", least=1)
    one_split: bool = option(
        False, "all repeats on the split of `seed`: they differ in drawn labels and start alone"
    )
    fractions: tuple = option((1.0,), "shares of the training labels, each scored; nested")
    image_size: int | None = option(None, "pixels a side; None = as pretrained", least=1)
    batch_size: int = option(128, "images a forward pass", least=1)
    shift: tuple = option(
        (), "strengths of a change of stain in the test images, 0.05 light, 0.2 strong", empty=True
    )
    sites: str | None = option(
        None, "CSV with a column patient, slide or key and others, e.g. scanner: probed as classes"
    )
    supervised: Supervised = Supervised()
    segment: Segment = Segment()
