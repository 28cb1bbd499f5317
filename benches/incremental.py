#!/usr/bin/env python3
"""An export with nothing to do, beside a bare walk of the same tree and beside other programs with the same job.

Makes a tree, exports it once with --state, waits, exports it once more, and then times whole processes in rounds:
everything that is compared runs once a round, and every round starts with another one. A ratio is the median of the
ratios of the rounds, with the least and the greatest beside it; all other figures are medians. Needs Linux and, to
build what it measures, cargo; nothing beyond Python's standard library. README.md says how to read the table.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PEERS = ("rsync", "rclone", "restic", "tar")
# Kernels stamp files with a clock of 1 to 10 ms, some file systems with one of 2 s.
RACY_SECONDS = 4
MIB = 1 << 20


class Failed(Exception):
    """The measurement would not mean what it says."""


# ---- Running a program.


@dataclass(frozen=True)
class Sample:
    cpu: float  # seconds, user and system
    wall: float
    peak: int  # bytes


@dataclass(frozen=True)
class Run:
    sample: Sample
    stdout: str
    stderr: str


def run(command: list[str], scratch: Path, env: dict[str, str] | None = None) -> Run:
    """Runs a program to its end. Its output goes to files: a pipe would have this program run beside it."""
    out, err = scratch / "stdout", scratch / "stderr"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(err), flags, 0o600),
    ]
    start = time.monotonic()
    child = os.posix_spawnp(command[0], command, {**os.environ, **(env or {})}, file_actions=actions)
    try:
        _, status, usage = os.wait4(child, 0)
    except BaseException:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    wall = time.monotonic() - start
    stdout, stderr = out.read_text(errors="replace"), err.read_text(errors="replace")
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        said = (stdout + stderr).strip()[-1000:]
        raise Failed(f"{shlex.join(command)}: exit status {code}\n{said}")
    return Run(Sample(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024), stdout, stderr)


def launcher_peak(scratch: Path) -> int:
    """What a program that needs no memory is said to have needed: the peak of whoever launched it is inherited."""
    return run(["true"], scratch).sample.peak


def peak_of_its_own(command: list[str], scratch: Path, env: dict[str, str] | None = None) -> int:
    """The peak of a program that stays below its launcher's, as last seen while it ran; in bytes."""
    whole_env = {**os.environ, **(env or {})}
    with (scratch / "stdout").open("wb") as sink:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=whole_env)
    peak = 0
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            break
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):  # a process that has ended has none
            peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.002)
    child.wait()
    return peak


def bytes_under(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(bytes_under(Path(entry.path)) for entry in os.scandir(path) if not entry.is_symlink())


# ---- What is compared.


@dataclass
class Contender:
    """A program with nothing to do."""

    name: str
    command: list[str]
    # Fails if there was something to do after all.
    check: Callable[[Run], None]
    # Who the ratios are to.
    reference: str
    env: dict[str, str] = field(default_factory=dict)
    # Runs before every run, and is not timed.
    before: Callable[[], None] = lambda: None
    # What it keeps from run to run so that there is nothing to do.
    state: Path | None = None


def build(options: argparse.Namespace) -> tuple[str, str]:
    """The example program and the walk."""
    root = Path(__file__).resolve().parent.parent

    def built(*arguments: str) -> str:
        command = ["cargo", *arguments, "--locked", "--message-format", "json-render-diagnostics"]
        answer = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
        executables = [json.loads(line).get("executable") for line in answer.splitlines()]
        return [path for path in executables if path][-1]

    exporter = options.exporter or built("build", "--profile", "fast", "--example", "posix-s3")
    walker = options.walker or built("bench", "--no-run", "--bench", "walk")
    return exporter, walker


class Place:
    """Where everything of one run of this script lies."""

    def __init__(self, options: argparse.Namespace) -> None:
        given = [path for path in (options.dir, options.bucket_dir) if path is not None]
        for path in given:
            if not options.keep and path.exists() and any(path.iterdir()):
                raise Failed(f"{path}: holds something; give another directory, or --keep to go on with what is there")
            path.mkdir(parents=True, exist_ok=True)
        self.root = (options.dir or Path(tempfile.mkdtemp(prefix="incremental-"))).resolve()
        self.buckets = (options.bucket_dir or self.root / "buckets").resolve()
        self.buckets.mkdir(exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.root))
        self.keep = options.keep

    def clean(self) -> None:
        doomed = [self.scratch] if self.keep else [self.root, self.buckets]
        # A million files are gone sooner this way than from Python.
        subprocess.run(["rm", "-rf", "--", *map(str, doomed)], check=True)


