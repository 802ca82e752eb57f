"""A prepared set on disk: TFRecord shards as TFDS writes them, with an index and a card of ours."""

import dataclasses
import difflib
import hashlib
import io
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from histo_jax import catalogue, files
from histo_jax.data import decode
from histo_jax.data.cores import cores
from histo_jax.data.counts import counts
from histo_jax.data.reader import Reader, scan_shard
from histo_jax.errors import HistoError

SCHEMA = 1
CARD, INDEX = "card.json", "index.npz"
# What may lie beside shards, card and index: TFDS's files, and the build's.
BESIDE = ("dataset_info.json", "features.json", "quarantine.jsonl", "slides.html", "card.html")
DRAWN = "histo_demo"  # starts the names of the builders of drawn tissue
REBUILD = "build it again with `tfds build --overwrite`"
_SHARD = re.compile(r".+-(?P<split>[^-]+)\.tfrecord-\d{5,}-of-(?P<count>\d{5,})")
_VERSION = re.compile(r"\d+\.\d+\.\d+")

# Columns of the index that a record may lack: dtype (None = text) and what stands for unknown.
_COLUMNS: dict[str, tuple[Any, Any]] = {
    "slide": (None, ""),
    "patient": (None, ""),
    "x": (np.int64, 0),
    "y": (np.int64, 0),
    "level": (np.int32, 0),
    "mpp": (np.float32, np.nan),
    "label": (np.int32, -1),
    "target": (np.float32, np.nan),
}
_OPTIONAL = ("label", "target")  # no column where no record has a value


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """One prepared set, opened.

    Attributes:
      name: `builder/config`.
      path: the version folder.
      card: `card.json`.
      table: one row a record, ordered by (split, shard, offset): `key, slide, patient, split`
        text; `x, y` int64, `level` int32; `mpp` float32 (nan = unknown); `sha256` S64 of the
        encoded image; `shard` int32, `offset` and `length` int64 (bytes); where the set has them
        `label` int32 (-1 = unknown) and `target` float32 (nan = unknown).
    """

    name: str
    path: Path
    card: dict = dataclasses.field(repr=False)
    table: dict[str, np.ndarray] = dataclasses.field(repr=False)

    @property
    def n(self) -> int:
        """Records of all splits."""
        return len(self.table["key"])

    @property
    def entry(self) -> catalogue.Entry | None:
        """The dataset of the catalogue that it is; None for one's own."""
        known = self.card["options"].get("catalogue")
        return catalogue.load().get(known) if known else None

    @property
    def shards(self) -> tuple[Path, ...]:
        """Files that `table["shard"]` counts."""
        return tuple(self.path / name for name in sorted(self.card["shards"]))

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split: int64. `a+b` is both, `all` is every row."""
        if split == "all":
            return np.arange(self.n)
        return np.flatnonzero(np.isin(self.table["split"], split.split("+")))


def default_data_dir(directory: str | os.PathLike | None) -> Path:
    """`directory`, else TFDS_DATA_DIR, else TFDS's own default."""
    chosen = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def list_prepared(data_dir: str | os.PathLike | None) -> list[str]:
    """Names `builder/config` of the sets under `data_dir` that have a card, sorted."""
    cards = default_data_dir(data_dir).glob(f"*/*/*/{CARD}")
    return sorted({"/".join(c.parts[-4:-2]) for c in cards if _VERSION.fullmatch(c.parts[-2])})


def open_prepared(data_dir: str | os.PathLike | None, name: str) -> Prepared:
    """Opens the newest version of the set `builder/config` and checks it against its card.

    The check is quick: size of every shard, records per shard, digest of the index.

    Raises:
      HistoError: no such set; not ours or half-written; another schema; a damaged shard.
    """
    folder = default_data_dir(data_dir) / name
    versions = [d for d in folder.glob("*") if _VERSION.fullmatch(d.name)]
    if not versions:
        here = list_prepared(data_dir)
        near = difflib.get_close_matches(name, here, 1)
        hint = f"did you mean {near[0]}?" if near else f"prepared here: {', '.join(here) or 'none'}"
        raise HistoError(folder, "no-set", "no such prepared set", hint)
    return open_version(max(versions, key=lambda d: [int(i) for i in d.name.split(".")]))


