"""From JPEG to the step: what each stage can do, which one limits, and how other programs compare.

    python benchmarks/input_pipeline.py [--rounds 5] [--json FILE]

Drawn tissue of 224 pixels, JPEG of quality 90. Three tables: the stages, each alone on all cores;
the host's part against its decoder; JPEG to two views against the programs that are installed (`pip
install -e '.[bench]'`). Programs take turns, and a CPU-second counts what all their threads and
workers used: that is disturbed less by other work on the machine than the clock. Without TensorFlow
only stages that don't need it are measured.
"""

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import measure
import numpy as np
import peers
import tiles
from measure import told

BARS = {"lightly": 3.5, "albumentations": 1.5, "tf.data": 1.7}  # ours per CPU-second, at least
DECODER_BAR = 0.9  # the host's images/s over its decoder's
NAME = "bench"
AHEAD = 5  # batches a program may have ready: torch's loaders two a worker


def main() -> None:
    flags = arguments()
    facts = measure.machine()
    measure.show_machine(facts)
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Path(folder), flags)
        timing = {"rounds": flags.rounds, "seconds": flags.seconds}
        print(f"\nStages, {flags.batch} images a batch", flush=True)
        results: dict[str, Any] = {"stages": stages(source, flags, timing), "bars": []}
        if source.encoded:
            print(f"\nHost: record to uint8 batch, JPEG {flags.subsampling}", flush=True)
            results["host"] = host(source, timing, results["bars"])
            print(f"\nJPEG {flags.subsampling} to two views of {flags.size} pixels", flush=True)
            results["views"] = compare(source, flags, timing, results["bars"])
    measure.write(flags.json, facts, results)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512, help="tiles that are drawn")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch", type=int, default=32, help="images a batch")
    parser.add_argument("--subsampling", default="4:2:0", choices=("4:2:0", "4:4:4"))
    parser.add_argument("--rounds", type=int, default=3, help="counted turns of each program")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parser.add_argument("--encoder", default="resnet18", help="of the stage `step`")
    parser.add_argument("--width", type=int, default=64, help="of the encoder's stem")
    parser.add_argument("--peers", nargs="*", default=list(peers.NEEDS), help="which of them")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser.parse_args()


class Source:
    """The tiles in every form a stage starts from.

    Attributes:
      pixels: uint8 [n, s, s, 3], memory-mapped as the raw cache is.
      encoded: as JPEG; empty without TensorFlow, as is `mixture`, the prepared set.
    """

    def __init__(self, folder: Path, flags: argparse.Namespace):
        np.save(folder / "raw.npy", tiles.draw(flags.images, flags.size))
        self.pixels = np.asarray(np.load(folder / "raw.npy", mmap_mode="r"))
        self.size, self.batch = flags.size, flags.batch
        self.encoded: list[bytes] = []
        if not measure.has("tensorflow"):
            print("no TensorFlow: stages from pixels only")
            return
        from histo_jax.data.mixture import open_mixture

        self.encoded = tiles.as_jpeg(self.pixels, flags.subsampling)
        tiles.prepare(folder, NAME, self.encoded)
        self.mixture = open_mixture(folder, ((f"histo_patches/{NAME}", None),))
        kilobytes = sum(map(len, self.encoded)) / len(self.encoded) / 1e3
        print(f"tiles     {len(self.encoded)}, {kilobytes:.1f} kB each")

    def batches(self, views: Callable | None = None) -> Iterator[dict[str, np.ndarray]]:
        """What training reads with `cache=none`, without end."""
        from histo_jax.data import pipeline

        return pipeline.batches(
            self.mixture, split="train", seed=0, image_size=self.size, batch_size=self.batch,
            cache="none", start_step=0, total_steps=2**30, views=views,
        )  # fmt: skip


def make_views(size: int, branches: bool) -> Callable:
    from histo_jax.augment.recipes import make_views

    return make_views(seed=0, recipe="simclr", size=size, branches=branches)


# Stages: endless iterators over counts of images.


