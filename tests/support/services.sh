#!/bin/sh
# The real services of the tests, from Debian's packages: what is there is left as it is. Without root the tests that
# need what is missing are skipped, and say so.
set -eu
missing=""
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
[ -n "$missing" ] || exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    sudo -n true 2>/dev/null || as_root="no"
fi
if [ "$as_root" = no ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, so that tests of them are skipped:$missing" >&2
    exit 0
fi
echo "installing$missing ..."
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -q update >/dev/null 2>&1 || true
# shellcheck disable=SC2086 # a list of packages
$as_root apt-get -q install -y --no-install-recommends $missing >/dev/null 2>&1 ||
    echo "could not install:$missing; tests of them are skipped" >&2
