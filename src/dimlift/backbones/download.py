"""Files of the Hugging Face hub and of URLs, from the local cache, or downloaded where that is allowed."""

import re
from collections.abc import Sequence
from pathlib import Path

from dimlift.backbones.licences import licence_of
from dimlift.errors import WeightsError


def missing_weights_message(name: str, repository: str | None = None) -> str:
    """Return what to do about weights that are not on this machine while downloading is not allowed."""
    gated = licence_of(repository, name).gated
    return (
        f"the weights of {name} are not on this machine; allow downloading them with download=True (--download), "
        "or give a local file with weights= (--weights)" + (f". They are gated: {gated}" if gated else "")
    )


def cached_hub_file(
    name: str, repository: str, files: Sequence[str], *, download: bool, revision: str | None = None
) -> Path:
    """Return the first of `files` that a hub repository has. Without `download` no network connection is made.

    Args:
        name: of the network, for error messages.
        repository: "owner/name".
        files: in order of preference.
        download: download it if it is not in the cache.
        revision: of the repository.

    Raises:
        WeightsError: if it is not cached and `download` is False, cannot be downloaded, or its terms were not accepted.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    for file in files:
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    if not download:
        raise WeightsError(missing_weights_message(name, repository))
    error: Exception | None = None
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except GatedRepoError as fault:
            raise WeightsError(gated_message(name, repository)) from fault
        except LocalEntryNotFoundError as fault:  # also an EntryNotFoundError
            raise WeightsError(
                f"the weights of {name} could not be downloaded from {repository}: {fault}; connect this machine "
                "(HF_HUB_OFFLINE must not be set), or give a local file with weights= (--weights)"
            ) from fault
        except (EntryNotFoundError, HfHubHTTPError, OSError) as fault:
            error = fault
    raise WeightsError(
        f"{repository} has none of {', '.join(files)} for {name}: {error}; give a local file with weights= (--weights)"
    ) from error


def gated_message(name: str, repository: str) -> str:
    """Return what to do about weights whose terms have to be accepted first."""
    terms = licence_of(repository, name).gated or "accept their terms first"
    return (
        f"the weights of {name} are gated: {terms}. Accept them on the hub's page of {repository} and log in with "
        "`hf auth login`, or give a local file with weights= (--weights)"
    )


def cached_url_file(name: str, url: str, *, download: bool) -> Path:
    """Return the file of a URL in torch's hub folder.

    Raises:
        WeightsError: if it is not there and `download` is False, or cannot be downloaded.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    if not download:
        raise WeightsError(missing_weights_message(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        prefix = re.search(r"-([0-9a-f]{8,})\.", path.name)  # names of torch's files contain the start of their SHA-256
        torch.hub.download_url_to_file(url, str(path), prefix and prefix[1], progress=False)
    except (OSError, RuntimeError) as fault:
        raise WeightsError(
            f"the weights of {name} could not be downloaded from {url}: {fault}; connect this machine, "
            "or give a local file with weights= (--weights)"
        ) from fault
    return path
