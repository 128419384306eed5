"""Pushing: a blessed student becomes one new, whole version at the destination.

Versions are never renumbered, and numbers never reused: a reader that takes the highest number, as
TF Serving does, is led back to an earlier model by publishing it again under a higher number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modules import files
from modules.errors import ConfigError, UserError
from modules.push.candidate import Candidate, describe
from modules.push.destination import KINDS, Destination, Paths
from modules.push.local import LocalDestination
from modules.push.manifest import Manifest, Rollback
from modules.push.remote import RemoteDestination


@dataclass(frozen=True)
class Pushed:
    """The version at the destination, and whether this push had to copy it."""

    version: int
    saved_model_dir: str
    tflite_dir: str
    copied: bool
    manifest: Manifest


@dataclass(frozen=True)
class RolledBack:
    """The new version, the one whose content it has, and the one that was the newest."""

    version: int
    to: int
    from_version: int


def push(
    candidate: Candidate,
    destination: str,
    *,
    keep: int | None = None,
    now: Callable[[], float] = time.time,
    lock_timeout_s: float = 600.0,
) -> Pushed:
    """Pushes the candidate, unless the newest version at the destination is the same and intact.

    Args:
      candidate: the model; nothing is written unless its TFLite files are those measured.
      destination: a local directory, made when missing, or a URL.
      keep: whole versions to keep, 2 or more; None keeps all of them. The version that a
        rollback would go to is always kept.
      now: the clock, in Unix seconds.
      lock_timeout_s: how long to wait for another pusher, in seconds.

    Raises:
      ConfigError: the destination is empty.
      ModelError: the candidate is incomplete or not what was measured.
      UserError: the candidate was rolled back; the destination is a file or not writable, or
        another pusher holds its lock.
    """
    if keep is not None and keep < 2:
        raise ConfigError(
            f"push.keep must be 2 or more, got {keep}; a rollback needs the one before"
        )
    target = open_destination(destination)
    with target.failures_explained():
        manifest, sources = describe(candidate)
        with target.exclusive(lock_timeout_s):
            newest = next(target.whole_versions(), None)
            # Checked before the marks: a killed rollback has left a mark without going back.
            if newest and _is_same(target, newest, manifest):
                manifest, copied = newest, False
            else:
                _check_not_rolled_back(target, manifest)
                manifest, copied = _publish(target, manifest, sources, now()), True
            if keep is not None:
                _remove_old(target, keep)
    version = manifest.version
    saved_model_dir, tflite_dir = (target.directory(kind, version) for kind in KINDS)
    return Pushed(version, saved_model_dir, tflite_dir, copied, manifest)


def rollback(
    destination: str,
    *,
    now: Callable[[], float] = time.time,
    lock_timeout_s: float = 600.0,
) -> RolledBack:
    """Publishes the content before the newest again, as the newest version.

    The content that is rolled back is marked, and `push` refuses it from then on. Another rollback
    goes one version further back.

    Args:
      destination: a local directory or a URL.
      now: the clock, in Unix seconds.
      lock_timeout_s: how long to wait for another pusher, in seconds.

    Raises:
      ConfigError: the destination is empty.
      UserError: there is nothing to go back to, or it is damaged; the destination is not
        writable, or another pusher holds its lock.
    """
    target = open_destination(destination)
    with target.failures_explained():
        if not files.exists(target.base):
            raise UserError(
                f"push --rollback needs a destination with pushed versions, but {destination} "
                "does not exist; give the directory or URL that was pushed to"
            )
        with target.exclusive(lock_timeout_s):
            versions = list(target.whole_versions())
            former = _before_newest(target, versions)
            if former is None:
                raise UserError(
                    f"{destination} has no version to roll back to: "
                    f"{_lies_before(versions)}; push another student"
                )
            problems = target.problems(former)
            if problems:
                raise UserError(
                    f"version {former.version}, the one to roll back to, is damaged: "
                    f"{' '.join(problems)} Remove that version to go further back"
                )
            newest, unix_s = versions[0], now()
            back = Rollback(to=former.origin, from_version=newest.version)
            # The mark comes first, so that nobody pushes this content again meanwhile.
            target.write_mark(
                newest.content_digest,
                {"version": newest.version, "to": former.origin, "created": _iso(unix_s)},
            )
            published = _publish(target, former, target.paths(former), unix_s, back)
    return RolledBack(published.version, back.to, back.from_version)


def last_pushed(destination: str) -> dict[str, Any] | None:
    """What was measured on the newest whole version, for a later student's gate.

    Args:
      destination: a local directory or a URL.

    Returns:
      `version`, `student` (None in manifests of schema 1) and `variants` as report.json had
      them; None where nothing was pushed.

    Raises:
      ConfigError: the destination is empty.
      UserError: the destination cannot be read.
    """
    target = open_destination(destination)
    with target.failures_explained():
        newest = next(target.whole_versions(), None)
    return newest.judged() if newest else None


def open_destination(destination: str) -> Destination:
    """A destination, which need not exist yet.

    Raises:
      ConfigError: the destination is empty.
      UserError: there is no file system for the URL.
    """
    if not destination.strip():
        raise ConfigError(
            "push destination must be a directory or a URL, got an empty text; "
            "give a path such as /srv/models"
        )
    local = files.local_path(destination)
    return RemoteDestination(destination) if local is None else LocalDestination(local)


def check_destination(destination: str | None) -> None:
    """Find out before a run whether versions can be pushed to a destination.

    Args:
      destination: A local directory or a URL; None, the run's own directory, is not tried.

    Raises:
      ConfigError: the destination is empty.
      UserError: it cannot be read, or, if it is local, not be written to.
    """
    if destination is None:
        return
    target = open_destination(destination)
    with target.failures_explained():
        target.check_usable()


def _publish(
    target: Destination,
    manifest: Manifest,
    sources: Paths,
    unix_s: float,
    back: Rollback | None = None,
) -> Manifest:
    published = manifest.published(target.next_version(unix_s), _iso(unix_s), back)
    target.publish(published, sources)
    return published


def _is_same(target: Destination, newest: Manifest, candidate: Manifest) -> bool:
    """Whether the newest version has this content, in its files as well as in its manifest."""
    same = newest.content_digest == candidate.content_digest
    return same and not target.problems(newest)


def _check_not_rolled_back(target: Destination, candidate: Manifest) -> None:
    if mark := target.mark(candidate.content_digest):
        raise UserError(
            f"this student was rolled back from version {mark['version']} to {mark['to']} "
            f"at {mark['created']} and is not pushed again; train another one, or remove "
            f"{target.mark_path(candidate.content_digest)} to allow it"
        )


def _before_newest(target: Destination, versions: list[Manifest]) -> Manifest | None:
    """The version to which a rollback goes: the last one before that was not rolled back."""
    if not versions:
        return None
    newest = versions[0]
    return next(
        (
            former
            for former in versions
            if former.version < newest.origin
            and former.content_digest != newest.content_digest
            and not target.mark(former.content_digest)
        ),
        None,
    )


def _lies_before(versions: list[Manifest]) -> str:
    if not versions:
        return "it has no complete version"
    newest = versions[0]
    if newest.rollback:
        return f"version {newest.version} is a rollback to {newest.origin}, the oldest one left"
    return f"no version before {newest.version} has other content"


def _remove_old(target: Destination, keep: int) -> None:
    """Removes all whole versions but the newest ones and the one a rollback would go to."""
    versions = list(target.whole_versions())
    former = _before_newest(target, versions)
    for manifest in reversed(versions[keep:]):
        if former is None or manifest.version != former.version:
            target.remove(manifest.version)


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