def read(source: Source) -> Generator[int]:
    """Records by their place in the shard, each hashed, on threads."""
    from histo_jax.data.decode import CHUNK
    from histo_jax.data.reader import Reader

    reader, random = Reader(source.mixture.sets[0]), np.random.default_rng(0)
    with ThreadPoolExecutor(measure.cores()) as pool:
        while True:
            rows = random.permutation(source.mixture.n).reshape(-1, CHUNK)
            list(pool.map(lambda some: [reader.read(row) for row in some], rows))
            yield rows.size


def decode(source: Source) -> Generator[int]:
    """Bytes in memory to batches of pixels."""
    from histo_jax.data import decode

    begins = itertools.cycle(range(0, len(source.encoded), source.batch))

    def some(begin: int) -> list[bytes]:
        return source.encoded[begin : begin + source.batch]

    for images in decode.filled_ahead(some, begins, decode.decode_into, source.size):
        yield len(images)


def gather(source: Source) -> Generator[int]:
    """A batch copied out of the raw cache."""
    random, n = np.random.default_rng(0), len(source.pixels)
    while True:
        yield len(source.pixels[random.integers(0, n, source.batch)])


def transfer(source: Source, batch: dict[str, np.ndarray]) -> Generator[int]:
    """A batch put on the devices."""
    from histo_jax.training import parallel

    mapper = parallel.Mapper("pmap")
    return measure.calls(lambda: mapper.place(batch), source.batch)


def views_on_host(source: Source) -> Generator[int]:
    """Pixels in memory to two views, inside tf.data as `placement=host`."""
    from histo_jax.data import pipeline, with_tensorflow
    from histo_jax.data.decode import CHUNK as chunk

    tf = with_tensorflow.load_tensorflow()
    inside = pipeline.as_tensorflow(make_views(source.size, branches=True))
    images = tf.constant(source.pixels[:chunk])

    def pairs(number: Any) -> Any:
        return inside(images, tf.cast(number, tf.int32), tf.range(chunk))

    made = with_tensorflow.parallel_map(tf.data.Dataset.range(2**30), pairs)
    for some in with_tensorflow.numpy_batches(made):
        yield len(some)


def views_on_device(source: Source) -> Generator[int]:
    """A batch on the device to two views."""
    import jax

    made = jax.jit(make_views(source.size, branches=jax.default_backend() == "cpu"))
    images = jax.device_put(source.pixels[: source.batch])
    index = jax.numpy.arange(source.batch, dtype="int32")
    return measure.calls(lambda: made(images, np.int32(0), index), source.batch)


def stages(source: Source, flags: argparse.Namespace, timing: dict) -> dict[str, Any]:
    """Measures each stage alone and says which is the slowest."""
    import jax
    from train_step import Setup

    cpu = jax.default_backend() == "cpu"
    on_host = bool(source.encoded) and cpu
    few = min(source.batch, 8) if cpu else source.batch  # a step of 32 takes seconds
    setup = Setup(flags.encoder, flags.width, "float32", few, source.size, "pmap")
    index = np.arange(source.batch, dtype=np.int32)
    batch = {"image": source.pixels[: source.batch], "index": index}
    if on_host:
        shape = (source.batch, 2, source.size, source.size, 3)
        batch = {"views": np.zeros(shape, np.float32), "index": index}
    systems = {"read": read(source), "decode": decode(source)} if source.encoded else {}
    systems |= {
        "batch": gather(source),
        "transfer": transfer(source, batch),
        "views": views_on_host(source) if on_host else views_on_device(source),
        "step": setup.steps(),
    }
    samples = measure.alternate(systems, **timing, skip=1)
    found = {name: measure.rates(some) for name, some in samples.items()}
    slowest = min(found, key=lambda name: found[name]["per_second"]["median"])
    limit = found[slowest]["per_second"]["median"]
    rows = []
    for name, rate in found.items():
        rate["utilisation"] = limit / rate["per_second"]["median"]
        cells = (told(rate["per_second"]), told(rate["per_cpu_second"]))
        rows.append((name, *cells, f"{rate['utilisation']:.1%}"))
    print(measure.table(("stage", "images/s", "a CPU-second", "busy"), rows))
    where = "host" if on_host else "device"
    print(f"views are made on the {where}; {slowest} limits, and `busy` is each stage's share then")
    return found | {"limit": slowest, "views_on": where}


# The host against its decoder.


