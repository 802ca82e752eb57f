"""The pretext tasks as the page tells them; one entry each."""

import math
from typing import NamedTuple

from histo_jax.augment.patches import GRID


class Task(NamedTuple):
    """What a network had to do.

    Attributes:
      about: how it learned, in sentences.
      shown: what stands beside an image, and what was asked about it.
      top1: what that number says; empty where it is not measured.
      choices: among how many a guess chooses, for each image of a batch, and how many fewer;
        None where a guess has no known cost.
    """

    about: str
    shown: tuple[str, str]
    top1: str = ""
    choices: tuple[int, int] | None = None


TASKS = {
    "simclr": Task(
        "From every image two altered copies were made (cut out, turned, recoloured, blurred), "
        "and it learned which two copies belong together among all of its batch.",
        (
            "two views made by this run's recipe",
            "The network must find which two views belong together. What differs between them it "
            "learns to ignore; where a view holds nothing of the tissue any more, there is nothing "
            "to learn from it.",
        ),
        "How often the right partner of a copy is found among all in the batch.",
        (2, -1),
    ),
    "autoencoder": Task(
        "It was shown parts of every image, and learned to give them back pixel by pixel.",
        ("the part the network was shown", "The network must paint the same again."),
    ),
    "colorization": Task(
        "It was shown parts of every image without their colours, and learned to find those.",
        (
            "what the network was shown, and the colours it had to find",
            "Where stains always look alike, the colour follows from the shape.",
        ),
    ),
    "cpc": Task(
        "Every image was cut into overlapping patches, each recoloured by itself, and it learned "
        "to tell from the patches on one side which patch lies further on.",
        (
            "its patches as the network was shown them",
            "From the rows up to one of them the network must find the patches three rows further "
            "on among all of its batch, and the same from below, left and right.",
        ),
        "How often the right patch is found among all in the batch.",
        (GRID * GRID, 0),
    ),
}


def of(config: dict) -> Task:
    """The task of a run by its config, {} for SimCLR."""
    return TASKS[config.get("objective", {}).get("name", "simclr")]


def guess(config: dict) -> float | None:
    """The loss of guessing; None where it is not known."""
    batch, choices = config.get("data", {}).get("batch_size"), of(config).choices
    return math.log(choices[0] * batch + choices[1]) if batch and choices else None
