"""Weights folders on the Hugging Face hub: one commit for each upload, and no request without permission."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dimlift.backbones.licences import licence_of
from dimlift.errors import CorruptFileError, RunError, WeightsError
from dimlift.records.model_page import model_page
from dimlift.records.record import RunRecord, write_text
from dimlift.records.weights import CARD_NAME, WEIGHTS_NAME, read_card, read_weights, verify_weights, weights_folder

PAGE_NAME = "README.md"


def pull(
    repository: str,
    *,
    download: bool = False,
    revision: str | None = None,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the weights folder of a hub repository, in the hub's cache.

    Args:
        repository: "owner/name".
        download: fetch what is not in the cache; without it no request is sent.
        revision: branch, tag or commit; both files are of the same commit.
        endpoint: URL of another hub; None takes HF_ENDPOINT, or huggingface.co.
        cache: folder of the cache; None takes the hub's own.

    Raises:
        WeightsError: if the repository does not exist, is gated, holds no weights folder, or cannot be reached.
        DataError: if its card is of another version.
        CorruptFileError: if the weights are not those of the card.
    """
    card = _fetch(repository, CARD_NAME, download, revision, endpoint, cache)
    commit = card.parent.name  # .../snapshots/COMMIT/model.json
    _fetch(repository, WEIGHTS_NAME, download, commit, endpoint, cache)
    try:
        verify_weights(card.parent)
    except CorruptFileError as fault:
        raise CorruptFileError(
            f"{repository}: {str(fault).partition('; ')[0]}; delete {card.parent} and fetch it again with "
            "download=True (--download); if that changes nothing, its owner has to upload it again"
        ) from fault
    return card.parent


def _fetch(
    repository: str, file: str, download: bool, revision: str | None, endpoint: str | None, cache: Path | None
) -> Path:
    """Return one file of a repository, from the cache, or with `download` from the hub."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        cached = try_to_load_from_cache(repository, file, cache_dir=cache, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if not download:
            raise WeightsError(
                f"{repository} is not on this machine; allow fetching it with download=True (--download), or copy the "
                f"folder with {CARD_NAME} and {WEIGHTS_NAME} here and give its path"
            )
        return Path(hf_hub_download(repository, file, revision=revision, cache_dir=cache, endpoint=endpoint))
    except HFValidationError as fault:
        raise WeightsError(
            f"{repository!r} is neither a folder nor the name of a hub repository; give OWNER/NAME"
        ) from fault
    except GatedRepoError as fault:
        terms = licence_of(repository).gated
        raise WeightsError(
            f"{repository} is gated{f': {terms}' if terms else ''}; accept its terms on its page of the hub, log in "
            "with `hf auth login`, and try again"
        ) from fault
    except RepositoryNotFoundError as fault:
        raise WeightsError(
            f"the hub has no repository {repository} that you can access; check the spelling of OWNER/NAME, or log in "
            "with `hf auth login` if it is private"
        ) from fault
    except RevisionNotFoundError as fault:
        raise WeightsError(f"{repository} has no revision {revision!r}; leave it out to get the newest") from fault
    except LocalEntryNotFoundError as fault:  # also an EntryNotFoundError
        raise WeightsError(
            f"{repository} could not be fetched; connect this machine (HF_HUB_OFFLINE must not be set), or copy the "
            f"folder here and give its path: {fault}"
        ) from fault
    except EntryNotFoundError as fault:
        raise WeightsError(
            f"{repository} holds no {file}, so dimlift did not write it; a 2D network can be lifted: "
            f"`dimlift lift timm:hf_hub:{repository} --pretrained --download`"
        ) from fault
    except (HTTPError, OSError) as fault:
        raise WeightsError(f"{repository} could not be fetched: {fault}; try again later") from fault


def push(
    run: Path | str,
    repository: str,
    *,
    licence: str | None = None,
    data: str = "",
    public: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
) -> str:
    """Upload the weights of a run with a model page, in one commit.

    The page states counts and scores, never names of cases.

    Args:
        run: folder that `train` wrote, or any weights folder; the scores of a run are stated.
        licence: of the new weights, in the hub's spelling ("apache-2.0"); None takes that of the 2D weights.
        data: a sentence about the training data.
        public: make a new repository public.

    Returns:
        URL of the commit.

    Raises:
        RunError: if no licence is stated, or the hub refuses.
        DataError: if there are no weights, or they are damaged.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    with TemporaryDirectory() as scratch:
        folder, page = weights_folder(Path(run)), Path(scratch) / PAGE_NAME
        write_model_page(run, page, repository, licence=licence, data=data)
        read_weights(folder)  # damaged weights are not uploaded
        files = {WEIGHTS_NAME: folder / WEIGHTS_NAME, CARD_NAME: folder / CARD_NAME, PAGE_NAME: page}
        api = HfApi(endpoint=endpoint, token=token)
        try:
            api.create_repo(repository, private=not public, exist_ok=True)
            commit = api.create_commit(
                repository,
                [CommitOperationAdd(name, str(file)) for name, file in files.items()],
                commit_message="Weights, card and page written by dimlift",
            )
        except HFValidationError as fault:
            raise RunError(f"{repository!r} is not the name of a hub repository; give OWNER/NAME") from fault
        except HfHubHTTPError as fault:
            raise RunError(
                f"the hub refused {repository} ({str(fault).splitlines()[0]}); log in with `hf auth login` to an "
                "account that may write there, or give another OWNER/NAME"
            ) from fault
        except (HTTPError, OSError) as fault:
            raise RunError(f"the hub could not be reached: {fault}; connect this machine and try again") from fault
    return str(commit.commit_url)


def write_model_page(
    run: Path | str, path: Path, repository: str = "OWNER/NAME", *, licence: str | None = None, data: str = ""
) -> Path:
    """Write the model page of a run (`README.md` of a hub repository).

    Raises:
        RunError: if there are no weights, or no licence is stated.
    """
    folder = weights_folder(Path(run))
    card = read_card(folder)
    licence = licence or card.get("licence")
    if licence is None:
        raise RunError(
            f"no licence is stated for the weights of {run}; state the one they are distributed under: "
            "licence='...' (--licence apache-2.0, cc-by-nc-4.0, ...)"
        )
    return write_text(path, model_page(card, _find_record(Path(run), folder), repository, licence, data))


def _find_record(run: Path, folder: Path) -> RunRecord | None:
    """Return the record of a run, or of the run in a study whose weights these are; None for weights alone."""
    for records, names in ((run / "records", "*.json"), (folder.parent.parent / "records", f"{folder.name}.json")):
        found = sorted(records.glob(names))
        if len(found) == 1:
            return RunRecord.load(found[0])
    return None
