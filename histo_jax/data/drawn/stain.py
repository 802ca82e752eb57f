"""From amounts of two stains to the picture a scanner gives, after Beer and Lambert.

Each pixel holds an amount of haematoxylin and one of eosin and transmits
exp(-amounts x absorbances). Patients differ in stain, scanner and focus, widely enough that colour
says little about the tissue.
"""

import dataclasses

import numpy as np
from PIL import Image, ImageFilter

# Absorbance of haematoxylin and eosin in R, G, B, two ends a palette; a patient lies between them.
PALETTES = {
    # Macenko et al. 2009's reference; Ruifrok & Johnston 2001.
    "classic": (
        [[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]],
        [[0.65, 0.70, 0.29], [0.12, 0.95, 0.22]],
    ),
    # A bluer haematoxylin with an orange eosin; a brown one with a violet eosin. Ours.
    "other": (
        [[0.72, 0.62, 0.24], [0.10, 0.72, 0.68]],
        [[0.50, 0.72, 0.48], [0.26, 0.90, 0.32]],
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Patient:
    """What all slides of a patient share.

    Attributes:
      stains: absorbance of haematoxylin and eosin in R, G, B [2, 3].
      glass: light through the empty slide in R, G, B [3], 0 to 255.
      gamma: of the scanner.
      focus: standard deviation of its blur, level-0 pixels.
      noise: standard deviation of its noise, grey levels.
      cellularity: factor on the number of cells.
      nuclear_size: factor on the diameter of nuclei.
    """

    stains: np.ndarray
    glass: np.ndarray
    gamma: float
    focus: float
    noise: float
    cellularity: float
    nuclear_size: float


def draw_patient(seed: int, number: int, palette: str = "classic") -> Patient:
    """A patient's own stain, scanner and cells."""
    rng = np.random.default_rng((seed, number))
    one, other = (np.array(ends) for ends in PALETTES[palette])
    place = rng.uniform(0, 1, (2, 1))
    stains = one + place * (other - one) + rng.normal(0, 0.05, (2, 3))
    strength = np.exp(rng.uniform(np.log((0.62, 0.5)), np.log((1.5, 1.6))))[:, None]
    return Patient(
        stains=strength * np.clip(stains, 0.03, None),
        glass=rng.uniform(228, 246) * (1 + rng.normal(0, 0.012, 3)).clip(0.96, 1.02),
        gamma=float(np.exp(rng.uniform(-0.3, 0.3))),
        focus=rng.uniform(0.4, 1.5),
        noise=rng.uniform(0.8, 4.5),
        cellularity=rng.uniform(0.75, 1.3),
        nuclear_size=rng.uniform(0.88, 1.15),
    )


def develop(
    haematoxylin: np.ndarray, eosin: np.ndarray, patient: Patient, rng: np.random.Generator
) -> np.ndarray:
    """The picture uint8 [h, w, 3] of amounts float32 [h, w] >= 0; every slide a little its own."""
    day = (np.exp(rng.normal(0, 0.12, (2, 1))) * patient.stains).astype(np.float32)
    light = np.empty((*eosin.shape, 3), np.float32)
    for channel in range(3):
        absorbed = haematoxylin * day[0, channel]
        absorbed += eosin * day[1, channel]
        light[..., channel] = np.exp(-absorbed, out=absorbed)
    seen = Image.fromarray((light * 255 + 0.5).astype(np.uint8))
    focus = float(patient.focus * np.exp(rng.normal(0, 0.2)))
    seen = seen.filter(ImageFilter.GaussianBlur(focus))
    curve = (np.arange(256) / 255) ** patient.gamma
    table = np.rint(curve[None, :] * patient.glass[:, None]).clip(0, 255)
    picture = np.asarray(seen.point(table.astype(int).ravel().tolist())).astype(np.float32)
    picture += rng.standard_normal(picture.shape, np.float32) * np.float32(patient.noise)
    return np.clip(picture + 0.5, 0, 255, out=picture).astype(np.uint8)
