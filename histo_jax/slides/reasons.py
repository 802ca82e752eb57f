"""Why a slide is refused: every reason code of this room with what to do about it."""

from histo_jax.errors import HistoError

# code: remedy. The code is counted in summaries and never changes its meaning.
REASONS = {
    # the file system
    "missing": "check the path",
    "dangling-link": "mend the link or remove it",
    "directory": "name the slide file inside it",
    "not-a-file": "name a regular file",
    "no-permission": "make the file readable",
    "read-failed": "check the disk or the network mount",
    "missing-member": "put the slide's companion files back beside it",
    # the bytes
    "empty": "fetch the slide again",
    "html": "the download failed: fetch the slide again",
    "not-a-slide": "give a format OpenSlide reads; single images go to histo_patches",
    "truncated": "fetch the slide again",
    "damaged": "fetch the slide again",
    "untiled": "convert it, e.g. `vips tiffsave in.tif out.tif --tile --pyramid`",
    "unsupported-codec": "convert it, e.g. `vips tiffsave in.tif out.tif --tile --pyramid -c jpeg`",
    "colour-cmyk": "convert it to 8-bit RGB",
    "colour-16-bit": "convert it to 8-bit RGB",
    "colour-gray": "convert it to 8-bit RGB",
    "colour-other": "convert it to 8-bit RGB",
    # what the slide says about itself
    "implausible-tile": "the header is damaged: fetch the slide again",
    "implausible-dimensions": "the header is damaged: fetch the slide again",
    "implausible-levels": "the header is damaged: fetch the slide again",
    "implausible-mpp": "give the true value in slides.csv, column mpp",
    # what is asked of it
    "mpp-missing": "give it in slides.csv, column mpp, or as default_mpp",
    "mpp-too-coarse": "ask for a coarser mpp, or set upsample",
    "mpp-too-far": "ask for a finer mpp, or convert the slide to a pyramid",
    "grid-too-large": "ask for larger tiles or a coarser mpp",
    "regions": "export the regions again, or remove that file",
    "regions-outside": "they are of another slide or of another level: export them again",
    # what happens while reading
    "unreadable-tile": "",
    "too-many-unreadable": "fetch the slide again, or raise max_bad",
    "changed": "leave the slide alone while it is read, and run again",
    "wrong-process": "open the slide in the process that reads it",
    # the workers
    "memory": "raise memory_bytes",
    "timeout": "raise timeout_s, or leave the slide out",
    "worker-died": "leave the slide out, or convert it",
    "worker-start": "check the installation",
    "worker-error": "report it",
    # the parts
    "damaged-part": "delete it and run again",
    "bad-option": "",
}


def refusal(path: object, reason: str, what: str) -> HistoError:
    """The error for `reason`, with the remedy of the table."""
    return HistoError(path, reason, what, REASONS[reason])
