"""The squares a network sees of images and masks, and how its answers are put together again."""

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from histo_jax.data.images import read_masks
from histo_jax.data.record import IGNORE
from histo_jax.evaluation import features
from histo_jax.evaluation.examples import Batch, Source
from histo_jax.evaluation.masks import Originals, kept
from histo_jax.models.unet import check_side

CHUNK = 32  # squares made at a time

Answers = Iterable[tuple[np.ndarray, Batch]]  # shares float32 [b, S, S, k], as `once` has them


class Resized:
    """Each image and its mask as one square, whatever their shape; the mask by nearest pixels."""

    def __init__(self, originals: Originals, size: int):
        """Squares of `size` pixels, a multiple of 32.

        Raises:
          HistoError: it is none.
        """
        check_side(size)
        prepared, rows = originals.prepared, originals.found.rows
        self.originals, self.size = originals, size
        self._images = features.reader(prepared, rows, size, CHUNK)
        self._masks = kept(lambda some: read_masks(prepared, some, size), rows, len(rows) * size**2)

    def train(self, at: np.ndarray, seed: int) -> Source:
        """The images at the positions `at`."""
        return self.once(at)

    def once(self, at: np.ndarray, overlap: bool = False) -> Source:
        """The same, in order."""

        def read(numbers: np.ndarray, epoch: int) -> Iterator[Batch]:
            masks = self._masks(at[numbers])
            for images in self._images(at[numbers]):
                some = np.stack(list(itertools.islice(masks, len(images))))
                yield {"image": images, "mask": some}

        return Source(len(at), read)

    def whole(self, at: np.ndarray, answers: Answers) -> Iterator[np.ndarray]:
        """Answers to `once` at the size of each image, float32 [h, w, k]."""
        shapes = self.originals.found.shapes[at].tolist()
        for shape, shares in zip(shapes, _each(answers), strict=True):
            yield stretch(shares, shape)


class Windows:
    """Squares of the images as they are stored, reflected where they are too small.

    An image gives as many as cover it: in training at random places, new ones each epoch; else on
    a grid.
    """

    def __init__(self, originals: Originals, size: int):
        """Squares of `size` pixels, a multiple of 32.

        Raises:
          HistoError: it is none.
        """
        check_side(size)
        self.originals, self.size = originals, size

    def train(self, at: np.ndarray, seed: int) -> Source:
        """Squares of the images at the positions `at`, placed by (seed, epoch, number)."""
        places = self._grid(at, self.size)
        owner = np.repeat(at, [len(p) for p in places])

        def read(numbers: np.ndarray, epoch: int) -> Iterator[Batch]:
            pairs = self._pairs(owner[numbers])
            squares = (
                self._random(*pair, np.random.default_rng((seed, epoch, number)))
                for pair, number in zip(pairs, numbers.tolist(), strict=True)
            )
            return _stacked(squares)

        return Source(len(owner), read)

    def once(self, at: np.ndarray, overlap: bool = False) -> Source:
        """All squares of each image in turn; with `overlap` each pixel in up to four."""
        places = self._grid(at, self.size // 2 if overlap else self.size)

        def read(numbers: np.ndarray, epoch: int) -> Iterator[Batch]:
            assert len(numbers) == sum(len(p) for p in places)
            pairs = zip(self._pairs(at), places, strict=True)
            return _stacked(square for pair, some in pairs for square in self._cut(*pair, some))

        return Source(sum(len(p) for p in places), read)

    def whole(self, at: np.ndarray, answers: Answers) -> Iterator[np.ndarray]:
        """The mean over squares of answers to `once(at, overlap=True)`, float32 [h, w, k]."""
        each, size = _each(answers), self.size
        shapes = self.originals.found.shapes[at].tolist()
        for (h, w), places in zip(shapes, self._grid(at, size // 2), strict=True):
            bottom, right = np.max(places, 0) + size
            some = list(itertools.islice(each, len(places)))
            total = np.zeros((bottom, right, some[0].shape[-1]), np.float32)
            times = np.zeros((bottom, right, 1), np.float32)
            for (y, x), shares in zip(places, some, strict=True):
                total[y : y + size, x : x + size] += shares
                times[y : y + size, x : x + size] += 1
            yield (total / times)[:h, :w]

    def _grid(self, at: np.ndarray, stride: int) -> list[list[tuple[int, int]]]:
        """Top left corners of the squares that cover each image."""
        found = []
        for shape in self.originals.found.shapes[at].tolist():
            steps = (1 + max(0, math.ceil((side - self.size) / stride)) for side in shape)
            axes = (range(0, count * stride, stride) for count in steps)
            found.append(list(itertools.product(*axes)))
        return found

    def _pairs(self, at: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.originals.images(at), self.originals.masks(at), strict=True)

    def _random(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Batch:
        place = tuple(int(rng.integers(0, max(0, n - self.size) + 1)) for n in mask.shape)
        return next(self._cut(image, mask, [place]))

    def _cut(
        self, image: np.ndarray, mask: np.ndarray, places: list[tuple[int, int]]
    ) -> Iterator[Batch]:
        bottom, right = np.max(places, 0) + self.size
        more = [(0, max(0, bottom - mask.shape[0])), (0, max(0, right - mask.shape[1]))]
        image = np.pad(image, [*more, (0, 0)], mode="reflect")
        mask = np.pad(mask, more, constant_values=IGNORE)
        for y, x in places:
            window = np.s_[y : y + self.size, x : x + self.size]
            yield {"image": image[window], "mask": mask[window]}


MODES = {"resize": Resized, "windows": Windows}


def stretch(shares: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """float32 [a, b, k] at [h, w, k], bilinear."""
    for axis, (n, m) in enumerate(zip(shares.shape[:2], shape, strict=True)):
        place = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        low = place.astype(np.int64)
        part = (place - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        below, above = (shares.take(i, axis) for i in (low, np.minimum(low + 1, n - 1)))
        shares = below + part * (above - below)
    return shares


def _each(answers: Answers) -> Iterator[np.ndarray]:
    return (one for answer, _ in answers for one in answer)


def _stacked(squares: Iterator[Batch]) -> Iterator[Batch]:
    while some := list(itertools.islice(squares, CHUNK)):
        yield {name: np.stack([square[name] for square in some]) for name in some[0]}
