"""Slides cut on many machines: Beam deals them out, each machine supervises its own processes.

Everything is handed over in files: this machine and Beam's workers see the folder of parts and the
slides under the same paths.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from histo_jax.errors import HistoError
from histo_jax.files import hold, read_json, write_json
from histo_jax.slides.pool import Job, Outcome, Supervisor
from histo_jax.slides.tiles import TileRule


def cut_slides(
    jobs: Sequence[Job],
    rule: TileRule,
    parts_dir: str | os.PathLike,
    options: PipelineOptions,
    timeout_s: float = 600.0,
    memory_bytes: int = 4 * 2**30,
) -> Iterator[Outcome]:
    """As `pool.cut_slides`, with the same parts and outcomes, by the runner that `options` name.

    Outcomes come in the order of the jobs, once all are done. A failed pipeline leaves the
    parts that were finished.

    Raises:
      HistoError: `locked`; `beam`: the pipeline failed, for a full disk or a runner that isn't
        there; `not-shared`: what the workers wrote is not to be seen here.
    """
    parts_dir = Path(parts_dir)
    with hold(parts_dir), _answers(parts_dir) as answers:
        how = {"rule": rule, "parts_dir": parts_dir.absolute()}
        how |= {"timeout_s": timeout_s, "memory_bytes": memory_bytes}
        lines = [json.dumps(_line(job)) for job in jobs]
        try:
            with beam.Pipeline(options=options) as pipeline:
                slides = pipeline | "Slides" >> beam.Create(list(enumerate(lines)))
                dealt = slides | "Deal out" >> beam.Reshuffle()
                _ = dealt | "Cut" >> beam.ParDo(_Cut(answers.absolute(), how))
        except Exception as error:  # every runner has its own
            told = [line.strip() for line in str(error).splitlines() if line.strip()]
            what = f"the pipeline failed: {told[-1] if told else type(error).__name__}"
            remedy = "see its log above"
            raise HistoError("--beam_pipeline_options", "beam", what, remedy) from error
        for number, job in enumerate(jobs):
            yield _outcome(job, parts_dir, answers / f"{number}.json")


class _Cut(beam.DoFn):
    """Cuts one slide after another by a process that a slide may kill; its answers are files."""

    def __init__(self, answers: Path, how: dict):
        self.answers, self.how = answers, how

    def setup(self):
        self.supervisor = Supervisor((), **self.how)

    def process(self, element):
        number, line = element
        given, path, mpp, regions = json.loads(line)
        outcome = self.supervisor.cut(Job(path, mpp, regions))
        answer = {"seconds": outcome.seconds}
        if outcome.error is None:
            answer["part"] = outcome.part.name
        else:  # told as the driver calls the slide
            answer["error"] = [text.replace(path, given) for text in outcome.error.args]
        write_json(self.answers / f"{number}.json", answer)

    def teardown(self):
        self.supervisor.close()


def _line(job: Job) -> list:
    regions = job.regions and os.path.abspath(job.regions)
    return [job.path, os.path.abspath(job.path), job.mpp, regions]


@contextlib.contextmanager
def _answers(parts_dir: Path) -> Iterator[Path]:
    """A folder for this pipeline alone: workers of one that was killed may still write."""
    for leftover in parts_dir.glob(".answers.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = parts_dir / f".answers.{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(job: Job, parts_dir: Path, file: Path) -> Outcome:
    answer = read_json(file) if file.exists() else {}
    if "error" in answer:
        return Outcome(job.path, None, HistoError(*answer["error"]), answer["seconds"])
    part = parts_dir / answer.get("part", file.name)
    if not part.exists():
        what = f"what Beam's workers wrote of {job.path} isn't here"
        remedy = "--data_dir must be one folder to this machine and all workers"
        raise HistoError(parts_dir, "not-shared", what, remedy)
    return Outcome(job.path, part, None, answer["seconds"])
