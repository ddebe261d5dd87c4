"""Files of the Hugging Face hub and of plain addresses: from this disk, or fetched where that is asked for."""

import re
from collections.abc import Sequence
from pathlib import Path

from dimlift.backbones.licences import terms_of
from dimlift.errors import WeightsError


def not_here(name: str, repository: str | None = None) -> str:
    """What to do about weights that are not on this machine and must not be fetched."""
    gated = terms_of(repository, name).gated
    return (
        f"the weights of {name} are not on this machine; allow fetching them with download=True (--download), "
        "or give a local file with weights= (--weights)" + (f". They are gated: {gated}" if gated else "")
    )


def hub_file(name: str, repository: str, files: Sequence[str], *, download: bool, revision: str | None = None) -> Path:
    """The first of `files` that a hub repository has; nothing is asked of the network unless `download`.

    Args:
        name: what the user called the network, for errors.
        repository: "owner/name".
        files: in order of preference.
        download: fetch it if it is not in the cache.
        revision: of the repository.

    Raises:
        WeightsError: if it is not here and must not be fetched, cannot be fetched, or its terms were not accepted.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    for file in files:
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    if not download:
        raise WeightsError(not_here(name, repository))
    fault: Exception | None = None
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except GatedRepoError as refused:
            raise WeightsError(gated_message(name, repository)) from refused
        except LocalEntryNotFoundError as offline:  # also an EntryNotFoundError
            raise WeightsError(
                f"the weights of {name} could not be fetched from {repository}: {offline}; connect this machine "
                "(HF_HUB_OFFLINE must not be set), or give a local file with weights= (--weights)"
            ) from offline
        except (EntryNotFoundError, HfHubHTTPError, OSError) as absent:
            fault = absent
    raise WeightsError(
        f"{repository} gives none of {', '.join(files)} for {name}: {fault}; "
        "give a local file with weights= (--weights)"
    ) from fault


def gated_message(name: str, repository: str) -> str:
    """What to do about weights whose terms have to be accepted first."""
    terms = terms_of(repository, name).gated or "accept their terms first"
    return (
        f"the weights of {name} are gated: {terms}. Accept them on the hub's page "
        f"of {repository} and log in with `hf auth login`, or give a file you have with weights= "
        "(--weights)"
    )


def address_file(name: str, address: str, *, download: bool) -> Path:
    """A file that lies at a plain address, in torch's hub folder.

    Raises:
        WeightsError: if it is not here and must not be fetched, or cannot be.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    if not download:
        raise WeightsError(not_here(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        named = re.search(r"-([0-9a-f]{8,})\.", path.name)  # torch's files carry the start of their sum in their name
        torch.hub.download_url_to_file(address, str(path), named and named[1], progress=False)
    except (OSError, RuntimeError) as fault:
        raise WeightsError(
            f"the weights of {name} could not be fetched from {address}: {fault}; connect this machine, "
            "or give a local file with weights= (--weights)"
        ) from fault
    return path
