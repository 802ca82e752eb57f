"""The sets an encoder was pretrained on, where they are still to be found."""

import numpy as np

from histo_jax.data.prepared import Prepared, open_prepared
from histo_jax.errors import HistoError
from histo_jax.training.checkpoint import LoadedEncoder


def open_sets(
    loaded: LoadedEncoder | None, data_dir: object, known: Prepared
) -> dict[str, Prepared | None]:
    """Each set of an encoder's card by name; None where it isn't here, or has other content now.

    `known` is a set that is open already.
    """
    found: dict[str, Prepared | None] = {}
    for entry in loaded.card["datasets"] if loaded else ():
        opened = known if known.card["content_hash"] == entry["content_hash"] else None
        if opened is None:
            try:
                opened = open_prepared(data_dir, entry["name"])
            except HistoError:  # absent or damaged: nothing can be said of it
                opened = None
        same = opened and opened.card["content_hash"] == entry["content_hash"]
        found[entry["name"]] = opened if same else None
    return found


def split_rows(card: dict, prepared: Prepared) -> np.ndarray:
    """Rows int64 of the split that pretraining read."""
    return prepared.rows(card.get("config", {}).get("data", {}).get("split", "all"))


def overlap(card: dict, sets: dict[str, Prepared | None], sha256: np.ndarray) -> dict:
    """Which evaluated images pretraining saw, by the digests of their bytes.

    Content hashes don't tell: they cover labels, which the same images have in one set and lack in
    another.

    Args:
      card: of the encoder.
      sets: from `open_sets`.
      sha256: S64 [n], of the evaluated images.

    Returns:
      `images`, how many of the n were in the sets that are here; `unknown`, names of the others.
    """
    seen = np.zeros(len(sha256), bool)
    for opened in sets.values():
        if opened is not None:
            seen |= np.isin(sha256, opened.table["sha256"][split_rows(card, opened)])
    return {"images": int(seen.sum()), "unknown": [n for n, s in sets.items() if s is None]}
