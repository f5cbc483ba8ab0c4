"""Fetching weights: what the hub's client names and what has an address with pooch, MONAI bundles with MONAI.

Nothing is downloaded unless the user asks for it. A download goes into a folder beside its target, which is renamed
when every file has been checked; a download that was broken off is resumed from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError, MissingExtraError, ModelError
from atlassegfm.io.files import write_text_atomic
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.weights import MANIFEST, checked_sha256, digest, files_of, folder_of, offline

#: Asks the user a question that begins with what has to be known; True goes on.
Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Declared:
    """What a source says of a file before it is fetched: None where it says nothing."""

    sha256: str | None = None
    bytes: int | None = None


def download(info: ModelInfo, ask: Ask, *, sha256: str | None = None) -> Path:
    """Fetch a model's weights, check them and record them.

    Parameters
    ----------
    info : ModelInfo
        A model with weights.
    ask : callable
        Asked once about the licence, and once where this project knows no hash of the main file.
    sha256 : str, optional
        What the hash of the main file or folder has to be; then nothing is asked about it.

    Returns
    -------
    Path
        The folder of the weights.

    Raises
    ------
    InputError
        If the model has no weights, nothing may be downloaded, or the user declines.
    ModelError
        If something cannot be fetched or is not what it has to be.
    """
    weights, wanted = info.weights, checked_sha256(sha256)
    if weights is None:
        raise InputError(f"the model {info.name} needs no weights")
    if offline():
        raise InputError(
            f"the weights of {info.name} cannot be downloaded: ATLASSEGFM_OFFLINE or HF_HUB_OFFLINE is set; unset it, "
            "or copy the weights here and name them with --weights"
        )
    if not ask(licence_text(info)):
        raise InputError(f"the licence of {info.name} was not accepted, so nothing was downloaded")
    if wanted is None and not weights.sha256 and not ask(unpinned_text(info)):
        raise InputError(f"nothing was downloaded; give --sha256 to say what the weights of {info.name} have to be")
    draft = folder_of(info).with_name(f"{info.name}.part")
    draft.mkdir(parents=True, exist_ok=True)
    try:
        declared, revision = _fetch(weights, draft)
    except OSError as error:
        raise ModelError(
            f"the weights of {info.name} could not be fetched from {weights.source} ({_line(error)}); check the "
            "network and run the same command again, which goes on where it ended"
        ) from error
    _check(info, draft, declared, wanted)
    return _keep(info, draft, declared, revision, given=wanted is not None)


def licence_text(info: ModelInfo) -> str:
    """What the user has to know before the download."""
    weights = info.weights
    assert weights is not None
    use = " It does not allow commercial use." if weights.commercial is False else ""
    return (
        f"{info.name}: {weights.source}, about {weights.about_mb} MB.\nLicence of the weights: {weights.licence}.{use} "
        "Read it at the source. Accept it?"
    )


def unpinned_text(info: ModelInfo) -> str:
    """What the user has to know where no hash is known."""
    return (
        f"AtlasSegFM knows no SHA-256 of the weights of {info.name}. They will be compared with what the source "
        "declares, and their hash recorded, so that a later change is noticed; whether the source itself is sound "
        "cannot be checked. Go on?"
    )


def _fetch(weights: Weights, draft: Path) -> tuple[dict[str, Declared], str | None]:
    """Fetch into `draft`; what the source declares of each file, and the commit."""
    if weights.repo is not None:
        return _from_hub(weights, draft)
    if weights.url is not None:
        return _from_url(weights, draft), None
    return _from_bundle(weights, draft), None


def _from_hub(weights: Weights, draft: Path) -> tuple[dict[str, Declared], str | None]:
    """Ask the hub what there is, fetch it with pooch: the hub's own client does not resume."""
    try:
        from huggingface_hub import HfApi, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingExtraError("downloading from the hub", "huggingface_hub", "download") from error
    try:
        hub = HfApi()
        facts = hub.model_info(weights.repo, revision=weights.revision, files_metadata=True)
    except Exception as error:
        # The client's errors are those of whichever HTTP library its version is built on.
        raise ModelError(
            f"{weights.source}: the hub does not say what is there ({_line(error)}); check the network, ask for access "
            "on its page, or log in with 'hf auth login'"
        ) from error
    declared = {}
    for file in facts.siblings or ():
        name = file.rfilename
        if any(fnmatch(name, pattern) for pattern in weights.files):
            declared[name] = Declared(file.lfs.sha256 if file.lfs else None, file.size)
            url = hf_hub_url(str(weights.repo), name, revision=facts.sha, endpoint=hub.endpoint)
            _fetched(url, draft / name, weights.sha256.get(name) or declared[name].sha256, build_hf_headers())
    return declared, facts.sha


