"""The work on one query, in a worker: read, check, segment, write, tell."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.atlas import Atlas
from atlassegfm.atlases.files import Files
from atlassegfm.atlases.loading import load_atlases
from atlassegfm.cohort.fence import is_current
from atlassegfm.cohort.loading import Scan, load
from atlassegfm.cohort.modality import check_same_kind
from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.shape import shapes
from atlassegfm.content import path_signature
from atlassegfm.errors import AtlasSegError
from atlassegfm.evaluation.memory import peak_mb, reset_peak
from atlassegfm.io import file_sha256, is_dicom
from atlassegfm.io.files import atomic_path
from atlassegfm.report.facts import label_facts
from atlassegfm.report.json_report import atlas_sources, file_facts, source_facts
from atlassegfm.report.outputs import Outputs, write_outputs

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation

logger = logging.getLogger(__name__)
#: Told which step has begun.
Tell = Callable[[str], None]
#: Width of the small pictures on the page, in pixels.
THUMBNAIL_WIDTH = 360
#: No space, or no more of it for this user (not on Windows).
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class Case:
    """One query, to be worked on.

    Parameters
    ----------
    query : Query
        The scan.
    key : str
        Of its settings.
    folder, thumbnails, scratch : Path
        Where results go, small pictures for the page, and what is not finished.
    fence, mark : Path, str
        File that holds the mark of the run that may write, and the one of the run that this case belongs to.
    """

    query: Query
    key: str
    folder: Path
    thumbnails: Path
    scratch: Path
    fence: Path
    mark: str

    @property
    def is_current(self) -> bool:
        """Whether its run still holds the folder."""
        return is_current(self.fence, self.mark)


class DiskFullError(AtlasSegError):
    """No space is left for results: going on would fail every other query too."""


def execute(case: Case, settings: CohortSettings, tell: Tell, load: Callable[[Query], Scan] = load) -> CaseRecord:
    """Segment a query and write its files; what goes wrong becomes a record that says why.

    Parameters
    ----------
    case, settings
        What is done.
    tell : callable
        Told which step has begun.
    load : callable
        Reads the query.

    Raises
    ------
    DiskFullError
        If there is no space left.
    """
    reset_peak()
    start = time.perf_counter()
    try:
        return _segment(case, settings, tell, load, start)
    except MemoryError:
        text = "not enough memory; run with fewer --jobs, or crop or downsample the scan"
        return failed(case, text, "memory", time.perf_counter() - start, peak_mb())
    except AtlasSegError as error:
        _stop_when_full(error, case)
        return failed(case, str(error), "input", time.perf_counter() - start, peak_mb())
    except Exception as error:
        # A fault of ours or of a library in one case must not cost the others theirs; it is recorded, not hidden.
        _stop_when_full(error, case)
        logger.debug("%s", case.query.name, exc_info=True)
        text = f"unexpected {type(error).__name__}: {error}"
        return failed(case, text, "error", time.perf_counter() - start, peak_mb())


def failed(case: Case, text: str, kind: str, seconds: float, peak: float = 0.0) -> CaseRecord:
    """The record of a query that failed."""
    query = case.query
    line = " ".join(text.split()).replace(str(query.path), public_name(query))[:500]
    signature = ""
    # A scan that is out of reach has nothing to know it again by; it is tried again each time. The content is not read:
    # doing so may be what failed or hung.
    with contextlib.suppress(AtlasSegError):
        signature = path_signature(query.path)
    return CaseRecord(
        query.name, public_name(query), case.key, "", signature, line, kind, round(seconds, 3), round(peak, 1)
    )


def public_name(query: Query) -> str:
    """What a scan is called in results: its file's name; DICOM, whose paths may name patients, by the results' name."""
    return query.name if is_dicom(query.path) else query.path.name


def _stop_when_full(error: BaseException, case: Case) -> None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            raise DiskFullError(
                f"{case.folder}: the disk is full, {case.query.name} cannot be written; free some space and run the "
                "same command again, which goes on from here"
            ) from error
        cause = cause.__cause__ or cause.__context__


def _segment(
    case: Case, settings: CohortSettings, tell: Tell, load: Callable[[Query], Scan], start: float
) -> CaseRecord:
    from atlassegfm.pipeline import segment

    query = case.query
    tell("read")
    atlases, atlas_facts = _atlases(settings.atlases_of(query), _Choices(settings.choices))
    scan = load(query)
    image = scan.image
    for atlas in atlases:
        check_same_kind(atlas.image, image, public_name(query))
    result = segment(atlases, image, progress=_whole_steps(tell), **settings.options)
    tell("write")
    if not case.is_current:
        raise AtlasSegError(f"{query.name}: its run is over, so the result is dropped")
    inputs = {"query": _query_facts(query, scan), **atlas_facts}
    outputs = write_outputs(
        case.folder,
        query.name,
        image,
        result,
        inputs,
        settings.formats,
        scratch_parent=case.scratch,
        layout=settings.layout,
    )
    labels = _labels(result)
    _thumbnail(outputs.qc, labels, case.thumbnails / f"{query.name}.jpg")
    # Everything is on the disk: from here on the record is all that is missing.
    return CaseRecord(
        name=query.name,
        source=public_name(query),
        settings=case.key,
        digest=scan.digest,
        signature=scan.signature,
        seconds=round(time.perf_counter() - start, 3),
        peak_mb=round(peak_mb(), 1),
        labels=labels,
        warnings=list(result.warnings),
        outputs=_digests(outputs, case.folder),
    )


def _query_facts(query: Query, scan: Scan) -> Mapping[str, str]:
    """What the report says of the query; a file has been hashed already."""
    facts = source_facts(query.path, scan.image)
    return {"file": query.path.name, "sha256": scan.digest} if isinstance(facts, Path) else facts


def _labels(result: Segmentation) -> list[dict[str, Any]]:
    """What is known of each label, with its shape, which is None for one that is empty."""
    found = shapes(result.labels, sorted(result.names))
    return [{**fact, "shape": found.get(fact["value"])} for fact in label_facts(result)]


def _digests(outputs: Outputs, folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in outputs.items().values()}


class _Choices(dict):
    """Choices of the atlas, the same for all queries of a worker, so that they need no hash of their own."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items(), key=lambda item: item[0])))


@lru_cache(maxsize=2)
def _atlases(files: tuple[Files, ...], choices: _Choices) -> tuple[list[Atlas], dict[str, dict[str, str]]]:
    """The atlases and what reports say of their files, read once by a worker; of a cohort with many, two sets stay."""
    atlases = load_atlases(files, **choices)
    return atlases, file_facts(atlas_sources(files, atlases))


def _whole_steps(tell: Tell) -> Callable[[str, float], None]:
    """Progress that tells of a step when it begins, not of each of its fractions."""
    last: dict[str, Any] = {}

    def progress(step: str, fraction: float) -> None:
        del fraction
        whole = step.partition(":")[0]
        if last.get("step") != whole:
            last["step"] = whole
            tell(whole)

    return progress


def _thumbnail(picture: Path, labels: list[dict[str, Any]], target: Path) -> None:
    """Keep a small JPEG of the most doubtful label, out of the QC picture, for the page."""
    from PIL import Image

    from atlassegfm.report.qc import doubtful_box

    with Image.open(picture) as image:
        small = image.convert("RGB").crop(doubtful_box(labels))
    small.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
    with atomic_path(target) as draft:
        small.save(draft, "JPEG", quality=70)