@dataclass
class Tree:
    """A tree and everything that is kept of it."""

    root: Path
    bucket: Path
    state: Path
    entries: int
    checksum: str

    @classmethod
    def make(cls, walker: str, place: Place, directories: int, files: int) -> "Tree":
        name = f"{directories}x{files}"
        root = place.root / f"tree-{name}"
        note = place.root / f"tree-{name}.json"  # is there when the tree is complete
        if not note.exists():
            say(f"making {name}")
            made = run([walker, "make", str(root), str(directories), str(files)], place.scratch)
            note.write_text(made.stdout)
        seen = json.loads(run([walker, "bare", str(root), "1"], place.scratch).stdout)
        if seen["entries"] != json.loads(note.read_text())["entries"]:
            raise Failed(f"{root}: made with other entries than it has now: {seen['entries']}")
        bucket = place.buckets / f"bucket-{name}"
        return cls(root, bucket, place.root / f"state-{name}", seen["entries"], seen["checksum"])


@dataclass(frozen=True)
class Exporter:
    """The example program, and how it is called."""

    path: str
    flags: str
    plan_flags: str | None
    with_state: bool
    first_threads: int

    def export(self, tree: Tree, threads: int) -> list[str]:
        return [self.path, "export", *self.ends(tree), "--json", *shlex.split(self.flags.format(threads=threads))]

    def plan(self, tree: Tree) -> list[str]:
        return [self.path, "plan", *self.ends(tree), *shlex.split(self.plan_flags or "")]

    def ends(self, tree: Tree) -> list[str]:
        state = ["--state", str(tree.state)] if self.with_state else []
        return [str(tree.root), f"dir:{tree.bucket}", *state]

    def report(self, run: Run, tree: Tree) -> dict:
        report = json.loads(run.stdout)
        if report["entries"] != tree.entries or report["skipped"] or report["failed"] or report["conflicts"]:
            raise Failed(f"the bare walk saw {tree.entries} entries, the export this:\n{run.stdout}")
        return report

    def check(self, run: Run, tree: Tree) -> None:
        report = self.report(run, tree)
        calls = {call: report["store_calls"][call] for call in ("put", "copy", "delete")}
        if self.with_state and (any(calls.values()) or report["unchanged"] != tree.entries):
            raise Failed(f"the export found something to do: {calls}\n{run.stdout}")

    def first_export(self, tree: Tree, place: Place) -> str:
        """Makes sure that tree, bucket and state agree, and says what that took."""
        first = run(self.export(tree, self.first_threads), place.scratch)
        put = self.report(first, tree)["store_calls"]["put"]
        time.sleep(RACY_SECONDS)
        settled = run(self.export(tree, self.first_threads), place.scratch)
        again = self.report(settled, tree)["store_calls"]
        line = (
            f"first export of {tree.entries:,} entries to {file_system(tree.bucket)}, "
            f"`{self.flags.format(threads=self.first_threads)}`: {first.sample.wall:.1f} s, "
            f"{first.sample.cpu:.1f} s of CPU, {put:,} put, peak {first.sample.peak / MIB:.1f} MiB; "
            f"the next one, {RACY_SECONDS} s later: {settled.sample.wall:.2f} s, {again}"
        )
        say(line)
        return line


def bare(walker: str, tree: Tree, threads: int) -> Contender:
    def check(run: Run) -> None:
        if json.loads(run.stdout) != {"entries": tree.entries, "checksum": tree.checksum}:
            raise Failed(f"{tree.root} is no longer what it was: {run.stdout}")

    name = bare_name(threads)
    return Contender(name, [walker, "bare", str(tree.root), str(threads)], check, name)


def bare_name(threads: int) -> str:
    return f"bare walk, {threads} thread{'s' if threads > 1 else ''}"


# ---- Peers. Each is prepared once, untimed, so that it has nothing left to do.


def copy_of(tree: Tree) -> Path:
    copy = tree.root.with_name(tree.root.name.replace("tree", "copy"))
    note = copy.with_suffix(".json")
    if not note.exists():
        subprocess.run(["rm", "-rf", "--", str(copy)], check=True)
        subprocess.run(["cp", "-a", "--", str(tree.root), str(copy)], check=True)
        note.write_text("{}\n")
    return copy


def rsync(tree: Tree, place: Place) -> Contender:
    def check(run: Run) -> None:
        # `-n` alone says nothing of what it would do; `-i` has a line for each, and changes no work otherwise.
        if run.stdout.strip():
            raise Failed(f"rsync found something to do:\n{run.stdout[:1000]}")

    copy = copy_of(tree)
    return Contender("rsync -ani", ["rsync", "-ani", f"{tree.root}/", f"{copy}/"], check, bare_name(1))


