"""Config and record of each trial as artifacts of Optuna's dashboard."""

from __future__ import annotations

import io
import json
import re
from typing import Any, BinaryIO, NoReturn

import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from energyopt.storage.identity import IDENTITY
from energyopt.storage.tables import TRIALS, has_rows

_FILES = ("config.json", "result.json")
_ARTIFACT_ID = re.compile(r"(\d{1,9})-([01])")


def artifacts_of(trial: FrozenTrial) -> dict[str, str]:
    """Return the trial attributes in which the dashboard looks up artifacts."""
    attributes = {}
    for index, name in enumerate(_FILES):
        artifact_id = f"{trial._trial_id}-{index}"  # noqa: SLF001  # no other way
        artifact = {"artifact_id": artifact_id, "filename": name, "mimetype": "application/json"}
        attributes[f"artifacts:{artifact_id}"] = json.dumps({**artifact, "encoding": None})
    return attributes


class Artifacts:
    """Read-only artifact store: reads config and record of a trial from the database on request."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact.

        Raises:
            ArtifactNotFound: If the database has no such trial.
        """
        match = _ARTIFACT_ID.fullmatch(artifact_id)
        if match is None:
            raise ArtifactNotFound
        with self._storage.engine.connect() as connection:
            if not has_rows(connection):
                raise ArtifactNotFound
            query = sa.text("SELECT study_id, number FROM trials WHERE trial_id = :id")
            ids = connection.execute(query, {"id": int(match[1])}).one_or_none()
            if ids is None:
                raise ArtifactNotFound
            is_trial = (TRIALS.c.study_id == ids.study_id) & (TRIALS.c.number == ids.number)
            columns = sa.select(TRIALS.c.overrides, TRIALS.c.result)
            row = connection.execute(columns.where(is_trial)).one_or_none()
        if row is None:
            raise ArtifactNotFound
        result = json.loads(row.result or "null")
        data = result if match[2] == "1" else self._config(ids.study_id, json.loads(row.overrides))
        return io.BytesIO(json.dumps(data, indent=1).encode())

    def _config(self, study_id: int, overrides: list[str]) -> dict[str, Any]:
        identity = self._storage.get_study_user_attrs(study_id).get(IDENTITY, {})
        return {
            "overrides": [*identity.get("overrides", ()), *overrides],
            "config_of_study": identity.get("config"),
        }

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        """Refuse to write."""
        raise PermissionError(artifact_id, content_body)

    def remove(self, artifact_id: str) -> NoReturn:
        """Refuse to remove."""
        raise PermissionError(artifact_id)
