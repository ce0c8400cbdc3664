"""The config and the record of each trial as files of Optuna's dashboard."""

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
_NAMED = re.compile(r"(\d{1,9})-([01])")


def artifacts_of(trial: FrozenTrial) -> dict[str, str]:
    """Attributes of a trial that tell the dashboard which files there are."""
    found = {}
    for number, name in enumerate(_FILES):
        artifact = f"{trial._trial_id}-{number}"  # noqa: SLF001  # no other way
        about = {"artifact_id": artifact, "filename": name, "mimetype": "application/json"}
        found[f"artifacts:{artifact}"] = json.dumps({**about, "encoding": None})
    return found


class Artifacts:
    """The config and the record of each trial as files, read from the database when asked for.

    Args:
        storage: The database.
    """

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read one.

        Raises:
            ArtifactNotFound: If there is none.
        """
        named = _NAMED.fullmatch(artifact_id)
        if named is None:
            raise ArtifactNotFound
        with self._storage.engine.connect() as connection:
            if not has_rows(connection):
                raise ArtifactNotFound
            found = sa.text("SELECT study_id, number FROM trials WHERE trial_id = :id")
            ids = connection.execute(found, {"id": int(named[1])}).one_or_none()
            if ids is None:
                raise ArtifactNotFound
            query = sa.select(TRIALS.c.overrides, TRIALS.c.result)
            of = (TRIALS.c.study_id == ids.study_id) & (TRIALS.c.number == ids.number)
            row = connection.execute(query.where(of)).one_or_none()
        if row is None:
            raise ArtifactNotFound
        result = json.loads(row.result or "null")
        data = result if named[2] == "1" else self._config(ids.study_id, json.loads(row.overrides))
        return io.BytesIO(json.dumps(data, indent=1).encode())

    def _config(self, study_id: int, overrides: list[str]) -> dict[str, Any]:
        question = self._storage.get_study_user_attrs(study_id).get(IDENTITY, {})
        return {
            "overrides": [*question.get("overrides", ()), *overrides],
            "config_of_study": question.get("config"),
        }

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        """Nothing is written.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(artifact_id, content_body)

    def remove(self, artifact_id: str) -> NoReturn:
        """Nothing is removed.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(artifact_id)