def rclone(tree: Tree, place: Place) -> Contender:
    def check(run: Run) -> None:
        if "as --dry-run is set" in run.stderr:
            raise Failed(f"rclone found something to do:\n{run.stderr[:1000]}")

    config = place.root / "rclone.conf"
    config.touch()
    command = ["rclone", "sync", "--dry-run", "-l", "--config", str(config), str(tree.root), str(copy_of(tree))]
    return Contender("rclone sync --dry-run -l", command, check, bare_name(1))


def restic(tree: Tree, place: Place) -> Contender:
    def check(run: Run) -> None:
        files = re.search(r"Files: +(\d+) new, +(\d+) changed, +(\d+) unmodified", run.stdout)
        if files is None or files[1] != "0" or files[2] != "0":
            raise Failed(f"restic found something to do:\n{run.stdout}")

    name = tree.root.name.replace("tree", "restic")
    repository, cache = place.root / name, place.root / f"{name}-cache"
    env = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(cache), "RESTIC_REPOSITORY": str(repository)}
    if not repository.exists():
        run(["restic", "init"], place.scratch, env)
    run(["restic", "backup", str(tree.root)], place.scratch, env)
    return Contender("restic backup", ["restic", "backup", str(tree.root)], check, bare_name(1), env, state=cache)


def tar(tree: Tree, place: Place) -> Contender:
    name = tree.root.name.replace("tree", "tar")
    kept, used = place.root / f"{name}.snar", place.root / f"{name}-used.snar"

    def command(snapshot: Path) -> list[str]:
        return ["tar", "--listed-incremental", str(snapshot), "-cf", os.devnull, "-C", str(tree.root), "."]

    def before() -> None:
        shutil.copyfile(kept, used)

    # Tells what it would write only when asked, and then also every directory; so this is checked once, untimed.
    kept.unlink(missing_ok=True)
    run(command(kept), place.scratch)
    before()
    written = run([*command(used), "-v"], place.scratch)
    names = (written.stdout + written.stderr).splitlines()
    if files := [name for name in names if not name.endswith("/")]:
        raise Failed(f"tar found something to do: {files[:10]}")
    return Contender("GNU tar --listed-incremental", command(used), lambda run: None, bare_name(1), {}, before, kept)


def peers(options: argparse.Namespace, tree: Tree, place: Place) -> tuple[list[Contender], list[str]]:
    """Those that are installed, and a line on each."""
    makers = {"rsync": rsync, "rclone": rclone, "restic": restic, "tar": tar}
    versions = {"rsync": "--version", "rclone": "version", "restic": "version", "tar": "--version"}
    contenders, lines = [], []
    for name in options.peers:
        if shutil.which(name) is None:
            lines.append(f"{name} is missing")
            say(lines[-1])
            continue
        say(f"preparing {name}")
        contenders.append(makers[name](tree, place))
        lines.append(run([name, versions[name]], place.scratch).stdout.splitlines()[0].strip())
    return contenders, lines


# ---- Rounds.


Samples = dict[str, list[Sample]]


def race(contenders: list[Contender], rounds: int, scratch: Path, repeat: Callable[[Contender], int]) -> Samples:
    """Samples by name, one a round; a first round warms up and does not count."""
    samples: Samples = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        at = number % len(contenders)
        for contender in contenders[at:] + contenders[:at]:
            runs = []
            for _ in range(repeat(contender)):
                contender.before()
                one = run(contender.command, scratch, contender.env)
                contender.check(one)
                runs.append(one.sample)
            if number > 0:
                mean = Sample(
                    statistics.fmean(one.cpu for one in runs),
                    statistics.fmean(one.wall for one in runs),
                    max(one.peak for one in runs),
                )
                samples[contender.name].append(mean)
        say(f"round {number} of {rounds}, load {os.getloadavg()[0]:.1f}")
    return samples


def ratio(of: list[float], to: list[float]) -> str:
    ratios = [one / other for one, other in zip(of, to, strict=True)]
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}..{max(ratios):.2f})"


def median(values: list[float]) -> float:
    return statistics.median(values)


# ---- The machine.


def file_system(path: Path) -> str:
    """The type of the file system that a path lies on."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        if fields.split()[2] == wanted:
            return source.split()[0]
    return "an unknown file system"


def machine() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model, kernel = found[1] if found else os.uname().machine, os.uname().release
    return f"{len(os.sched_getaffinity(0))} CPUs (`{model}`), {memory:.0f} GiB, Linux {kernel}"


def load() -> str:
    return " ".join(f"{one:.2f}" for one in os.getloadavg())


def stolen() -> tuple[int, int]:
    """Ticks that the hypervisor gave to others, and all ticks."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


