#!/usr/bin/env bash
# Keep the files of a fleet: a certificate authority, the broker's users and access rules, Prometheus' list of cameras.
#
#   fleet.sh init BROKER          once; again to renew the broker's certificate. BROKER is its host name or IP address.
#   fleet.sh add NAME ADDRESS     a camera: its [mqtt] name, and HOST:PORT of its page
#   fleet.sh remove NAME          a camera, whose password is valid no longer
#
# FLEET_DIR is the folder, /etc/fireseg-fleet by default. docs/fleet.md says what each file is for.
set -euo pipefail
umask 077

FLEET_DIR=${FLEET_DIR:-/etc/fireseg-fleet}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NEW_KEY=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

fail() {
  echo "error: $1" >&2
  exit 2
}

# Let the user of a service read a file, if the service is installed.
grant() {
  if getent group "$1" >/dev/null; then
    chgrp "$1" "$2"
    chmod 640 "$2"
  fi
}

# Append a user with a new password to the broker's password file, and write the password to a file.
add_user() {
  local name=$1 password_file=$2 hashed
  openssl rand -hex 24 >"$password_file"
  hashed=$(mktemp "$FLEET_DIR/user.XXXXXX")
  printf '%s:%s\n' "$name" "$(cat "$password_file")" >"$hashed"
  mosquitto_passwd -U "$hashed" # not -b, which shows the password in ps
  cat "$hashed" >>"$FLEET_DIR/passwords"
  rm "$hashed"
}

# Create the authority unless it exists, and a certificate of the broker that is valid for two years.
certify() {
  local host=$1 kind=DNS
  cd "$FLEET_DIR"
  if [ ! -e ca.key ]; then
    openssl req -x509 "${NEW_KEY[@]}" -keyout ca.key -out ca.crt -days 7300 -subj "/CN=FireSeg fleet" \
      -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  fi
  if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then kind=IP; fi
  openssl req "${NEW_KEY[@]}" -keyout broker.key -out broker.csr -subj "/CN=${host:0:64}" 2>/dev/null
  openssl x509 -req -in broker.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out broker.crt -days 730 2>/dev/null \
    -extfile <(printf '%s\n' "subjectAltName=$kind:$host" basicConstraints=CA:FALSE keyUsage=critical,digitalSignature \
      extendedKeyUsage=serverAuth subjectKeyIdentifier=hash authorityKeyIdentifier=keyid)
  rm broker.csr
  chmod 644 ca.crt broker.crt
  grant mosquitto broker.key
  echo "$host" >broker-host
}

init() {
  [[ $1 =~ ^[A-Za-z0-9.:][A-Za-z0-9.:-]*$ ]] || fail "\"$1\" is not a host: expected a host name or an IP address"
  mkdir -p "$FLEET_DIR/cameras" "$FLEET_DIR/handover"
  chmod 755 "$FLEET_DIR" "$FLEET_DIR/cameras"
  certify "$1"
  if [ ! -e "$FLEET_DIR/passwords" ]; then
    cp "$HERE/acl" "$FLEET_DIR/acl"
    openssl rand -hex 24 >"$FLEET_DIR/page-password"
    add_user homeassistant "$FLEET_DIR/handover/homeassistant-password"
    add_user dashboard "$FLEET_DIR/handover/dashboard-password"
    grant mosquitto "$FLEET_DIR/acl"
    grant mosquitto "$FLEET_DIR/passwords"
    grant prometheus "$FLEET_DIR/page-password"
  fi
  echo "certificate and users of the broker $1 are in $FLEET_DIR; start or restart mosquitto"
}

check_name() {
  [[ $1 =~ ^[a-z0-9_]([a-z0-9_-]{0,38}[a-z0-9_])?$ ]] ||
    fail "\"$1\" is not a name: expected a-z, 0-9, - and _, such as kitchen"
  case $1 in homeassistant | dashboard | homeassistant-password | dashboard-password) fail "$1 is kept for the broker's own users: expected another name" ;; esac
  [ -e "$FLEET_DIR/passwords" ] || fail "$FLEET_DIR has no fleet: run fleet.sh init BROKER, or set FLEET_DIR"
}

add() {
  local name=$1 address=$2 handover=$FLEET_DIR/handover/$1
  check_name "$name"
  [[ $address =~ ^[]A-Za-z0-9._:[-]+:[0-9]{1,5}$ ]] || fail "\"$address\" is not HOST:PORT: expected kitchen.lan:8080, say"
  ((10#${address##*:} > 0 && 10#${address##*:} < 65536)) || fail "\"$address\" has no port between 1 and 65535"
  ! grep -q "^$name:" "$FLEET_DIR/passwords" || fail "$name exists: remove it first, for a new password"
  mkdir -p "$handover"
  cp "$FLEET_DIR/ca.crt" "$FLEET_DIR/page-password" "$handover"
  cat >"$handover/fleet.toml" <<TOML
[mqtt]
host = "$(cat "$FLEET_DIR/broker-host")"
tls = true
ca_file = "/etc/fireseg-edge/fleet/ca.crt"
user = "$name"
password_file = "/etc/fireseg-edge/fleet/mqtt-password"
name = "$name"

[web]
listen = "0.0.0.0:${address##*:}"
password_file = "/etc/fireseg-edge/fleet/page-password"
TOML
  # Home Assistant's discovery topics join a camera's name to a prefix, which a pattern of mosquitto cannot.
  cat >>"$FLEET_DIR/acl" <<ACL
user $name
topic readwrite homeassistant/+/fireseg_$name/+/config
topic read homeassistant/status

ACL
  add_user "$name" "$handover/mqtt-password"
  (
    umask 022
    echo "[{\"targets\": [\"$address\"], \"labels\": {\"camera\": \"$name\"}}]" >"$FLEET_DIR/cameras/.new"
  )
  mv "$FLEET_DIR/cameras/.new" "$FLEET_DIR/cameras/$name.json"
  echo "$name is added: copy $handover to the camera, and reload mosquitto"
}

remove() {
  local name=$1
  check_name "$name"
  grep -q "^$name:" "$FLEET_DIR/passwords" || fail "$name is not a camera of $FLEET_DIR: see $FLEET_DIR/cameras"
  sed -i "/^$name:/d" "$FLEET_DIR/passwords"
  sed -i "/^user $name\$/,/^\$/d" "$FLEET_DIR/acl"
  grant mosquitto "$FLEET_DIR/passwords"
  grant mosquitto "$FLEET_DIR/acl"
  rm -rf "$FLEET_DIR/cameras/$name.json" "$FLEET_DIR/handover/$name"
  echo "$name is removed: reload mosquitto, which then refuses its password"
}

for program in openssl mosquitto_passwd; do
  command -v "$program" >/dev/null || fail "$program is missing: run apt-get install openssl mosquitto"
done
case "${1:-} $#" in
  "init 2") init "$2" ;;
  "add 3") add "$2" "$3" ;;
  "remove 2") remove "$2" ;;
  *) fail "expected init BROKER, add NAME HOST:PORT or remove NAME" ;;
esac
