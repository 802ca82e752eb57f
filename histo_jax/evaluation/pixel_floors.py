"""What any segmentation must beat: the commonest class, colour pixel by pixel, a threshold."""

from collections.abc import Callable

import numpy as np

from histo_jax.data.record import IGNORE
from histo_jax.evaluation import metrics
from histo_jax.evaluation.labelled import Plan
from histo_jax.evaluation.masks import Originals
from histo_jax.evaluation.segment import Segmented, confusion, judge

BITS = 5  # of each colour: 32 shades of red, green and blue
CHANNELS = ("grey", "red", "saturation", "haematoxylin")


def constant(originals: Originals, plan: Plan) -> Segmented:
    """The commonest class of the training part, everywhere."""
    found = originals.found
    common = found.pixels[plan.rows("train")].sum(0).argmax()
    shapes = found.shapes[plan.rows("test")].tolist()
    return judge(originals, plan, (np.full(s, common, np.uint8) for s in shapes), {})


def colour_pixels(originals: Originals, plan: Plan) -> Segmented:
    """Each pixel by its colour alone: the class that most training pixels of that colour have.

    A colour not seen in training is asked for at half as many shades, and so on. Validation chooses
    the number of shades, and whether each class has one vote in all or one a pixel.
    """
    votes = _votes(originals, plan.rows("train"))
    wanted = _votes(originals, plan.rows("validation"))
    best, choice, chosen = -np.inf, {}, None
    for bits in range(BITS, 1, -1):
        for balanced in (False, True):
            table = _table(votes, bits, balanced)
            counts = np.zeros((votes.shape[1],) * 2, np.int64)
            np.add.at(counts.T, table, wanted)
            score = float(metrics.macro_f1(counts))
            if score > best:
                best, chosen = score, table
                choice = {"shades": 2**bits, "balanced": balanced, "validation": score}
    said = (chosen[_colours(image)] for image in originals.images(plan.rows("test")))
    return judge(originals, plan, said, choice)


def otsu(originals: Originals, plan: Plan) -> Segmented:
    """Otsu's threshold in each image, for two classes.

    Training and validation part choose the channel, and which side of it is class 1.
    """
    at = np.concatenate([plan.rows("train"), plan.rows("validation")])
    sides = ("below", "above")
    counts = {(c, side): np.zeros((2, 2), np.int64) for c in CHANNELS for side in sides}
    for image, mask in zip(originals.images(at), originals.masks(at), strict=True):
        for channel in CHANNELS:
            above = _above(image, channel)
            for side, said in zip(sides, (1 - above, above), strict=True):
                counts[channel, side] += confusion(mask, said, 2)
    scores = {key: float(metrics.macro_f1(c)) for key, c in counts.items()}
    channel, side = max(scores, key=scores.__getitem__)
    choice = {"channel": channel, "side": side, "validation": scores[channel, side]}
    flip = int(side == "below")
    said = (flip ^ _above(image, channel) for image in originals.images(plan.rows("test")))
    return judge(originals, plan, said, choice)


def floors(classes: int) -> dict[str, Callable[[Originals, Plan], Segmented]]:
    """Those that there are for so many classes."""
    every = {"constant": constant, "colour_pixels": colour_pixels, "otsu": otsu}
    return {name: floor for name, floor in every.items() if name != "otsu" or classes == 2}


def _colours(image: np.ndarray) -> np.ndarray:
    """Number of each pixel's colour: int64 [h, w] in 0..2¹⁵-1 of uint8 [h, w, 3]."""
    return (image >> (8 - BITS)).astype(np.int64) @ np.array([4**BITS, 2**BITS, 1])


def _votes(originals: Originals, at: np.ndarray) -> np.ndarray:
    """Pixels of each colour and class, int64 [2¹⁵, k]."""
    classes = len(originals.found.kinds)
    votes = np.zeros(8**BITS * classes, np.int64)
    for image, mask in zip(originals.images(at), originals.masks(at), strict=True):
        valid = mask != IGNORE
        cell = _colours(image)[valid] * classes + mask[valid]
        votes += np.bincount(cell, minlength=len(votes))
    return votes.reshape(-1, classes)


def _table(votes: np.ndarray, bits: int, balanced: bool) -> np.ndarray:
    """The answer to each colour, uint8 [2¹⁵], at 2^bits shades and fewer where none was seen."""
    votes = votes / np.maximum(votes.sum(0), 1) if balanced else votes
    classes, shades = votes.shape[1], 2**BITS
    answer = np.zeros((shades,) * 3, np.uint8)
    for level in range(bits + 1):
        fine = shades // 2**level
        blocks = votes.reshape(*(2**level, fine) * 3, classes).sum((1, 3, 5))
        for axis in range(3):
            blocks = blocks.repeat(fine, axis)
        answer = np.where(blocks.sum(-1) > 0, blocks.argmax(-1), answer).astype(np.uint8)
    return answer.ravel()


def _above(image: np.ndarray, channel: str) -> np.ndarray:
    """Which pixels lie above Otsu's threshold, uint8 [h, w] of 0 and 1."""
    from skimage.filters import threshold_otsu

    values = _channel(image, channel)
    return (values > threshold_otsu(values)).astype(np.uint8)


def _channel(image: np.ndarray, channel: str) -> np.ndarray:
    from skimage.color import rgb2gray, rgb2hed, rgb2hsv

    if channel == "red":
        return image[..., 0]
    if channel == "grey":
        return rgb2gray(image)
    return rgb2hsv(image)[..., 1] if channel == "saturation" else rgb2hed(image)[..., 0]