def decoder_alone(source: Source) -> Generator[int]:
    """The decoder and nothing else, on as many threads: each image goes where the last one was."""
    import simplejpeg

    from histo_jax.data.decode import CHUNK

    def pixels(encoded: list[bytes]) -> int:
        out = np.empty((source.size, source.size, 3), np.uint8)
        for one in encoded:
            simplejpeg.decode_jpeg(one, fastdct=True, buffer=out)
        return len(encoded)

    parts = [source.encoded[i : i + CHUNK] for i in range(0, len(source.encoded), CHUNK)]
    with ThreadPoolExecutor(measure.cores()) as pool:
        while True:
            yield sum(pool.map(pixels, parts))


def tensorflow_alone(source: Source) -> Generator[int]:
    """TensorFlow's decode_jpeg and nothing else, on as many threads: the pixels are dropped."""
    from histo_jax.data import with_tensorflow
    from histo_jax.data.decode import CHUNK as chunk

    tf = with_tensorflow.load_tensorflow()

    def pixels(encoded: Any) -> Any:
        each = tf.unstack(encoded, chunk)
        return tf.add_n([tf.size(tf.io.decode_jpeg(one, channels=3)) for one in each])

    data = tf.data.Dataset.from_tensor_slices(source.encoded).repeat()
    made = with_tensorflow.parallel_map(data.batch(chunk, drop_remainder=True), pixels)
    for count in with_tensorflow.numpy_batches(made):
        assert count == chunk * source.size**2 * 3
        yield chunk


def ours(source: Source, views: Callable | None = None) -> Generator[int]:
    """Our pipeline from records; counts images."""
    for batch in source.batches(views):
        yield len(batch["index"])


def host(source: Source, timing: dict, bars: list) -> dict[str, Any]:
    """Read, hash, decode and batch, against decoding alone."""
    alone = "decoder alone"
    systems = {
        "ours": ours(source),
        "ours, bytes in memory": decode(source),
        alone: decoder_alone(source),
        "TensorFlow's decoder alone": tensorflow_alone(source),
    }
    samples = measure.alternate(systems, **timing, skip=AHEAD)
    shown(samples, alone, "images")
    for name in ("ours", "ours, bytes in memory"):
        share = measure.ratio(samples[name], samples[alone], cpu=True)
        what = f"{name} / {alone}, a CPU-second"
        bars.append(measure.verdict(what, share["median"], DECODER_BAR))
    return {name: measure.rates(some) for name, some in samples.items()}


def compare(source: Source, flags: argparse.Namespace, timing: dict, bars: list) -> dict[str, Any]:
    """JPEG to two views; ours starts from records on disk and checks each one's hash."""
    made = make_views(source.size, branches=True)

    def doubled(system: Generator[int]) -> Generator[int]:
        return (2 * count for count in system)

    systems = {"ours": doubled(ours(source, made))}
    for name in flags.peers:
        if not peers.installed(name):
            print(f"{name}: not installed")
        elif name == "tf.data":
            systems[name] = peers.tf_data(source.encoded, source.size, source.batch)
        else:
            systems[name] = peers.loader(name, source.encoded, source.size, source.batch)
    samples = measure.alternate(systems, **timing, skip=AHEAD)
    shown(samples, "ours", "views")
    ratios = {}
    for name in systems.keys() & BARS.keys():
        ratios[name] = measure.ratio(samples["ours"], samples[name], cpu=True)
    for name in sorted(ratios):
        what = f"ours / {name}, views a CPU-second"
        bars.append(measure.verdict(what, ratios[name]["median"], BARS[name]))
    return {name: measure.rates(some) for name, some in samples.items()} | {"ratios": ratios}


def shown(samples: dict[str, list], reference: str, unit: str) -> None:
    rows = []
    for name, some in samples.items():
        rate = measure.rates(some)
        times = measure.ratio(some, samples[reference], cpu=True)
        cells = (told(rate["per_second"]), told(rate["per_cpu_second"]), told(times, ".2f"))
        rows.append((name, *cells))
    head = ("program", f"{unit}/s", f"{unit} a CPU-second", f"times {reference}")
    print(measure.table(head, rows))


if __name__ == "__main__":
    main()
