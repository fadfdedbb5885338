#!/usr/bin/env bash
# Collect what an image is built from.
#
#   collect.sh image            build/image: Containerfile, wheel and locked dependencies
#   collect.sh homeassistant    build/homeassistant: the same as a Home Assistant app repository
#
# WHEEL is the wheel to install; without it one is built from the working tree, by PYTHON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
  echo "error: $1" >&2
  exit 2
}

# Copy lock and wheel into a folder.
collect() {
  local source
  cp requirements/edge.lock "$1"
  if [ -n "${WHEEL:-}" ]; then
    cp "$WHEEL" "$1"
  else
    source=$(mktemp -d)
    trap 'rm -rf "$source"' RETURN
    cp -R edge train export models pyproject.toml README.md LICENSE "$source"
    rm -f "$source"/models/*.keras
    "${PYTHON:-python3}" -m pip --disable-pip-version-check wheel -q --no-deps -w "$1" "$source"
  fi
}

case "${1:-}" in
  image)
    rm -rf build/image
    mkdir -p build/image
    collect build/image
    cp deploy/container/Containerfile build/image
    ;;
  homeassistant)
    rm -rf build/homeassistant
    mkdir -p build
    cp -R deploy/homeassistant build/homeassistant
    app=build/homeassistant/fireseg_edge
    rm -rf "$app/__pycache__"
    collect "$app"
    cat deploy/container/Containerfile "$app/Dockerfile.in" >"$app/Dockerfile"
    cp CHANGELOG.md "$app"
    version=$(basename "$app"/*.whl | cut -d - -f 2)
    sed -i "s/^version: .*/version: \"$version\"/" "$app/config.yaml"
    rm "$app/Dockerfile.in"
    ;;
  *) fail "\"${1:-}\" is not a target: expected image or homeassistant" ;;
esac
