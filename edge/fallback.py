"""The last configuration and model that worked, kept in the service's state folder for a start that would fail.

Written only when they change. The configuration is kept as it was in use, with options and absolute paths resolved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge.config import SECTIONS, Config, load_config
from edge.detection.zones import Zone
from edge.errors import UserError
from edge.files import service_folder, sha256, write_durably

FOLDER = "last-good"
CONFIG_NAME = "config.json"


class LastGood:
    """A folder with one configuration and its model.

    Example:
        >>> last_good = LastGood(Path("/var/lib/fireseg-edge/last-good"))
        >>> last_good.save(config, Path("model.tflite").read_bytes(), model_sha256)
        >>> config = last_good.load()
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has_model(self, model_sha256: str) -> bool:
        """Return whether this model worked before."""
        return self._model_path(model_sha256).is_file()

    def save(self, config: Config, model: bytes, model_sha256: str) -> None:
        """Keep a configuration and its model. Raises `UserError` or OSError if the folder is not writable."""
        tables: dict[str, Any] = {name: asdict(getattr(config, name)) for name in SECTIONS}
        tables |= {"zones": [asdict(zone) for zone in config.zones], "ignored": config.ignored}
        data = json.dumps({"model_sha256": model_sha256, "tables": tables}, indent=1).encode()
        if not self.has_model(model_sha256):
            write_durably(self._model_path(model_sha256), model)
        path = self._folder / CONFIG_NAME
        if not path.is_file() or path.read_bytes() != data:
            write_durably(path, data)
        for other in self._folder.glob("*.tflite"):  # only now, so that a power cut leaves a complete pair
            if other != self._model_path(model_sha256):
                other.unlink()

    def load(self) -> Config:
        """Return the configuration, with the path of the kept model. Raises `UserError`."""
        path = self._folder / CONFIG_NAME
        try:
            stored = json.loads(path.read_bytes())
            model = self._model_path(stored["model_sha256"])
            if sha256(model) != stored["model_sha256"]:
                raise ValueError(f"{model.name} is damaged")
            tables: Mapping[str, Any] = stored["tables"]
            sections = {name: tables[name] for name in SECTIONS if name in tables}
            if (update := sections.get("update", {})).get("url") and not update["model"]:
                update["model"] = sections["model"]["path"]
            sections["model"]["path"] = str(model)
            zones = tuple(Zone(zone["name"], _corners(zone["polygon"])) for zone in tables["zones"])
            return replace(load_config(None, sections), zones=zones, ignored=tuple(map(_corners, tables["ignored"])))
        except (UserError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(f"{path} could not be used ({error})", "start once with a valid configuration") from error

    def _model_path(self, model_sha256: str) -> Path:
        return self._folder / f"{model_sha256}.tflite"


def last_good_of_service() -> LastGood | None:
    """Return the store in a service's state folder; None for any other process."""
    folder = service_folder()
    return LastGood(folder / FOLDER) if folder else None


def _corners(polygon: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in polygon)
