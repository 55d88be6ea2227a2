#!/usr/bin/env python3
"""Copy an object store to a folder, a folder to an object store, or one to another: for backups.

    python deploy/copy-objects.py s3://farfunc file:///backup/objects
    python deploy/copy-objects.py file:///backup/objects s3://farfunc

An object is named by its content and never changes, so what the target has already is left as it is. The address and
the credentials of S3 are taken from the environment, as the server's are: AWS_ENDPOINT, AWS_ACCESS_KEY_ID, ...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import LocalStore, ObjectStore, S3Store, from_url


def opened(address: str) -> ObjectStore:
    """The store at an address; a folder is made if it is not there."""
    if urlsplit(address).scheme == "file":
        Path(urlsplit(address).path).mkdir(parents=True, exist_ok=True)
        return LocalStore(urlsplit(address).path)
    is_plain = os.environ.get("AWS_ENDPOINT", "").startswith("http://")
    if address.startswith("s3://"):
        return S3Store.from_url(address, client_options={"allow_http": is_plain})
    return from_url(address)


def sizes(store: ObjectStore) -> dict[str, int]:
    """Every object's size."""
    return {meta["path"]: meta["size"] for page in obstore.list(store) for meta in page}


def main(source: str, target: str) -> None:
    """Copy what the target lacks."""
    come_from, go_to = opened(source), opened(target)
    there = sizes(go_to)
    copied = 0
    for path, size in sizes(come_from).items():
        if there.get(path) != size:
            with obstore.open_writer(go_to, path) as file:
                for part in obstore.get(come_from, path).stream():
                    file.write(part)
            copied += 1
    print(f"copied {copied} objects to {target}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SOURCE TARGET")
    main(*sys.argv[1:])
