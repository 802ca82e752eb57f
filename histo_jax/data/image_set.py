"""A set of images: judged, kept as they are or cut into squares."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo_jax.data import folders, record
from histo_jax.data.build import FolderBuilder
from histo_jax.data.folders import Item
from histo_jax.data.plan import Plan
from histo_jax.errors import HistoError


class ImageBuilder(FolderBuilder, skip_registration=True):
    """Images, without anything said about them."""

    def find(self, folder: Path) -> list[Item]:
        return folders.with_ids(folder, folders.images(folder), self.config.ids)

    def prepare(self, plan: Plan) -> None:
        """Looks at what lies beside the images."""
        self.log.left_out(folders.left_out(plan.folder, plan.items))

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        tile = self.config.tile
        for item in items:
            data, pieces = b"", []
            try:
                data = record.read_bytes(item.file)
                image, keep = record.open_image(data, item.file)
                if tile is not None:
                    pieces = list(record.cut(image, tile, item.file))
            except HistoError as error:
                self.log.refuse(item, error, "read", hashlib.sha256(data).hexdigest())
                continue
            identity = record.image_id(data)
            if not self.log.is_new(identity, item):
                continue
            known = self._known(item)
            mask = self._mask(item, image.size)
            name = self.names(identity)
            if tile is None:
                if mask is not None:
                    known["mask"] = record.encode_png(mask)
                whole = keep and not self.names.hidden  # a file's metadata may name the patient
                encoded = data if whole else record.encode_png(image)
                yield record.example(encoded, f"{name}-0-0-0", self.title, **known)
            for x, y, piece in pieces:
                if mask is not None:
                    known["mask"] = record.encode_png(mask.crop((x, y, x + tile, y + tile)))
                key, encoded = f"{name}-0-{x}-{y}", record.encode_png(piece)
                yield record.example(encoded, key, self.title, x=x, y=y, **known)

    def _known(self, item: Item) -> dict[str, Any]:
        known: dict[str, Any] = {"mpp": self.config.mpp}
        known |= {"slide": self.names(item.slide), "patient": self.names(item.patient)}
        if self._plan.classes:
            known["label"] = -1 if item.label is None else item.label
        if self._plan.target:
            known["target"] = float("nan") if item.target is None else item.target
        return known

    def _mask(self, item: Item, size: tuple[int, int]) -> Any:
        """The mask of an image of (width, height): none here."""
        return None

    def bytes_needed(self, plan: Plan) -> int:
        return sum(facts["size"] for facts in plan.sources.values())


class LabelledBuilder(ImageBuilder, skip_registration=True):
    """Images with labels, targets or masks."""

    def find(self, folder: Path) -> list[Item]:
        found = folders.with_ids(folder, folders.labelled(folder), self.config.ids)
        if self.config.tile is not None and any(item.target is not None for item in found):
            what = f"targets are of whole images, tile={self.config.tile} asks for parts"
            raise HistoError(folder, "target", what, "cut the images first, or leave out tile")
        return found

    def prepare(self, plan: Plan) -> None:
        """As above; a set that can't be scored is made, but not without a word."""
        super().prepare(plan)
        if plan.classes and len(plan.classes) == 1 and not (plan.target or plan.mask):
            print(f"{self.title}: warning: one class only, {plan.classes[0]!r}: nothing to tell "
                  "apart, so eval.py will refuse it")  # fmt: skip

    def _mask(self, item: Item, size: tuple[int, int]) -> Any:
        if item.mask is None:
            return None
        return record.read_mask(item.mask, item.name, size, self.config.instance_masks)
