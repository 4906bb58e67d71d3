"""A sweep as a whole: what has to be done, where, and the table that comes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from classifier.config import parse_policy
from classifier.errors import UsageError
from classifier.policy import Network
from classifier.replay.run import network
from classifier.replay.script import parse_event
from classifier.sweep import table
from classifier.sweep.cluster import run_on_dask
from classifier.sweep.local import cores, run_here
from classifier.sweep.policies import Variant, variants
from classifier.sweep.tasks import CaptureSet, Options, Outcome, Row, Task, tasks

FilePath = str | os.PathLike[str]
Captures = Mapping[str, FilePath | Iterable[FilePath]] | FilePath | Iterable[FilePath]
_WRITE_SECONDS = 1.0


class Sweep:
    """Tasks, of which some may be finished by an earlier run that wrote the same table."""

    def __init__(self, wanted: Sequence[Task], out: FilePath | None = None) -> None:
        self.tasks = tuple(wanted)
        self._out = None if out is None else Path(out)
        self._outcomes: dict[str, Outcome] = {}
        if self._out is not None:
            table.check_name(self._out)
            self._outcomes = table.finished(self._out, self.tasks)

    @property
    def left(self) -> list[Task]:
        """What is still to be done."""
        return list(
            {task.id: task for task in self.tasks if task.id not in self._outcomes}.values()
        )

    def run(
        self, jobs: int | None = None, dask: str | None = None
    ) -> Generator[tuple[Task, Outcome], None, None]:
        """Do what is left, in so many processes (default: one for each core) or on the cluster of
        the Dask scheduler at `dask`. Each task comes out when it is done, or has failed. The table
        is written every second, and at the end, however that comes."""
        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs {jobs}: must be 1 or more")
        left = self.left
        if not left:
            self._write()
            return
        done = run_here(left, jobs or cores()) if dask is None else run_on_dask(left, dask)
        written = time.monotonic()
        try:
            with closing(done):
                for task, outcome in done:
                    self._outcomes[task.id] = outcome
                    if time.monotonic() - written > _WRITE_SECONDS:
                        self._write()
                        written = time.monotonic()
                    yield task, outcome
        finally:
            self._write()

    def rows(self) -> list[Row]:
        """The table so far: a row for each task that is done or has failed."""
        return table.rows(self._outcomes, self.tasks)

    def _write(self) -> None:
        if self._out is not None:
            table.write(self._out, self.rows())


def sweep(
    policies: FilePath | Iterable[FilePath],
    captures: Captures,
    *,
    values: Mapping[str, Sequence[object]] | None = None,
    out: FilePath | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    seed: int = 0,
    lan: Iterable[str | Network] = (),
    in_interface: str | None = None,
    at: Iterable[str] = (),
    progress: Callable[[str, str | None], None] | None = None,
) -> list[Row]:
    """Run every policy over every set of captures, side by side; returns the table's rows.

    `policies` are files, each a policy or one that names policies and values. `values` maps keys of
    them (`balancers.all.method`, `rules[2].use`) to values that are tried in turn, in all
    combinations. `captures` maps names of sets to what each holds; of paths alone, each is a set.
    `out` (.csv or .parquet) is where the table goes; tasks that it has already are not done again,
    as long as their policy, captures (sizes and times of modification), options and this program's
    version are the same. `jobs` processes do the work (default: one for each core), or the workers
    of the Dask scheduler at `dask`. `seed`, `lan`, `in_interface` and `at` are as for
    `replay`.
    `progress` hears the name of each task that is done, and its error or None.

    A row has `policy`, the values, `captures`, the keys of `replay --json` (`uplinks.NAME.flows`,
    `rules.NAME`, ...), `error` and `id`. A task that fails has only an error. Where methods of
    one's own failed, `method_failures` says how many flows the weights decided instead, and
    `method_error` which method and why; such a task is done again the next time.

    Raises `ConfigError` and `UsageError` before anything is done.
    """
    found = plan(
        policies, captures, values=values, seed=seed, lan=lan, in_interface=in_interface, at=at
    )
    made = Sweep(found, out)
    with closing(made.run(jobs, dask)) as done:
        for task, outcome in done:
            if progress is not None:
                progress(task.name, outcome.error)
    return made.rows()


def plan(
    policies: FilePath | Iterable[FilePath],
    captures: Captures,
    *,
    values: Mapping[str, Sequence[object]] | None = None,
    seed: int = 0,
    lan: Iterable[str | Network] = (),
    in_interface: str | None = None,
    at: Iterable[str] = (),
) -> list[Task]:
    """The tasks of a sweep; see there."""
    files = [policies] if isinstance(policies, str | os.PathLike) else policies
    found = variants([os.fspath(file) for file in files], values)
    options = Options(seed, tuple(str(value) for value in lan), in_interface, tuple(at))
    _check(options, found)
    return tasks(found, list(_capture_sets(captures)), options)


def _check(options: Options, policies: Iterable[Variant]) -> None:
    """UsageError: what every task of a policy would refuse."""
    for value in options.lan:
        network(value)
    for policy in policies if options.at else ():
        parsed = parse_policy(policy.text)
        for text in options.at:
            try:
                parse_event(text, parsed)
            except UsageError as error:
                raise UsageError(f"{policy.name}: {error}") from None


def _capture_sets(captures: Captures) -> Iterator[CaptureSet]:
    if isinstance(captures, Mapping):
        for name, paths in captures.items():
            yield _capture_set(name, [paths] if isinstance(paths, str | os.PathLike) else paths)
    else:
        for path in [captures] if isinstance(captures, str | os.PathLike) else captures:
            yield _capture_set(os.fspath(path), [path])


def _capture_set(name: str, paths: Iterable[FilePath]) -> CaptureSet:
    names = [os.fspath(path) for path in paths]
    if "-" in names:
        raise UsageError('captures "-": standard input can be read only once; name files')
    return CaptureSet(name, tuple(os.fspath(Path(path).absolute()) for path in names))
