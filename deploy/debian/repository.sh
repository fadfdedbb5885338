#!/usr/bin/env bash
# Make dist/apt, a signed apt repository of the packages in dist/, which any web server can serve.
#
# APT_KEY names the key in your GnuPG that signs it; DIST another folder than dist. Packages that the repository has
# already stay in it, so that apt can go back to an earlier version.
set -euo pipefail

fail() {
  echo "error: $1: $2" >&2
  exit 2
}

command -v apt-ftparchive >/dev/null || fail "apt-ftparchive is missing" "run \`sudo apt-get install apt-utils\`"
command -v gpg >/dev/null || fail "gpg is missing" "run \`sudo apt-get install gnupg\`"
[ -n "${APT_KEY:-}" ] || fail "APT_KEY is not set" "expected the key that signs, one of \`gpg --list-secret-keys\`"
gpg --batch --list-secret-keys "$APT_KEY" >/dev/null 2>&1 ||
  fail "GnuPG has no secret key $APT_KEY" "see \`gpg --list-secret-keys\`"
dist=${DIST:-dist}
shopt -s nullglob
debs=("$dist"/fireseg-edge_*.deb)
[ ${#debs[@]} -gt 0 ] || fail "$dist has no package" "run \`make deb\` first"

cd "$dist"
declare -A release=([bookworm]=12 [trixie]=13)
for suite in "${!release[@]}"; do
  pool="apt/pool/$suite"
  mkdir -p "$pool"
  for deb in fireseg-edge_*+deb"${release[$suite]}"_*.deb; do
    cp -u "$deb" "$pool"
  done
  for arch in arm64 amd64; do
    folder="apt/dists/$suite/main/binary-$arch"
    mkdir -p "$folder"
    (cd apt && apt-ftparchive --arch "$arch" packages "pool/$suite") >"$folder/Packages"
    gzip --keep --force --no-name "$folder/Packages"
  done
  folder="apt/dists/$suite"
  rm -f "$folder"/{Release,Release.gpg,InRelease}
  # By hash: apt never reads an index of one state of the repository and its signature of another.
  apt-ftparchive -o APT::FTPArchive::DoByHash=true \
    -o APT::FTPArchive::Release::Origin=fireseg-edge -o APT::FTPArchive::Release::Label=fireseg-edge \
    -o APT::FTPArchive::Release::Suite="$suite" -o APT::FTPArchive::Release::Codename="$suite" \
    -o APT::FTPArchive::Release::Components=main -o APT::FTPArchive::Release::Architectures="arm64 amd64" \
    release "$folder" >"$folder/Release.new"
  mv "$folder/Release.new" "$folder/Release"
  gpg --batch --yes --local-user "$APT_KEY" --clearsign --output "$folder/InRelease" "$folder/Release"
  gpg --batch --yes --local-user "$APT_KEY" --armor --detach-sign --output "$folder/Release.gpg" "$folder/Release"
done
gpg --batch --armor --export "$APT_KEY" >apt/fireseg-edge.asc
echo "$dist/apt: ${#debs[@]} packages; the public key is apt/fireseg-edge.asc"