def open_version(path: str | os.PathLike) -> Prepared:
    """Opens one version folder, `<data_dir>/<builder>/<config>/<version>`: see `open_prepared`."""
    path = Path(path)
    if not (path / CARD).exists():
        what = f"has no {CARD}: another program built it, or its build was stopped"
        raise HistoError(path, "not-prepared", what, REBUILD)
    card = files.read_json(path / CARD, REBUILD)
    schema = card.get("schema") if isinstance(card, dict) else None
    if schema != SCHEMA:
        what = f"is of schema {schema}, this histo_jax reads schema {SCHEMA}"
        raise HistoError(path / CARD, "schema", what, REBUILD)
    prepared = Prepared("/".join(path.parts[-3:-1]), path, card, _read_index(path, card))
    check_shards(prepared)
    return prepared


def check_shards(prepared: Prepared) -> None:
    """Compares the shards on disk with the card: names, sizes, record counts.

    Raises:
      HistoError: the first shard that is missing, cut, grown or unknown.
    """
    expected = prepared.card["shards"]
    for unknown in {p.name for p in shard_files(prepared.path)} - set(expected):
        raise HistoError(prepared.path / unknown, "extra-shard", "the card knows no such shard",
                         f"remove it, or {REBUILD}")  # fmt: skip
    counted = np.bincount(prepared.table["shard"], minlength=len(expected)).tolist()
    for shard, count in zip(prepared.shards, counted, strict=True):
        facts = expected[shard.name]
        try:
            size = shard.stat().st_size
        except OSError as error:
            what = f"shard can't be read: {error.strerror}"
            raise HistoError(shard, "missing-shard", what, REBUILD) from error
        if size != facts["bytes"]:
            what = f"shard has {size:,} bytes, its card says {facts['bytes']:,}"
            raise HistoError(shard, "truncated", what, f"copy it again, or {REBUILD}")
        if count != facts["records"]:
            what = f"the index has {count} records of it, the card {facts['records']}"
            raise HistoError(shard, "index", what, REBUILD)


