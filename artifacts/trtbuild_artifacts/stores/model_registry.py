"""MLflow's model registry: a version of a registered model, with a run that has its files.

The run has the repository below ``triton``, and below ``trtbuild`` the validator's report and the
benchmark results; the lock's facts are its parameters.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from trtbuild.errors import BuildError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import say_source
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import LISTING_NAME
from trtbuild_artifacts.reference import DEFAULT_TAG, Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Remote, Sink, refuse

_FILES, _REPORTS = "triton", "trtbuild"
_EXPERIMENT = "trtbuild"
_ALIAS = re.compile(r"(?!(?:v[0-9]+|latest)$)[\w-]+", re.ASCII | re.IGNORECASE)
"""As MLflow's own check of an alias (mlflow/utils/validation.py)."""
_LISTING_TAG = "trtbuild.listing"
_VERSIONS = "name an alias or a version: mlflow:NAME@3"


class ModelRegistry:
    """The registry at ``MLFLOW_TRACKING_URI``."""

    def push(
        self,
        contents: Contents,
        reference: Reference,
        options: PushOptions = PushOptions(),
        progress: Progress = SILENT,
    ) -> Pushed:
        """Log a run with all files, register it as a version, and give that the alias."""
        refuse(options, ["layout"], "MLflow")
        if reference.tag != DEFAULT_TAG:
            _require_alias(reference.tag)  # before everything is uploaded
        metrics = [found for file in options.benchmarks for found in _metrics(file)]
        client, listing = _client(), contents.listing
        with _trouble(reference):
            _register(client, reference.place)
            with _run(client, reference.place) as run:
                run_id = run.info.run_id
                for key, value in _facts(contents).items():
                    client.log_param(run_id, key, value)
                _log_files(client, run_id, contents, progress)
                _log_reports(client, run_id, options)
                for key, rate, step in metrics:
                    client.log_metric(run_id, key, rate, step=step)
                version = client.create_model_version(
                    reference.place,
                    f"{run.info.artifact_uri}/{_FILES}",
                    run_id,
                    tags={_LISTING_TAG: listing.digest, "trtbuild.lock": listing.lock_sha256},
                ).version
        if reference.tag != DEFAULT_TAG:
            self._alias(client, reference, reference.tag, version)
        return Pushed(str(version), str(reference.pinned(str(version))), listing.size, 0)

    def resolve(self, reference: Reference) -> Remote:
        """Look the alias up; versions never change."""
        reference.without_digest(_VERSIONS)
        client = _client()
        return RegisteredVersion(client, reference, _version(client, reference))

    def tag(self, reference: Reference, alias: str) -> str:
        """Set an alias to a version."""
        reference.without_digest(_VERSIONS)
        _require_alias(alias)
        client = _client()
        version = _version(client, reference)
        self._alias(client, reference, alias, version)
        return version

    @staticmethod
    def _alias(client: Any, reference: Reference, alias: str, version: str) -> None:
        with _trouble(reference):
            client.set_registered_model_alias(reference.place, alias, version)


