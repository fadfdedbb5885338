#!/usr/bin/env bash
# Build the source archive, and from it the wheel, into the folder $1 (default: dist).
#
# The same files with the same tools give the same bytes, whatever the folder, umask, time zone and user: only files
# that git tracks are taken, their times become those of the last commit, and the archive is packed again in order,
# since setuptools writes the present time and the user into it. PYTHON names an interpreter with `build` and setuptools.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 TZ=UTC

out=$(realpath -m "${1:-dist}")
python=$(realpath -ms "${PYTHON:-build/release/bin/python}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archive() { # the remaining arguments: what to pack
  tar --create --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode='u=rwX,go=rX' "$@"
}

mkdir -p "$work/source" "$work/sdist" "$work/unpacked" "$out"
git ls-files -z | archive --null --files-from=- | tar --extract --directory "$work/source"
"$python" -m build --sdist --no-isolation --outdir "$work/sdist" "$work/source" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }

sdist=$(basename "$work"/sdist/*.tar.gz)
tar --extract --directory "$work/unpacked" --file "$work/sdist/$sdist"
archive --directory "$work/unpacked" "${sdist%.tar.gz}" | gzip --no-name --best >"$work/sdist/$sdist"
"$python" -m build --wheel --no-isolation --outdir "$work/wheel" "$work/unpacked/${sdist%.tar.gz}" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }

mv "$work"/sdist/*.tar.gz "$work"/wheel/*.whl "$out"