def verify(prepared: Prepared) -> None:
    """Reads, hashes and decodes every image, and hashes every shard and the files beside them.

    Raises:
      HistoError: the first damage, with shard and key.
    """
    check_shards(prepared)
    reader = Reader(prepared)
    with ThreadPoolExecutor(cores()) as pool:
        parts = np.array_split(np.arange(prepared.n), 1 + prepared.n // decode.CHUNK)
        for _ in pool.map(lambda rows: [reader.image(row).shape for row in rows], parts):
            pass
    for shard in prepared.shards:
        if files.file_digest(shard) != prepared.card["shards"][shard.name]["sha256"]:
            what = "bytes beside the images differ from those written by the build"
            raise HistoError(shard, "damaged", what, f"copy it again, or {REBUILD}")
    for name, digest in prepared.card.get("beside", {}).items():
        file = prepared.path / name
        if not file.is_file() or files.file_digest(file) != digest:
            what = "is not what the build wrote" if file.exists() else "is gone"
            raise HistoError(file, "damaged", what, f"copy it again, or {REBUILD}")


def content_hash(
    keys: Iterable[str],
    image_sha256: Iterable[bytes | str],
    label: np.ndarray | None = None,
    target: np.ndarray | None = None,
) -> str:
    """Identifies what a set holds, whatever the order and the bytes of its records.

    sha256 over the sorted lines `key, sha256 of the encoded image, label, target`.
    """
    keys = list(keys)
    labels = [""] * len(keys) if label is None else [str(int(x)) for x in label]
    targets = [""] * len(keys) if target is None else [float(x).hex() for x in target]
    hashes = [h.decode() if isinstance(h, bytes) else str(h) for h in image_sha256]
    lines = sorted("\t".join(row) for row in zip(keys, hashes, labels, targets, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def shard_files(version_dir: Path) -> list[Path]:
    """TFRecord shards of a version folder, sorted by name: by split, then number."""
    return sorted(p for p in version_dir.iterdir() if _SHARD.fullmatch(p.name))


def write_index(version_dir: str | os.PathLike, card_fields: dict) -> Prepared:
    """Scans the shards of a finished build and writes `index.npz`; the card is only in memory.

    `write_card` ends the build. `card_fields` gives the builder's part of the card (`classes,
    options, …`); what can be counted is counted here.

    Raises:
      HistoError: no shard, a damaged record, a key that comes twice.
    """
    version_dir = Path(version_dir)
    (version_dir / CARD).unlink(missing_ok=True)
    shards = shard_files(version_dir)
    expected = {s.name[: -len("00000-of-00000")]: int(_SHARD.fullmatch(s.name)["count"])
                for s in shards}  # fmt: skip
    if not shards or len(shards) != sum(expected.values()):
        what = f"{len(shards)} TFRecord shards of {sum(expected.values())}"
        raise HistoError(version_dir, "missing-shard", what, REBUILD)

    columns: dict[str, list] = {}
    for number, shard in enumerate(shards):
        scan_shard(shard, number, _SHARD.fullmatch(shard.name)["split"], columns)
    table = _typed(columns)
    keys, times = np.unique(table["key"], return_counts=True)
    if (times > 1).any():
        what = f"key {keys[times > 1][0]} comes more than once"
        raise HistoError(version_dir, "duplicate-key", what, "make the keys unique and rebuild")

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **table)
    with files.atomic(version_dir / INDEX) as file:
        file.write(buffer.getbuffer())
    records = np.bincount(table["shard"], minlength=len(shards)).tolist()
    builder, config, version = version_dir.parts[-3:]
    card = {
        "name": f"{builder}/{config}", "builder": builder, "config": config, "version": version,
        "classes": None,
        **card_fields,
        "schema": SCHEMA,
        "n": len(table["key"]),
        "counts": counts(table, columns, card_fields.get("classes")),
        "content_hash": content_hash(
            table["key"], table["sha256"], table.get("label"), table.get("target")
        ),
        "shards": {
            shard.name: {
                "bytes": shard.stat().st_size,
                "records": count,
                "sha256": files.file_digest(shard),
            }
            for shard, count in zip(shards, records, strict=True)
        },
        "index_sha256": hashlib.sha256(buffer.getbuffer()).hexdigest(),
    }  # fmt: skip
    return Prepared(card["name"], version_dir, card, table)


def write_card(prepared: Prepared) -> None:
    """Ends a build: hashes the files beside the shards, then writes `card.json`.

    A folder with a card is complete, so whatever is to lie in it must lie there before.
    """
    present = [name for name in BESIDE if (prepared.path / name).exists()]
    beside = {name: files.file_digest(prepared.path / name) for name in present}
    files.write_json(prepared.path / CARD, prepared.card | {"beside": beside})


def _typed(columns: dict[str, list]) -> dict[str, np.ndarray]:
    """Lists as gathered from the records to the arrays of the index."""
    table = {
        "shard": np.array(columns["shard"], np.int32),
        "offset": np.array(columns["offset"], np.int64),
        "length": np.array(columns["length"], np.int64),
        "split": np.array(columns["split"], np.str_),
        "key": np.array(columns["key"], np.str_),
        "sha256": np.array(columns["sha256"], "S64"),
    }
    for name, (dtype, unknown) in _COLUMNS.items():
        values = columns[name]
        if name in _OPTIONAL and all(v is None for v in values):
            continue
        filled = [unknown if v is None else v for v in values]
        table[name] = np.array(filled, np.str_ if dtype is None else dtype)
    return table


def _read_index(path: Path, card: dict) -> dict[str, np.ndarray]:
    try:
        data = (path / INDEX).read_bytes()
    except OSError as error:
        what = f"can't be read: {error.strerror}"
        raise HistoError(path / INDEX, "missing-index", what, REBUILD) from error
    if hashlib.sha256(data).hexdigest() != card.get("index_sha256"):
        raise HistoError(path / INDEX, "index", "is damaged or not of this build", REBUILD)
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        table = {name: stored[name] for name in stored.files}
    for column in table.values():
        column.flags.writeable = False
    return table
