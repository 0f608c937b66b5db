"""Classifies the shards of a job that are not done, one after another."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import islice

from genomamba.inference.budget import Budget
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.job import Job
from genomamba.inference.journal import Journal
from genomamba.inference.parts import Parts
from genomamba.inference.plan import array_slice
from genomamba.inference.prefetch import prefetched
from genomamba.inference.reading import read_pieces
from genomamba.inference.scan import Scan, check_unchanged
from genomamba.inference.streams_job import classify_streams
from genomamba.inference.windows_job import classify_windows
from genomamba_data_prep.progress import Progress


def work(
    parts: Parts,
    job: Job,
    found: Scan,
    classifier: WindowClassifier,
    journal: Journal,
    task: tuple[int, int] | None,
) -> bool:
    """Classify what is not done; returns whether the budget had to be halved, now or earlier.

    Args:
        parts: the job's folder.
        job: what is to be done.
        found: the scan of the input, to notice files that change.
        classifier: the network.
        journal: of this process.
        task: which of how many tasks of an array; None for the only process.

    Raises:
        InputError: a file has changed, or memory does not hold the smallest budget.
    """
    plan, options = job.plan, job.options
    mine = array_slice(len(plan.shards), *(task or (1, 1)))
    done = parts.done()
    todo = [index for index in mine if index not in done]
    halvings = [e["max_bases"] for e in journal.entries if e["event"] == "halved"]
    budget = Budget(
        min(halvings, default=options.max_bases), lambda n: journal.write("halved", max_bases=n)
    )
    journal.write("start", shards=len(mine), done=len(mine) - len(todo))
    spans = [span for index in todo for span in plan.shards[index]]
    pieces = read_pieces(job.sources, plan.records, spans, options.pieces)
    total = sum(plan.records[span.record].length for span in spans)
    with (
        Progress("classifying, bases", total) as progress,
        closing(prefetched(pieces, options.max_bases, lambda piece: len(piece.codes))) as stream,
    ):
        for index in todo:
            begin = time.monotonic()
            shard = plan.shards[index]
            of_shard = islice(stream, sum(span.last - span.first for span in shard))
            if options.mode == "windows":
                results = classify_windows(of_shard, classifier, options, budget, progress.advance)
            else:
                results = classify_streams(
                    of_shard,
                    plan.records,
                    classifier,
                    options,
                    budget,
                    progress.advance,
                    parts.path,
                )
            for source in sorted({plan.records[span.record].source for span in shard}):
                check_unchanged(job.sources[source], found.signatures[source])
            digest = parts.write(index, results)
            seconds = round(time.monotonic() - begin, 3)
            journal.write("shard", shard=index, sha256=digest, seconds=seconds)
    journal.write("end")
    return budget.bases < options.max_bases