class RegisteredVersion:
    """A version of a registered model."""

    def __init__(self, client: Any, reference: Reference, version: str) -> None:
        self.version = version
        self._reference = reference
        with _trouble(reference):
            self._source = client.get_model_version_download_uri(reference.place, version)

    def listing(self) -> bytes:
        """The bytes of the listing."""
        with TemporaryDirectory() as folder:
            return self._download(LISTING_NAME, Path(folder)).read_bytes()

    def fetch(self, sink: Sink) -> None:
        """Download each missing file."""
        for path in sorted(sink.missing):
            sink.place(path, self._download(path, sink.folder))

    def _download(self, path: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        with _trouble(self._reference):
            uri = f"{self._source}/{path}"
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def _client() -> Any:
    """The client; quiet, and without telemetry."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UsageError("no MLflow server is named", fix="set MLFLOW_TRACKING_URI to its address")
    for name, value in {
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # our own output goes there
    }.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UsageError(
            "mlflow URLs need the MLflow client, which is not installed",
            fix="pip install 'trtbuild[mlflow]'",
        ) from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient()


def _require_alias(name: str) -> None:
    """Raise UsageError for a name that MLflow reserves or refuses."""
    if name.isdecimal():
        raise UsageError(
            f"MLflow numbers versions itself, so {name!r} cannot be chosen",
            fix="give an alias instead, such as candidate",
        )
    if not _ALIAS.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be an alias in MLflow",
            fix="write letters, digits, '-' and '_', such as candidate; latest, and v with a "
            "number, are reserved",
        )


def _register(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _run(client: Any, name: str) -> Iterator[Any]:
    """A new run; at the end it is FINISHED, FAILED after an error, KILLED after Ctrl-C."""
    run = client.create_run(_experiment(client), run_name=name)
    try:
        yield run
    except BaseException as error:
        with suppress(Exception):  # the server may be gone; the first error is the one to show
            client.set_terminated(
                run.info.run_id, "FAILED" if isinstance(error, Exception) else "KILLED"
            )
        raise
    client.set_terminated(run.info.run_id)


def _experiment(client: Any) -> str:
    """The experiment of the run: that of ``MLFLOW_EXPERIMENT_NAME``, else trtbuild's."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _facts(contents: Contents) -> dict[str, str]:
    """What the lock says of each model, as parameters of the run."""
    found: dict[str, str] = {}
    for name, model in contents.lock.models.items():
        found |= {
            f"{name}.source": say_source(model.source),
            f"{name}.commit": model.source.commit,
            f"{name}.builder": model.builder,
            f"{name}.triton": model.triton,
            f"{name}.key": model.key,
        }
    return {key: value for key, value in found.items() if value}


def _log_files(client: Any, run_id: str, contents: Contents, progress: Progress) -> None:
    progress.step("uploading")
    done = 0
    for path, entry in contents.listing.files.items():
        folder = PurePosixPath(_FILES, path).parent
        client.log_artifact(run_id, str(contents.source(path)), str(folder))
        done += entry.size
        progress.advance(done, contents.listing.size)
    client.log_text(run_id, contents.listing.content.decode(), f"{_FILES}/{LISTING_NAME}")


def _log_reports(client: Any, run_id: str, options: PushOptions) -> None:
    client.log_text(run_id, options.report, f"{_REPORTS}/validate.json")
    for file in options.benchmarks:
        client.log_artifact(run_id, str(file), _REPORTS)


def _metrics(file: Path) -> Iterator[tuple[str, float, int]]:
    """Name, value and number of the load, for each rate of a result of ``trtbuild bench``."""
    try:
        targets = json.loads(file.read_bytes())["targets"]
        for target in targets:
            for step, load in enumerate(target["loads"]):
                for key in ("requests_per_s", "output_tokens_per_s"):
                    if load.get(key) is not None:
                        yield f"{target['name']}.{key}", float(load[key]), step
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{str(file)!r} is not a result of trtbuild bench",
            fix="write one: trtbuild bench … --out result.json",
        ) from None


def _version(client: Any, reference: Reference) -> str:
    """The version that an alias or a number means; the newest one for ``latest``."""
    name, tag = reference.place, reference.tag
    with _trouble(reference):
        if tag.isdecimal():
            return str(client.get_model_version(name, tag).version)
        if tag != DEFAULT_TAG:
            return str(client.get_model_version_by_alias(name, tag).version)
        found = client.search_model_versions(
            f"name='{name}'", order_by=["version_number DESC"], max_results=1
        )
    if not found:
        raise _missing(reference)
    return str(found[0].version)


@contextmanager
def _trouble(reference: Reference) -> Iterator[None]:
    """Convert errors of the client."""
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except RestException as error:
        reason = _reason(error)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or "not found" in reason:
            raise _missing(reference) from None
        if error.error_code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            raise BuildError(
                f"the MLflow server refuses access to {reference.place!r}",
                fix="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN",
            ) from None
        raise BuildError(f"the MLflow server refuses: {reason}", where=str(reference)) from None
    except (MlflowException, OSError) as error:
        reason = _reason(error)
        raise BuildError(
            f"the MLflow server cannot be used: {reason}",
            where=str(reference),
            fix="check MLFLOW_TRACKING_URI and the server; run the command again to resume",
        ) from None


def _reason(error: Exception) -> str:
    """The first line of a message, without the password of a URL in it."""
    return re.sub(r"//[^/\s]*@", "//", str(error).partition("\n")[0])


def _missing(reference: Reference) -> UsageError:
    return UsageError(
        f"{reference} does not exist", fix="check name and alias; trtbuild push makes a version"
    )
