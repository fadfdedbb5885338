"""A repository of models for `fireseg-edge update`, by The Update Framework (TUF): a folder that any web server serves.

Four roles sign it. The keys of root and targets belong offline; that of snapshot and timestamp may be on the machine
that renews them each week. Without the keys of root and targets nobody can publish a model, even from the web server.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edge import __version__
from edge.config import UPDATE_NAME
from edge.errors import UserError, one_line, reason_of
from edge.files import check_writable, make_folder, read_limited, write_bytes, write_private
from edge.model.card import FLATBUFFER_SHA256, split_model
from edge.model.self_test import SELF_TEST

ROLES = ("root", "targets", "snapshot", "timestamp")
KEY_OF = {"root": "root", "targets": "targets", "snapshot": "online", "timestamp": "online"}
"""The name of the key that signs for each role."""
VALID_DAYS = {"root": 730, "targets": 365, "snapshot": 14, "timestamp": 14}
RENEW_BEFORE_DAYS = 60  # a warning that a key from offline is needed soon
PASSWORD = "FIRESEG_PUBLISH_PASSWORD"
CARD_FACTS = ("format", "input", "threshold", "kind", "encoder", "decoder", "metrics", FLATBUFFER_SHA256)
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}[a-z0-9.+-]{0,20}|unknown")
MAX_METADATA_BYTES, MAX_KEY_BYTES = 5_000_000, 10_000


class ModelRepository:
    """The folder of a repository, and the folder of its private keys.

    Args:
        keys: PEM files, named after their key: `root-1.pem`, `targets-1.pem`, `online-1.pem`.
        now: the wall clock in UTC.

    Example:
        >>> repository = ModelRepository(Path("site"), Path("keys"))
        >>> repository.init()
        >>> repository.add(Path("models/fireseg-base-int8.tflite"), "base", roll_out_percent=10)
    """

    def __init__(self, folder: Path, keys: Path, now: datetime | None = None) -> None:
        self._metadata, self._targets, self._keys = folder / "metadata", folder / "targets", keys
        self._now = now or datetime.now(UTC)

    def init(self, *, root_keys: int = 1, threshold: int = 1) -> Path:
        """Generate the keys and an empty repository; return the root.json that machines must trust.

        Args:
            root_keys: number of keys for the role root; each may be kept by another person.
            threshold: how many of them must sign.
        Raises `UserError` if the repository or keys exist.
        """
        if not 1 <= threshold <= root_keys:
            problem = f"--threshold {threshold} is above --root-keys {root_keys}"
            raise UserError(problem, "pass more root keys or a lower threshold")
        if self._metadata.exists():
            raise UserError(f"{self._metadata} already exists", "choose another --repository, or `publish add` to it")
        if list(self._keys.glob("*.pem")):
            raise UserError(f"{self._keys} already holds keys", "choose another --keys")
        check_writable(self._metadata, self._keys)  # before keys exist, which the next call would refuse
        counts = {"root": root_keys, "targets": 1, "online": 1}
        made = {name: [self._new_key(name)[1] for _ in range(count)] for name, count in counts.items()}
        root = Root(consistent_snapshot=True)
        for role in ROLES:
            for key in made[KEY_OF[role]]:
                root.add_key(key, role)
        root.roles["root"].threshold = threshold
        for signed in (root, Targets(), Snapshot(), Timestamp()):
            self._sign(Metadata(signed), root, version=1)
        return self._metadata / "root.json"

    def add(self, model: Path, name: str, *, roll_out_percent: int = 100, minimum_version: str = __version__) -> str:
        """Publish a model under a name, in place of the one before; return its SHA-256.

        The same model with another roll-out only changes that. Raises `UserError` for a model or name that a run
        would refuse.
        """
        if not UPDATE_NAME.fullmatch(name):
            problem = f"--name {one_line(repr(name))} is not possible"
            raise UserError(problem, "expected small letters, digits and -, such as base")
        if not VERSION.fullmatch(minimum_version):
            problem = f"--minimum-version {one_line(repr(minimum_version))} is not a version"
            raise UserError(problem, "expected a version such as 1.0.0")
        _, card = split_model(model)
        if card is None or SELF_TEST not in card:
            raise UserError(f"{model} has no card with a self-test", "run `fireseg-export self-test` on it")
        root, targets = self._load("root"), self._load("targets")
        self._check_online(root.signed)  # else the next refresh would publish what failed here
        info = TargetFile.from_file(f"{name}.tflite", str(model), ["sha256"])
        facts = {key: card[key] for key in CARD_FACTS if key in card}
        custom = {
            "card": json.dumps(facts),  # as text: signed JSON has no fractions
            "minimum_version": minimum_version,
            "roll_out_percent": roll_out_percent,
        }
        info.unrecognized_fields["custom"] = custom
        targets.signed.targets[info.path] = info
        sha256 = str(info.hashes["sha256"])
        write_bytes(make_folder(self._targets) / f"{sha256}.{info.path}", model.read_bytes())
        self._sign(targets, root.signed)
        self._sign_online(root.signed)
        return sha256

    def refresh(self) -> list[str]:
        """Renew snapshot and timestamp, and root and targets if their keys are here; return what expires soon."""
        for role in ("root", "targets"):
            root, loaded = self._load("root").signed, self._load(role)
            if self._expires_soon(loaded) and self._has_keys(role, root):
                self._sign(loaded, root)
        self._sign_online(self._load("root").signed)
        soon = [loaded for role in ("root", "targets") if self._expires_soon(loaded := self._load(role))]
        return [f"{each.signed.type} expires on {each.signed.expires:%Y-%m-%d}" for each in soon]

    def rotate(self, name: str) -> Path:
        """Replace a key by a new one, such as a stolen one; return the new file. The old file is renamed.

        The old root keys sign the new root, so machines follow by themselves. Of several root keys the first one
        that is here is replaced.
        """
        roles = [role for role in ROLES if KEY_OF[role] == name]
        if not roles:
            raise UserError(f"there is no key {name!r}", f"expected one of {', '.join(dict.fromkeys(KEY_OF.values()))}")
        root = self._load("root")
        before = copy.deepcopy(root.signed)
        old = next((path for path in self._key_files(name) if self._signs(path, roles[0], before)), None)
        old_id = self._read_key(old).public_key.keyid if old else before.roles[roles[0]].keyids[0]
        signers = self._signers("root", before)
        if name == "targets":
            self._check_online(before)
        new_path, new_key = self._new_key(name)
        for role in roles:
            root.signed.revoke_key(old_id, role)
            root.signed.add_key(new_key, role)
        try:
            self._sign(root, before, signers)
        except UserError:
            new_path.unlink()
            raise
        if old:
            old.rename(old.with_suffix(".retired"))
        if "targets" in roles:
            self._sign(self._load("targets"), root.signed)
        if name != "root":  # machines read a new root without them, and its key may be where the online key is not
            self._sign_online(root.signed)
        return new_path

    def _check_online(self, root: Root) -> None:
        """Raise `UserError` without the online key, before something that it must sign as well is written."""
        if not self._has_keys("snapshot", root):
            raise UserError(f"the online key is not in {self._keys}", f"copy online-*.pem into {self._keys}")

    def _sign_online(self, root: Root) -> None:
        """Renew snapshot and timestamp. The timestamp is last: from then on machines see the new files."""
        snapshot, timestamp = self._load("snapshot"), self._load("timestamp")
        snapshot.signed.meta["targets.json"].version = self._load("targets").signed.version
        self._sign(snapshot, root)
        timestamp.signed.snapshot_meta.version = snapshot.signed.version
        self._sign(timestamp, root)

    def _sign(
        self, metadata: Any, root: Root, extra: Sequence[CryptoSigner] = (), *, version: int | None = None
    ) -> None:
        """Renew, sign and write metadata. Raises `UserError` if too few keys are here.

        Args:
            root: names the keys of the role; for a new root, the root before it.
            extra: further signers, such as the keys of the root before.
        """
        role = metadata.signed.type
        metadata.signed.version = version or metadata.signed.version + 1
        metadata.signed.expires = (self._now + timedelta(days=VALID_DAYS[role])).replace(microsecond=0)
        metadata.signatures.clear()
        delegators = {id(each): each for each in (root, metadata.signed if role == "root" else root)}.values()
        for signer in [*extra, *(each for delegator in delegators for each in self._signers(role, delegator))]:
            if signer.public_key.keyid not in metadata.signatures:
                metadata.sign(signer, append=True)
        try:
            for delegator in delegators:
                delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError as error:
            remedy = f"copy enough files {KEY_OF[role]}-*.pem into {self._keys}"
            raise UserError(f"too few keys of {role} are in {self._keys} ({error})", remedy) from error
        data = metadata.to_bytes(JSONSerializer(compact=False))
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        for path in [self._metadata / name, *([self._metadata / "root.json"] if role == "root" else [])]:
            write_bytes(path, data)
            path.chmod(0o644)

    def _load(self, role: str) -> Any:
        """Return the newest metadata of a role. Raises `UserError`."""
        path = self._metadata / "timestamp.json"
        try:
            if role != "timestamp":
                numbers = (int(each.name.split(".")[0]) for each in self._metadata.glob(f"[0-9]*.{role}.json"))
                path = self._metadata / f"{max(numbers)}.{role}.json"
            return Metadata.from_bytes(read_limited(path, MAX_METADATA_BYTES, "check --repository"))
        except (ValueError, DeserializationError) as error:
            problem = f"{self._metadata} is not a repository of models"
            raise UserError(problem, "make one with `fireseg-export publish init`") from error

    def _expires_soon(self, metadata: Any) -> bool:
        return bool(metadata.signed.expires - self._now < timedelta(days=RENEW_BEFORE_DAYS))

    def _key_files(self, name: str) -> list[Path]:
        return sorted(self._keys.glob(f"{name}-*.pem"))

    def _signs(self, path: Path, role: str, root: Root) -> bool:
        return self._read_key(path).public_key.keyid in root.roles[role].keyids

    def _signers(self, role: str, root: Root) -> list[CryptoSigner]:
        return [self._read_key(path) for path in self._key_files(KEY_OF[role]) if self._signs(path, role, root)]

    def _has_keys(self, role: str, root: Root) -> bool:
        return len(self._signers(role, root)) >= root.roles[role].threshold

    def _read_key(self, path: Path) -> CryptoSigner:
        password = os.environ.get(PASSWORD, "").encode() or None
        data = read_limited(path, MAX_KEY_BYTES, "check --keys")
        try:
            return CryptoSigner(load_pem_private_key(data, password if b"ENCRYPTED" in data else None))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} could not be read ({reason_of(error)})", f"check {PASSWORD}") from error

    def _new_key(self, name: str) -> tuple[Path, Key]:
        """Write a new private key for its owner alone, encrypted if a password is set.

        Returns:
            Its path, and the public key.
        """
        private = Ed25519PrivateKey.generate()
        numbers = (path.name.removeprefix(f"{name}-").partition(".")[0] for path in self._keys.glob(f"{name}-*"))
        used = [int(number) for number in numbers if re.fullmatch("[0-9]{1,9}", number)]  # not root-backup.pem
        path = self._keys / f"{name}-{max(used, default=0) + 1}.pem"
        password = os.environ.get(PASSWORD, "").encode()
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        write_private(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return path, CryptoSigner(private).public_key
