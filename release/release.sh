#!/usr/bin/env bash
# Make a release in dist/: wheel, source archive, bill of materials, Debian packages, checksums.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$PWD/build/release/bin
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

rm -rf dist
PYTHON=$tools/python release/build.sh dist
wheel=$(basename dist/*.whl)
version=$(cut -d- -f2 <<<"$wheel")
"$tools/twine" check --strict dist/*
PYTHONWARNINGS=ignore "$tools/cyclonedx-py" requirements --pyproject pyproject.toml --output-reproducible \
  --output-file "dist/fireseg-edge-$version.cdx.json" requirements/edge.lock

missing=()
for suite in bookworm trixie; do
  for arch in arm64 amd64; do
    make --no-print-directory deb "ARCH=$arch" "SUITE=$suite" ||
      missing+=("the Debian package for $arch and $suite: make deb failed, see above")
  done
done
sums=$(cd dist && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum)
echo "$sums" >dist/SHA256SUMS

echo
echo "dist/ holds version $version of $(git describe --always --dirty):"
sed 's/^/  /' dist/SHA256SUMS
for text in "${missing[@]}"; do echo "MISSING: $text"; done
if [ -n "$(git status --porcelain)" ]; then
  echo "NOT FOR RELEASE: the working tree differs from the commit; commit, and run make release again"
fi
cat <<END

What a person must still do (CONTRIBUTING.md, "Release"):
  1. Try the wheel and the Debian package on a Raspberry Pi with its camera: doctor, an hour of run, a fire drill.
  2. Write the date into CHANGELOG.md, commit, run make release again, and tag: git tag -s v$version
  3. Sign the checksums: gpg --detach-sign --armor dist/SHA256SUMS
  4. Upload the Python packages: build/release/bin/twine upload dist/*.whl dist/*.tar.gz
  5. Publish the other files of dist/ with the signature, and push the tag.
END