def _from_url(weights: Weights, draft: Path) -> dict[str, Declared]:
    known = weights.sha256.get(weights.main)
    _fetched(str(weights.url), draft / weights.main, known, {})
    return {weights.main: Declared(known)}


def _fetched(url: str, target: Path, sha256: str | None, headers: dict[str, str]) -> None:
    """Fetch a file with pooch, going on where the last attempt ended; a file that is there already is kept."""
    try:
        import pooch

        from atlassegfm.models.resume import ResumingDownloader
    except ImportError as error:
        raise MissingExtraError("downloading", "pooch", "download") from error
    pooch.get_logger().setLevel("WARNING")
    resuming = ResumingDownloader(target.with_name(f"{target.name}.incomplete"), headers)
    try:
        pooch.retrieve(url, sha256, fname=target.name, path=target.parent, downloader=resuming)
    except ValueError as error:  # pooch's word for another hash
        raise ModelError(f"{target.name} from {url}: {_line(error)}; it was deleted, download it again") from error


def _from_bundle(weights: Weights, draft: Path) -> dict[str, Declared]:
    try:
        from monai.bundle import download as fetch_bundle
    except ImportError as error:
        raise MissingExtraError("downloading a MONAI bundle", "monai", "monai") from error
    fetch_bundle(weights.bundle, bundle_dir=str(draft), progress=True)
    return {name: Declared() for name in files_of(draft)}


def _check(info: ModelInfo, draft: Path, declared: dict[str, Declared], wanted: str | None) -> None:
    """Compare what came with what was declared and pinned; what does not hold is deleted and named."""
    weights = info.weights
    assert weights is not None
    main = draft / weights.main
    if not main.exists():
        raise ModelError(
            f"{weights.source}: expected {weights.main} among the files, got {', '.join(declared) or 'none'}"
        )
    for name, facts in declared.items():
        file, pin = draft / name, weights.sha256.get(name)
        expected = pin or facts.sha256
        size = file.stat().st_size if file.is_file() else 0
        if facts.bytes is not None and size != facts.bytes:
            _refuse(file, f"expected {facts.bytes} bytes, got {size}", info)
        if expected is not None and digest(file) != expected:
            _refuse(file, f"expected SHA-256 {expected}, got {digest(file)}", info)
    if wanted is not None and digest(main) != wanted:
        _refuse(main, f"expected SHA-256 {wanted}, got {digest(main)}", info)


def _refuse(file: Path, why: str, info: ModelInfo) -> None:
    # Kept in part it would be resumed, and stay wrong.
    shutil.rmtree(folder_of(info).with_name(f"{info.name}.part"), ignore_errors=True)
    raise ModelError(f"{file.name} of the weights of {info.name}: {why}; it was deleted, download it again")


def _keep(info: ModelInfo, draft: Path, declared: dict[str, Declared], revision: str | None, *, given: bool) -> Path:
    """Write the record and move the folder to its place; `given` says that the user named the hash."""
    weights, target = info.weights, folder_of(info)
    assert weights is not None
    files = {name: {"sha256": digest(path), "bytes": path.stat().st_size} for name, path in files_of(draft).items()}
    for name, facts in files.items():
        declaration = declared.get(name, Declared())
        facts["checked"] = "pinned" if name in weights.sha256 else "declared" if declaration.sha256 else "recorded"
    record: dict[str, Any] = {
        "given": given,
        "source": weights.source,
        "revision": revision,
        "licence": weights.licence,
        "files": files,
    }
    shutil.rmtree(draft / ".cache", ignore_errors=True)
    write_text_atomic(draft / MANIFEST, json.dumps(record, indent=2) + "\n")
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    return target


def _line(error: BaseException) -> str:
    """An error of a library as part of one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
