"""What the builders of tfds_builders/ share: from a user's folder to a prepared set.

TFDS writes the records; it returns old data without a word when anything changed, forgets all work
when it is killed, and takes a part of a set for the whole. This is what stands around it.
"""

import abc
import dataclasses
import importlib.metadata
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

import histo_jax
from histo_jax import files
from histo_jax.data import card_page, catalogued, prepared, record
from histo_jax.data import plan as plans
from histo_jax.data.config import OPERATIONAL, FolderConfig
from histo_jax.data.folders import Item
from histo_jax.data.log import Log
from histo_jax.data.names import Names
from histo_jax.data.plan import Plan
from histo_jax.errors import HistoError

# Bytes of records that TFDS sorts in memory (its own: 1 GB a split); more wait on disk.
shuffle.MAX_MEM_BUFFER_SIZE = 2**26
SHARDS = tfds.core.FileFormat.TFRECORD
_VERSIONS = ("tensorflow-datasets", "tensorflow", "numpy", "pillow", "openslide-python")


class FolderBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builds a set from a folder; a subclass says what lies there and how it is read.

    `<data_dir>/.parts/<builder>-<config>/` holds what outlives a killed or failed build. A version
    folder is complete once it has its card; without one it is made anew.
    """

    VERSION = tfds.core.Version("1.0.0")
    UNIT = "images"
    BEAM = False  # whether `--beam_pipeline_options` may spread its work over machines

    def __init__(self, **arguments: Any):
        self._plan: Plan | None = None
        self._known_info: tfds.core.DatasetInfo | None = None
        self.beam_options: Any = None  # Beam's PipelineOptions; None: this machine alone
        self.notes: list[str] = []  # what `find` has to say about a dataset of the catalogue
        try:
            super().__init__(**arguments)
        except ValueError as error:  # a config that is not there, or has the name of one that is
            what = str(error).splitlines()[0].strip()
            raise catalogued.no_config(
                self.BUILDER_CONFIGS, arguments.get("config"), what
            ) from error
        self.work = Path(self.data_dir_root) / ".parts" / f"{self.name}-{self.config.name}"

    @property
    def config(self) -> FolderConfig:
        """The options of this build."""
        return self.builder_config

    @property
    def info(self) -> tfds.core.DatasetInfo:
        """As TFDS's, but made anew once the folder has been seen: it decides on the features."""
        if self._known_info is None:
            self._known_info = self._info()
        return self._known_info

    def _info(self) -> tfds.core.DatasetInfo:
        plan, entry = self._plan, self.config.entry
        known: dict[str, Any] = {}
        if plan is not None:  # else a prepared set tells its own
            known["features"] = record.features(plan.classes, plan.target, plan.mask)
            known["supervised_keys"] = ("image", "label") if plan.classes else None
        if entry is None:
            return self.dataset_info_from_configs(**known)
        return tfds.core.DatasetInfo(builder=self, **catalogued.told(entry), **known)

    # What a subclass gives.

    @abc.abstractmethod
    def find(self, folder: Path) -> list[Item]:
        """The slides or images of the folder; quick, and raises what the user must mend."""

    def sources(self, folder: Path, items: list[Item]) -> dict[str, dict]:
        """The files by which a later build knows that nothing changed: see `Plan`."""
        return plans.sources(folder, items, self.names)

    def prepare(self, plan: Plan) -> None:
        """Work whose result is kept in `self.work`, before records are written."""

    @abc.abstractmethod
    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        """The records of some items, in any order."""

    def page(self, version: Path) -> Path | None:
        """Writes a page about what the set was made of into its version folder; none here."""
        return None

    # What TFDS calls.

    def is_prepared(self) -> bool:
        """As TFDS's; False where `tfds build --overwrite` would delete the set at once.

        `download_and_prepare` replaces it instead, once there is another.
        """
        return not _asked_to_overwrite() and super().is_prepared()

    def download_and_prepare(
        self,
        *,
        download_dir: str | os.PathLike | None = None,
        download_config: tfds.download.DownloadConfig | None = None,
        file_format: str | None = None,
        **others: Any,
    ) -> None:
        """Builds the set, extends it by files that were added, or says that nothing changed.

        Raises:
          HistoError: changed options, files that changed or vanished (remedy: `--overwrite`); too
            many refused files; another build of this set is running.
        """
        download_config = download_config or tfds.download.DownloadConfig()
        wanted = tfds.core.FileFormat(file_format or self.info.file_format or SHARDS)
        if wanted != SHARDS:
            remedy = "leave out --file_format"
            raise HistoError(self.data_dir, "file-format", "prepared sets are TFRecord", remedy)
        self.beam_options = download_config.beam_options
        if self.beam_options is not None and not self.BEAM:
            what = "images are read on one machine, only slides are cut on many"
            raise HistoError("--beam_pipeline_options", "beam", what, "leave it out")
        with files.lock(self.work / "build.lock"):
            self._tidy()
            plan = self._survey(self.folder(download_dir, download_config))
            anew = download_config.download_mode.overwrite_dataset or _asked_to_overwrite()
            if not anew and self._is_current(plan):
                print(f"{self.title}: nothing changed since it was built: {self.data_dir}")
                return
            self._build(plan, download_config, download_dir=download_dir, **others)

    def folder(self, download_dir: Any, download_config: tfds.download.DownloadConfig) -> Path:
        """The user's folder, `--manual_dir`."""
        default = Path(self.data_dir_root) / "downloads"
        given = download_config.manual_dir or default / "manual"
        manager = tfds.download.DownloadManager(
            download_dir=download_dir or default,
            manual_dir=given,
            manual_dir_instructions=self.MANUAL_DOWNLOAD_INSTRUCTIONS,
        )
        try:
            return Path(manager.manual_dir)
        except (AssertionError, OSError) as error:
            remedy = "name yours by --manual_dir"
            if self.config.entry is not None:
                remedy += f"; python -m histo_jax.catalogue {self.config.entry.id}: how to get it"
            raise HistoError(given, "missing", "no such folder, or it is empty", remedy) from error

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterable]:
        return {split: self._generate_examples(split) for split in self._plan.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        return self.records(split)

    def records(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(key, record) of every example of a split: what `_generate_examples` returns."""
        none = True
        for example in self.examples([item for item in self._plan.items if item.split == split]):
            none = False
            self.log.count("records")
            yield example["key"], example
        self._open_splits.discard(split)
        if none or not self._open_splits:  # the last: before TFDS says that all went well
            self.log.check(self._plan.folder, self.config.max_quarantine)
        if none:
            what = f"gave no record for split {split}: {self.log.told()}"
            raise HistoError(self._plan.folder, "no-records", what)

    # Around it.

    @property
    def title(self) -> str:
        """`builder/config`, also what records say of their dataset."""
        return f"{self.name}/{self.config.name}"

    def _tidy(self) -> None:
        """Removes what killed builds left, and puts back the set that one of them was extending."""
        version = Path(self.data_dir)
        for leftover in version.parent.glob(f"incomplete.*_{version.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        if version.exists() and not (version / prepared.CARD).exists():
            print(f"{self.title}: removes the incomplete {version}")
            shutil.rmtree(version)
        if self._old.exists():
            shutil.rmtree(self._old) if version.exists() else self._old.rename(version)

    @property
    def _old(self) -> Path:
        return Path(self.data_dir).with_name(f".{self.version}.old")

    def _survey(self, folder: Path) -> Plan:
        self.names = Names(Path(self.data_dir_root), self.config.pseudonymise)
        items = self.find(folder)
        return Plan(folder, items, self.sources(folder, items))

    def options(self) -> dict[str, Any]:
        """The options that decide what the set holds."""
        return {k: v for k, v in dataclasses.asdict(self.config).items() if k not in OPERATIONAL}

    def _is_current(self, plan: Plan) -> bool:
        version = Path(self.data_dir)
        if not version.exists() or not plans.is_current(version, plan, self.options()):
            return False
        prepared.open_version(version)  # is it still what was built?
        self._known_info = self._plan = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of protobuf, inside TFDS
            self.info.read_from_directory(self.data_dir)
        return True

    def _build(self, plan: Plan, download_config: Any, **arguments: Any) -> None:
        version = Path(self.data_dir)
        self._plan, self._known_info, self._pages = plan, None, []
        self._open_splits = set(plan.splits)
        self.log = Log(self.work, self.UNIT, len(plan.items), self.names)
        if self.config.entry is not None:
            self.notes += catalogued.check_archives(plan.folder, self.config.entry)
        self.prepare(plan)
        plan = self._plan  # labels of tiles are known now
        for note in self.notes:
            print(f"{self.title}: note: {note}")
        self.log.check(plan.folder, self.config.max_quarantine)
        self._check_space(plan)
        if version.exists():
            version.rename(self._old)
        try:
            super().download_and_prepare(
                download_config=download_config, file_format=SHARDS, **arguments
            )
            self.log.check(plan.folder, self.config.max_quarantine)
            if download_config.max_examples_per_split is None:
                self._finish(plan, version)
        except BaseException as error:
            shutil.rmtree(version, ignore_errors=True)
            if self._old.exists():
                self._old.rename(version)
            if "No space left on device" in str(error):
                raise HistoError(version, "no-space", "the disk is full", "free some") from error
            raise
        shutil.rmtree(self._old, ignore_errors=True)
        print(f"{self.title}: {self.log.told()}\n{version}")
        for page in self._pages:
            print(f"look at it: {page}")
        if download_config.max_examples_per_split is not None:
            print("a sample, not a set: it has no card, and the next build replaces it")

    def _finish(self, plan: Plan, version: Path) -> None:
        """Writes the quarantine, the index, the pages and last the card."""
        shutil.copyfile(self.log.path, version / self.log.path.name)
        page = self.page(version)
        options = self.options()
        versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
        notes = [] if self.names.hidden else self.notes  # they name files
        made = prepared.write_index(
            version,
            {
                "classes": list(plan.classes) if plan.classes else None,
                "options": options,
                "options_digest": plans.digest(options),
                "catalogue": catalogued.card(self.config.entry, notes),
                "sources": plan.sources,
                "summary": self.log.summary(),
                "versions": {"histo_jax": histo_jax.__version__, **versions},
                "git_commit": files.git_commit(),
            },
        )
        self._pages = [card_page.write_page(made), *([page] if page else [])]
        prepared.write_card(made)

    def _check_space(self, plan: Plan) -> None:
        needed = self.bytes_needed(plan)
        free = shutil.disk_usage(self.work).free
        if needed > free:
            what = f"needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            raise HistoError(self.data_dir_root, "no-space", what, "free some, or move --data_dir")

    @abc.abstractmethod
    def bytes_needed(self, plan: Plan) -> int:
        """About what the records will take, once `prepare` is done."""


def one_line_errors() -> None:
    """Makes a `HistoError` that nobody catches end the program in one line and status 1.

    For the modules that `tfds build` loads. HISTO_DEBUG in the environment keeps the traceback.
    """
    if not os.environ.get("HISTO_DEBUG"):
        sys.excepthook = _one_line


def _asked_to_overwrite() -> bool:
    return "--overwrite" in sys.argv[1:]


def _one_line(kind: type, error: BaseException, trace: Any) -> None:
    if issubclass(kind, HistoError):
        print(f"error: {error}", file=sys.stderr)
    elif issubclass(kind, json.JSONDecodeError):  # TFDS reads --config after it has loaded us
        print(f"error: --config: is no JSON: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
