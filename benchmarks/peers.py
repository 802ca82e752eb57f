"""What other programs do between the bytes of a JPEG and two views of SimCLR, at their defaults.

Crop of 8 % or more of the area, flip, jitter .8 .8 .8 .2 in 80 %, gray in 20 %, blur in 50 %.
Nothing here is installed with the project: `pip install -e '.[bench]'`.
"""

import io
import math
import sys
from collections.abc import Callable, Generator
from typing import Any

from measure import cores, has

SCALE, SIGMA = (0.08, 1.0), (0.1, 2.0)
# name: packages it needs
NEEDS = {
    "lightly": ("torchvision", "lightly.transforms"),
    "torchvision": ("torchvision",),
    "albumentations": ("torch", "albumentations", "cv2"),
    "tf.data": ("tensorflow",),
}


def installed(name: str) -> bool:
    """Whether this program can be measured here."""
    if name in ("lightly", "torchvision"):
        try:
            import_torchvision()
        except ImportError:
            return False
    return has(*NEEDS[name])


def import_torchvision() -> Any:
    """Imports it also where a CUDA build of it meets a CPU build of torch: its transforms work."""
    try:
        import torchvision
    except RuntimeError:
        import torch

        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for op in ("nms", "qnms"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # its operators vanish with it
        import torchvision
    return torchvision


def open_pil(encoded: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(encoded)).convert("RGB")


def lightly(size: int) -> Callable[[bytes], list]:
    import_torchvision()
    from lightly.transforms import SimCLRTransform

    views = SimCLRTransform(input_size=size)
    return lambda encoded: views(open_pil(encoded))


def torchvision(size: int) -> Callable[[bytes], list]:
    """Version 1 transforms on PIL images, as most published SimCLR code has them."""
    transforms = import_torchvision().transforms
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=SCALE),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.GaussianBlur(blur_size(size), SIGMA)], 0.5),
            transforms.ToTensor(),
        ]
    )

    def pair(encoded: bytes) -> list:
        image = open_pil(encoded)
        return [view(image), view(image)]

    return pair


def albumentations(size: int) -> Callable[[bytes], list]:
    import albumentations as A
    import cv2
    import numpy as np

    cv2.setNumThreads(0)
    view = A.Compose(
        [
            A.RandomResizedCrop(size=(size, size), scale=SCALE),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=0, sigma_limit=SIGMA, p=0.5),  # as many taps as sigma needs
            A.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        ]
    )

    def pair(encoded: bytes) -> list:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        return [view(image=image)["image"], view(image=image)["image"]]

    return pair


MAKERS = {"lightly": lightly, "torchvision": torchvision, "albumentations": albumentations}


class Pairs:
    """A map-style data set for torch's DataLoader, long enough for one endless epoch."""

    def __init__(self, name: str, encoded: list[bytes], size: int):
        self.name, self.encoded, self.size, self.pair = name, encoded, size, None

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> list:
        if self.pair is None:  # in the worker: transforms need not be picklable
            self.pair = MAKERS[self.name](self.size)
        return self.pair(self.encoded[index % len(self.encoded)])


def loader(name: str, encoded: list[bytes], size: int, batch: int) -> Generator[int]:
    """torch's DataLoader with a worker a core."""
    from torch.utils.data import DataLoader

    loaded = DataLoader(
        Pairs(name, encoded, size), batch_size=batch, num_workers=cores(), drop_last=True,
        multiprocessing_context="spawn",  # fork would copy the locks of JAX's threads
    )  # fmt: skip
    for first, second in loaded:
        yield len(first) + len(second)


def tf_data(encoded: list[bytes], size: int, batch: int) -> Generator[int]:
    """SimCLR's own pipeline as published (Chen et al. 2020, appendix A): one image at a time."""
    from histo_jax.data.with_tensorflow import load_tensorflow

    tf = load_tensorflow()

    def pair(encoded: Any) -> Any:
        image = tf.image.convert_image_dtype(tf.io.decode_jpeg(encoded, channels=3), tf.float32)
        return tf.stack([simclr_view(tf, image, size), simclr_view(tf, image, size)])

    dataset = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    dataset = dataset.map(pair, num_parallel_calls=cores()).batch(batch, drop_remainder=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores()
    options.threading.max_intra_op_parallelism = 1
    for made in dataset.prefetch(1).with_options(options).as_numpy_iterator():
        yield 2 * len(made)


def simclr_view(tf: Any, image: Any, size: int) -> Any:
    """Bicubic crop, flip, jitter in a random order, gray, blur of a tenth of the side."""

    def chance(share: float, change: Callable, x: Any) -> Any:
        return tf.cond(tf.random.uniform([]) < share, lambda: change(x), lambda: x)

    def jitter(x: Any) -> Any:
        operations = (
            lambda x: x * tf.random.uniform([], 0.2, 1.8),
            lambda x: tf.image.random_contrast(x, 0.2, 1.8),
            lambda x: tf.image.random_saturation(x, 0.2, 1.8),
            lambda x: tf.image.random_hue(x, 0.2),
        )
        order = tf.random.shuffle(tf.range(4))
        for place in range(4):
            branches = [lambda f=f, x=x: f(x) for f in operations]
            x = tf.clip_by_value(tf.switch_case(order[place], branches), 0.0, 1.0)
        return x

    def blur(x: Any) -> Any:
        taps = blur_size(size)
        offset = tf.range(-(taps // 2), taps // 2 + 1, dtype=tf.float32)
        weight = tf.exp(-(offset**2) / (2 * tf.random.uniform([], *SIGMA) ** 2))
        weight = tf.tile((weight / tf.reduce_sum(weight))[:, None, None, None], [1, 1, 3, 1])
        x = tf.nn.depthwise_conv2d(x[None], weight, [1, 1, 1, 1], "SAME")
        weight = tf.transpose(weight, [1, 0, 2, 3])
        return tf.nn.depthwise_conv2d(x, weight, [1, 1, 1, 1], "SAME")[0]

    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image), tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3), area_range=SCALE, max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )  # fmt: skip
    x = tf.slice(image, begin, extent)
    x = tf.image.resize(x, (size, size), method="bicubic")
    x = tf.image.random_flip_left_right(tf.ensure_shape(x, (size, size, 3)))
    x = chance(0.8, jitter, x)
    x = chance(0.2, lambda x: tf.repeat(tf.image.rgb_to_grayscale(x), 3, axis=-1), x)
    x = chance(0.5, blur, x)
    return tf.clip_by_value(x, 0.0, 1.0)


def blur_size(size: int) -> int:
    """A tenth of the side, odd."""
    return 2 * math.floor(size / 20) + 1