class Watch:
    """The machine over a measurement."""

    def __init__(self) -> None:
        self.load, self.stolen = load(), stolen()

    def line(self, tree: Tree) -> str:
        stolen_ticks, ticks = (now - then for now, then in zip(stolen(), self.stolen, strict=True))
        return (
            f"{machine()}, tree on {file_system(tree.root)}, bucket on {file_system(tree.bucket)}; "
            f"load {self.load} before, {load()} after, {100 * stolen_ticks / max(ticks, 1):.1f} % stolen."
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- The two measurements.


def compare(options: argparse.Namespace, exporter: Exporter, walker: str, place: Place) -> None:
    tree = Tree.make(walker, place, options.dirs, options.files)
    first = exporter.first_export(tree, place)
    others, versions = peers(options, tree, place)
    contenders = [bare(walker, tree, threads) for threads in sorted({1, *options.threads})]
    for threads in options.threads:
        what = "export, nothing to do" if exporter.with_state else "export of everything"
        name = f"{what}, {shlex.join(shlex.split(exporter.flags.format(threads=threads)))}"
        command, state = exporter.export(tree, threads), tree.state if exporter.with_state else None
        check = lambda run: exporter.check(run, tree)
        contenders.append(Contender(name, command, check, bare_name(threads), state=state))
    if exporter.plan_flags is not None:
        contenders.append(Contender("plan, nothing to do", exporter.plan(tree), lambda run: None, bare_name(1)))
    contenders += others

    watch = Watch()
    samples = race(contenders, options.rounds, place.scratch, lambda contender: 1)
    line = watch.line(tree)
    floor = launcher_peak(place.scratch)
    print(f"{tree.entries:,} entries in {options.dirs:,} directories of {options.files:,}; {options.rounds} rounds.\n")
    print(
        "| what | CPU s | µs of CPU an entry | CPU / bare walk (range) | wall s | wall / bare walk (range) "
        "| peak MiB | state, bytes an entry |"
    )
    print("|---|---:|---:|---|---:|---|---:|---:|")
    for contender in contenders:
        ours, theirs = samples[contender.name], samples[contender.reference]
        cpu, wall = [one.cpu for one in ours], [one.wall for one in ours]
        state = f"{bytes_under(contender.state) / tree.entries:.1f}" if contender.state else "–"
        print(
            f"| {contender.name} | {median(cpu):.3f} | {median(cpu) / tree.entries * 1e6:.2f} "
            f"| {ratio(cpu, [one.cpu for one in theirs])} | {median(wall):.3f} "
            f"| {ratio(wall, [one.wall for one in theirs])} "
            f"| {peak_text(contender, ours, floor, place)} | {state} |"
        )
    print(f"\n{line}\n")
    print(f"Peaks up to {floor / MIB:.1f} MiB are the launcher's; below that, `~` is what was seen from outside.\n")
    print(f"{first[0].upper()}{first[1:]}.\n")
    if versions:
        print(f"{'; '.join(versions)}.")


def peak_text(contender: Contender, samples: list[Sample], floor: int, place: Place) -> str:
    peak = median([one.peak for one in samples])
    if peak > floor * 1.02:
        return f"{peak / MIB:.1f}"
    contender.before()
    own = peak_of_its_own(contender.command, place.scratch, contender.env)
    # A process that has hardly begun, or is about to end, has next to none.
    return f"~{own / MIB:.1f}" if own > MIB else f"≤ {floor / MIB:.1f}"


def scale(options: argparse.Namespace, exporter: Exporter, walker: str, place: Place) -> None:
    """Whether an entry costs the same however many there are."""
    threads = options.threads[0]
    trees, firsts, contenders, repeats = {}, [], [], {}
    for wanted in sorted({0, *options.scale}):
        tree = Tree.make(walker, place, wanted // options.files, options.files)
        first = exporter.first_export(tree, place)
        firsts += [first] if wanted else []
        walk = bare(walker, tree, threads)
        walk.name = walk.reference = f"bare {tree.entries}"
        check = lambda run, tree=tree: exporter.check(run, tree)
        export = Contender(f"export {tree.entries}", exporter.export(tree, threads), check, walk.name)
        contenders += [walk, export]
        trees[tree.entries] = tree
        # What takes a few milliseconds is run many times for one figure.
        repeats[walk.name] = repeats[export.name] = min(20, max(1, 200_000 // max(tree.entries, 1)))

    watch = Watch()
    samples = race(contenders, options.rounds, place.scratch, lambda contender: repeats[contender.name])
    line = watch.line(trees[max(trees)])
    starts = [one.cpu for one in samples["export 0"]]
    flags = exporter.flags.format(threads=threads)
    print(f"`{flags}`; {options.rounds} rounds; an export of no entries takes {median(starts) * 1e3:.2f} ms of CPU.\n")
    print(
        "| entries | CPU s | µs of CPU an entry | without the start | to the largest tree (range) "
        "| CPU / bare walk (range) | bare walk, µs | peak MiB | state, bytes an entry |"
    )
    print("|---:|---:|---:|---:|---|---|---:|---:|---:|")
    costs = {
        entries: [(one.cpu - start) / entries for one, start in zip(samples[f"export {entries}"], starts, strict=True)]
        for entries in trees
        if entries > 0
    }
    floor = launcher_peak(place.scratch)
    for export in contenders[3::2]:
        entries = int(export.name.split()[1])
        ours, theirs = samples[export.name], samples[export.reference]
        cpu, walk = median([one.cpu for one in ours]), median([one.cpu for one in theirs])
        to_bare = ratio([one.cpu for one in ours], [one.cpu for one in theirs])
        to_largest = ratio(costs[entries], costs[max(costs)])
        state = bytes_under(trees[entries].state) / entries if exporter.with_state else 0
        print(
            f"| {entries:,} | {cpu:.3f} | {cpu / entries * 1e6:.3f} | {median(costs[entries]) * 1e6:.3f} "
            f"| {to_largest} | {to_bare} | {walk / entries * 1e6:.3f} "
            f"| {peak_text(export, ours, floor, place)} | {state:.1f} |"
        )
    print(f"\n{line}\n")
    for first in firsts:
        print(f"- {first[0].upper()}{first[1:]}.")


# ---- The command line.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    numbers = lambda text: [int(one) for one in text.split(",")]
    names = lambda text: [one for one in text.split(",") if one]
    add("--dirs", type=int, default=1000, metavar="N", help="leaf directories of the tree; default 1000")
    add("--files", type=int, default=1000, metavar="N", help="entries in each of them; default 1000")
    add("--rounds", type=int, default=7, metavar="N", help="rounds that count; default 7; tell of 5 or more")
    add("--threads", type=numbers, default=[1], metavar="N,N", help="of the export and of its bare walk; default 1")
    add("--first-threads", type=int, default=8, metavar="N", help="of the exports that are not timed; default 8")
    scale_help = "one tree for each of these numbers of files, such as 10_000,100_000,1_000_000, and no peers"
    add("--scale", type=numbers, metavar="N,N", help=scale_help)
    peers_help = f"which of {', '.join(PEERS)} to run; one that is not installed is named and left out; '' for none"
    add("--peers", type=names, default=list(PEERS), metavar="NAME,NAME", help=peers_help)
    add("--dir", type=Path, help="where tree, copy and states go; default a new temporary directory")
    bucket_help = "where buckets go; default in --dir. A tmpfs, 4 GB for a million files, makes the first export short"
    add("--bucket-dir", type=Path, metavar="DIR", help=bucket_help)
    keep_help = "leave --dir and --bucket-dir as they are at the end, and go on with what is in them at the start"
    add("--keep", action="store_true", help=keep_help)
    add("--flags", default="--lookers {threads}", help="further flags of the export; default %(default)r")
    add("--plan", nargs="?", const="", metavar="FLAGS", help="time `plan` too, with these flags")
    add("--exporter", metavar="PATH", help="the example program, built with --profile fast; default is to build it")
    add("--walker", metavar="PATH", help="the benchmark `walk`; default is to build it")
    no_state_help = "export without --state: everything, every time. Shows that this script works, and no more"
    add("--no-state", action="store_true", help=no_state_help)
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers: expected some of {', '.join(PEERS)}, found {', '.join(sorted(unknown))}")
    if options.scale and any(wanted < options.files or wanted % options.files for wanted in options.scale):
        parser.error(f"--scale: expected multiples of --files, which is {options.files}")
    if min(options.rounds, options.dirs, options.files, options.first_threads, *options.threads) < 1:
        parser.error("--rounds, --dirs, --files, --threads, --first-threads: expected 1 or more")

    path, walker = build(options)
    exporter = Exporter(path, options.flags, options.plan, not options.no_state, options.first_threads)
    place = None
    try:
        place = Place(options)
        (scale if options.scale else compare)(options, exporter, walker, place)
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        say(f"incremental.py: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if place is not None:
            place.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
