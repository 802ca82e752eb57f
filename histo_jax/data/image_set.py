"""A set of images: judged, kept as they are or cut into squares."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from histo_jax.data import arrays, catalogued, folders, masks, record
from histo_jax.data.build import FolderBuilder
from histo_jax.data.config import ImageConfig, LabelledConfig
from histo_jax.data.folders import Item
from histo_jax.data.plan import Plan
from histo_jax.errors import HistoError


class ImageBuilder(FolderBuilder, skip_registration=True):
    """Images, without anything said about them."""

    def find(self, folder: Path) -> list[Item]:
        config: ImageConfig = self.config
        if config.entry:
            items, self.notes = catalogued.images(folder, config.entry, config.variant, self.work)
            return items
        return folders.with_ids(folder, folders.images(folder), config.ids)

    def prepare(self, plan: Plan) -> None:
        """Looks at what lies beside the images."""
        self.log.left_out(folders.left_out(plan.folder, plan.items))

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            for one, data, image, keep in self._opened(item):
                identity = record.image_id(data)
                if self.log.is_new(identity, one):
                    self._check_twins(one, image)
                    yield from self._records(one, identity, image, data if keep else None)

    def _check_twins(self, item: Item, image: Image.Image) -> None:
        """Official splits may not share an image, however it is stored.

        Raises:
          HistoError: `leak`, unless the catalogue says so of the release.
        """
        blank = all(low == high for low, high in image.getextrema())
        if blank or len(self._plan.splits) == 1:
            return
        twin = self.log.twin(hashlib.sha256(image.tobytes()).hexdigest(), item)
        if twin is None:
            return
        what = f"has the pixels of {twin.name}: {item.split} and {twin.split} share an image"
        if self.config.entry is None or not self.config.entry.twins:
            raise HistoError(item.file, "leak", what, "keep one of them")
        self.log.note(item, what)

    def _opened(self, item: Item) -> Iterator[tuple[Item, bytes, Image.Image, bool]]:
        """Every image of a file: bytes that tell it apart, and whether they are its JPEG or PNG."""
        entry, data = self.config.entry, b""
        try:
            if item.file.suffix == ".npy":
                for number, pixels in enumerate(arrays.read(item.file)):
                    image = Image.fromarray(pixels)
                    self._look(image, item)
                    one = dataclasses.replace(item, name=f"{item.name}[{number}]")
                    yield one, pixels.tobytes(), image, False
                return
            data = record.read_bytes(item.file)
            how = (entry.layout.alpha, entry.layout.depth) if entry else ()
            image, keep = record.open_image(data, item.file, *how)
            self._look(image, item)
        except HistoError as error:
            self.log.refuse(item, error, "read", hashlib.sha256(data).hexdigest())
            return
        yield item, data, image, keep

    def _look(self, image: Image.Image, item: Item) -> None:
        config: ImageConfig = self.config
        if config.cut != "resize":
            record.check_side(image, config.side, item.file)

    def _records(
        self, item: Item, identity: str, image: Image.Image, data: bytes | None
    ) -> Iterator[dict[str, Any]]:
        """The image whole (`data` are its own JPEG or PNG), its tiles, or its middle."""
        config: ImageConfig = self.config
        if config.entry or config.fit:
            self.log.fits(image.size, config.side)
        known, mask, name = self._known(item), self._mask(item, image.size), self.names(identity)
        if config.cut == "resize":
            if mask is not None:
                known["mask"] = record.encode_png(mask)
            if data is None or self.names.hidden:  # a file's metadata may name the patient
                data = record.encode_png(image)
            yield record.example(data, f"{name}-0-0-0", self.title, **known)
            return
        pieces = record.cut if config.cut == "tile" else record.centre
        for x, y, piece in pieces(image, config.side, item.file):
            if mask is not None:
                known["mask"] = record.encode_png(
                    mask.crop((x, y, x + config.side, y + config.side))
                )
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
        config: LabelledConfig = self.config
        if config.entry:
            found = super().find(folder)
        else:
            found = folders.labelled(folder, config.ids)
        if config.cut != "resize" and any(item.target is not None for item in found):
            what = f"targets are of whole images, {config.cut}={config.side} asks for parts"
            raise HistoError(folder, "target", what, "cut the images first, or leave out tile")
        return found

    def prepare(self, plan: Plan) -> None:
        """As above; a set that can't be scored is made, but not without a word."""
        super().prepare(plan)
        if plan.classes and len(plan.classes) == 1 and not (plan.target or plan.mask):
            print(f"{self.title}: warning: one class only, {plan.classes[0]!r}: nothing to tell "
                  "apart, so eval.py will refuse it")  # fmt: skip

    def _mask(self, item: Item, size: tuple[int, int]) -> Any:
        drawn = self.config.entry.layout.masks if self.config.entry else None
        if item.mask is None:
            return Image.new("L", size) if drawn else None
        if drawn:
            return masks.read_gray(item.mask, item.name, size, drawn.above)
        return masks.read_mask(item.mask, item.name, size, self.config.instance_masks)
