"""Weights from the network, or one line that says which file to put where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from aigiscan.encoders.notices import notice
from aigiscan.encoders.weights import one_line
from aigiscan.errors import EncoderError

#: seconds to wait for a first answer; without it the hub's client retries for minutes where there is no network
PATIENCE = 5.0


@dataclass(frozen=True)
class Remote:
    """Where weights come from: a repository of the hub and the files that will do, best first; or a plain address."""

    repo: str = ""
    files: tuple[str, ...] = ()
    url: str = ""

    @property
    def address(self) -> str:
        """What a person can download."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repo}/resolve/main/{self.files[0]}" if self.repo else self.url

    def cached(self) -> Path | None:
        """The file, if it is on this machine; nothing is asked of the network."""
        import huggingface_hub

        if not self.repo:
            target = _kept(self.url)
            return target if target.is_file() else None
        found = (huggingface_hub.try_to_load_from_cache(self.repo, file) for file in self.files)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def get(self, model: str, kind: str) -> Path:
        """The file, downloaded if it must be and can be; EncoderError (one line) if it cannot be had.

        model: for messages. kind: the name under which a file placed by hand can be used, without the file.
        """
        if self.repo:
            return find_on_hub(model, self.repo, self.files, give=f"{kind}/PATH/TO/{self.files[0]}")
        return hub_file(model, self.url, give=f"{kind}/PATH/TO/{os.path.basename(self.url)}")


def find_on_hub(model: str, repo: str, files: Sequence[str], *, give: str) -> Path:
    """The first of ``files`` that the Hugging Face cache holds, else the first that can be downloaded.

    model: for messages. give: the encoder name under which a file placed by hand can be used.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import EntryNotFoundError

    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repo, file)
        if isinstance(cached, str):
            return Path(cached)
    problem = why_offline(constants.ENDPOINT)
    if not problem:
        for file in files:
            try:
                notice(f"downloading {repo}/{file}")
                return Path(huggingface_hub.hf_hub_download(repo, file))
            # The client raises its own errors (all OSError), httpx or requests errors, and ValueError for bad names.
            except (OSError, ValueError, RuntimeError) as error:
                problem = one_line(error, 120)
                if not isinstance(error, EntryNotFoundError):
                    break  # another file of the same place would fail the same way, after as many tries
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    raise EncoderError(
        f"{model}: weights are neither in the cache ({folder}) nor to be downloaded ({problem}); fetch "
        f"{constants.ENDPOINT}/{repo}/resolve/main/{files[0]} elsewhere and name the encoder {give}"
    )


#: the files of a transformers model that are read: no pickle
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")


def find_folder_on_hub(repo: str, *, give: str) -> Path:
    """The folder of a transformers model in the Hugging Face cache, downloaded if it is not there and can be."""
    import huggingface_hub
    from huggingface_hub import constants

    wanted = list(MODEL_FILES)
    try:
        folder = Path(huggingface_hub.snapshot_download(repo, local_files_only=True, allow_patterns=wanted))
        if any(folder.glob("*.safetensors")):
            return folder
    except (OSError, ValueError):
        pass  # not there, or no possible name: the download says which
    problem = why_offline(constants.ENDPOINT)
    if not problem:
        try:
            notice(f"downloading {repo}")
            return Path(huggingface_hub.snapshot_download(repo, allow_patterns=wanted))
        except (OSError, ValueError, RuntimeError) as error:
            problem = one_line(error, 120)
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    raise EncoderError(
        f"hf:{repo}: neither in the cache ({folder}) nor to be downloaded ({problem}); fetch the files of "
        f"{constants.ENDPOINT}/{repo} elsewhere and name it {give}"
    )


def hub_file(model: str, url: str, *, give: str) -> Path:
    """Weights that open_clip knows by a plain address; cached where open_clip caches them."""
    import open_clip

    target = _kept(url)
    problem = "" if target.is_file() else why_offline(url)
    if not problem:
        try:
            # open_clip checks the sha256 that the address carries
            return Path(open_clip.download_pretrained_from_url(url, cache_dir=str(target.parent)))
        except (OSError, ValueError, RuntimeError) as error:
            problem = one_line(error, 120)
    raise EncoderError(
        f"{model}: weights are neither in the cache ({target}) nor to be downloaded ({problem}); fetch {url} elsewhere "
        f"and put it there, or name the encoder {give}"
    )


def _kept(url: str) -> Path:
    """Where open_clip keeps what comes from a plain address."""
    return Path.home() / ".cache" / "clip" / os.path.basename(url)


def why_offline(address: str) -> str:
    """Why nothing can be downloaded from that address, or "" if it seems reachable. Answers within seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set"
    # Asked through whatever proxy there is, in a thread: looking up a name may hang for longer than any time limit.
    found: Queue[str] = Queue()
    Thread(target=lambda: found.put(_no_answer(address)), daemon=True).start()
    try:
        return found.get(timeout=2 * PATIENCE)
    except Empty:
        return f"{urlsplit(address).hostname} is not found within {2 * PATIENCE:g} s"


def _no_answer(address: str) -> str:
    """Why that address does not answer, or "" if it does, whatever it says."""
    request = Request(address, method="HEAD", headers={"User-Agent": "aigiscan"})  # noqa: S310 (the hub's address)
    try:
        urlopen(request, timeout=PATIENCE).close()  # noqa: S310
    except HTTPError:
        return ""
    except (OSError, HTTPException) as error:
        return f"no connection to {urlsplit(address).hostname}: {getattr(error, 'reason', error) or 'no answer'}"
    return ""
