"""Fetch PyTorch's own functorch tests, from the source package of a Debian release, into build/functorch.

    python tests/functorch/fetch.py [--archive pytorch_2.6.0+dfsg.orig.tar.xz]

The wheel carries no tests, and their code is not ours to copy into this repository. Debian's source package is a
stable place to read them from: `trixie` is a released distribution, so its PyTorch (2.6.0) stays as it is for years,
while `sid` moves under one's feet. All but eight of 2.6's functorch tests pass with torch 2.13 as they stand (those
eight concern custom autograd.Function), so the version fits.

What happens is `apt-get source --tar-only pytorch`, with apt's state, cache and sources in a folder of our own: no
root is needed and nothing of the machine's own apt is touched. The mirror is the one the machine already uses. The
tarball must match the SHA-256 below; of its content only `test/functorch` and the licence are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

RELEASE = "trixie"
VERSION = "2.6.0"
TARBALL = f"pytorch_{VERSION}+dfsg.orig.tar.xz"
SHA256 = "099a9601bc40d67656e75735c44abedb0fbe92d08817852ab7472eebb7e6ddff"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

BUILD = Path(__file__).resolve().parents[2] / "build" / "functorch"
TESTS = BUILD / f"pytorch-{VERSION}" / "test" / "functorch"
STAMP = BUILD / "fetched"


class FetchError(Exception):
    """The tests could not be obtained; the message says what was tried and what to do."""


def debian_mirror() -> str:
    """The Debian archive this machine's apt is configured with.

    apt itself reads its sources, in whichever of its formats they are written.
    """
    if not shutil.which("apt-get"):
        raise FetchError(f"apt-get is not on this machine: give the tarball with --archive {TARBALL}")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True
    )
    for uri in listed.stdout.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    raise FetchError(f"no Debian archive among this machine's apt sources: give the tarball with --archive {TARBALL}")


def apt_source(folder: Path) -> Path:
    """`apt-get source --tar-only pytorch` in `folder`, as an ordinary user; the tarball's path."""
    for part in ("state/lists/partial", "cache/archives/partial", "empty"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYRING}] {debian_mirror()} {RELEASE} main\n")
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": folder / "empty",
        "Dir::State": folder / "state",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",  # the folder belongs to the user who calls
    }
    apt = ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    for command in ("update",), ("source", "--download-only", "--tar-only", "pytorch"):
        done = subprocess.run([*apt, *command], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise FetchError(f"apt-get {command[0]} failed: {' '.join(said)}")
    return folder / TARBALL


def verify(archive: Path) -> None:
    """Raise unless `archive` is, to the bit, the tarball this suite was written for."""
    if not archive.is_file():
        raise FetchError(f"{archive.name} is not there: {RELEASE} now carries another version, or the path is wrong")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise FetchError(f"{archive.name} has SHA-256 {found}, expected {SHA256}: not extracted")


def extract(archive: Path) -> None:
    """Unpack `test/functorch/*.py` and the licence into build/functorch, by their names and nothing else of theirs."""
    root = TESTS.parents[1]
    TESTS.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inside = member.name.partition("/")
            folder, _, name = inside.rpartition("/")
            wanted = inside == "LICENSE" or (folder == "test/functorch" and name.endswith(".py"))
            if wanted and (content := tar.extractfile(member)) is not None:
                (root / folder / name).write_bytes(content.read())


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch PyTorch's functorch tests into build/functorch.")
    parser.add_argument("--archive", type=Path, help=f"a copy of {TARBALL}, where there is no apt")
    given = parser.parse_args()
    if STAMP.is_file() and STAMP.read_text().strip() == SHA256 and TESTS.is_dir():
        print(f"{TESTS} is there already")
        return 0
    BUILD.mkdir(parents=True, exist_ok=True)
    workplace = BUILD / "apt"
    try:
        archive = given.archive or apt_source(workplace)
        verify(archive)
        extract(archive)
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    STAMP.write_text(SHA256 + "\n")
    print(f"PyTorch {VERSION}'s functorch tests are in {TESTS}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
