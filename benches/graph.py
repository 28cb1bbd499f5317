#!/usr/bin/env python3
"""Draws what s3.py has measured: wall time and CPU of each client, on a logarithmic scale.

    python3 benches/graph.py                                    # benches/results/s3-{small,large,huge}.json, to s3.svg
    python3 benches/graph.py RESULT.json... --out PICTURE.svg

A bar is the median of the rounds, the line across its end reaches from the least to the greatest, and the figure behind
it is how often it holds that of posix-s3: the median of the ratios of the rounds. The picture is readable on light and
on dark pages, needs no fonts of its own, and comes out the same for the same results.
"""

import argparse
import json
import math
import statistics
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
OURS, FLOOR = "posix-s3", "floor"
TITLES = {"export": "Export", "no-op": "Export with nothing to do", "import": "Import"}
NAMES = {
    OURS: "posix-s3",
    FLOOR: "bare client (the limit)",
    "s5cmd": "s5cmd",
    "s5cmd-256": "s5cmd, 256 workers",
    "rclone": "rclone --metadata",
    "aws": "aws s3 sync",
}

WIDTH, MARGIN = 920, 24
LABELS = 190  # the names of the clients
BAR, ROW = 13, 20
# Behind the longest bar: its figure.
FIGURE = 96
COLUMN = (WIDTH - 2 * MARGIN - LABELS) // 2
STYLE = """
    text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .page { fill: #ffffff; }
    .title { font-size: 15px; font-weight: 600; }
    .head { font-weight: 600; }
    .quiet { fill: #59636e; font-size: 11px; }
    .grid { stroke: #d1d9e0; stroke-width: 1; }
    .range { stroke: #1f2328; stroke-width: 1; opacity: 0.55; }
    .ours { fill: #0969da; }
    .floor { fill: none; stroke: #818b98; stroke-width: 1.2; stroke-dasharray: 3 2; }
    .peer { fill: #afb8c1; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .page { fill: #0d1117; }
      .quiet { fill: #9198a1; }
      .grid { stroke: #30363d; }
      .range { stroke: #f0f6fc; }
      .ours { fill: #4493f8; }
      .floor { stroke: #9198a1; }
      .peer { fill: #656c76; }
    }
"""


@dataclass(frozen=True)
class Bar:
    client: str
    least: float
    middle: float
    greatest: float
    # How often it holds that of posix-s3.
    times: float | None


@dataclass(frozen=True)
class Block:
    """One operation on one set of data."""

    title: str
    names: dict[str, str]
    # Of the same clients, in the same order.
    wall: list[Bar]
    cpu: list[Bar]


def blocks(results: dict) -> list[Block]:
    data = results["data"]
    size = data["bytes"] // max(data["files"], 1)
    what = f"{data['files']:,} files of {bytes_text(size)}" if data["files"] > 1 else f"one file of {bytes_text(size)}"
    found = []
    for operation in results["operations"]:
        if operation == "no-op" and data["files"] < 100:
            continue  # says nothing but how long a client takes to start
        samples = [one for one in results["samples"] if one["operation"] == operation and not one["failed"]]
        names = [name for name in results["clients"] if any(one["client"] == name for one in samples)]
        names.sort(key=lambda name: (name != OURS, name != FLOOR))
        wall, cpu = ([bar(samples, name, what) for name in names] for what in ("wall", "cpu"))
        if names:
            shown = NAMES | ({FLOOR: "bare client, lists only"} if operation == "no-op" else {})
            found.append(Block(f"{TITLES[operation]}: {what}", shown, wall, cpu))
    return found


def bar(samples: list[dict], client: str, what: str) -> Bar:
    values = {one["round"]: one[what] for one in samples if one["client"] == client}
    ours = {one["round"]: one[what] for one in samples if one["client"] == OURS}
    ratios = [value / ours[number] for number, value in values.items() if ours.get(number)]
    times = statistics.median(ratios) if ratios and client != OURS else None
    return Bar(client, min(values.values()), statistics.median(values.values()), max(values.values()), times)


def bytes_text(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.0f} {name}"
    return f"{count} bytes"


def figure(value: float) -> str:
    """Two digits, or all before the point."""
    if value <= 0:
        return "0"
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}"


def seconds(value: float) -> str:
    return f"{figure(value)} s" if value >= 0.1 else f"{figure(value * 1e3)} ms"


@dataclass(frozen=True)
class Scale:
    """Whole decades, one scale for all of a picture."""

    first: int
    last: int

    @classmethod
    def of(cls, bars: list[Bar]) -> "Scale":
        least = min(max(bar.least, 1e-3) for bar in bars)
        greatest = max(bar.greatest for bar in bars)
        return cls(math.floor(math.log10(least)), math.ceil(math.log10(greatest)))

    def at(self, value: float) -> float:
        part = (math.log10(max(value, 10.0**self.first)) - self.first) / (self.last - self.first)
        return part * (COLUMN - FIGURE)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.first, self.last + 1)]


class Picture:
    def __init__(self, scale: Scale) -> None:
        self.scale, self.lines, self.y = scale, [], MARGIN

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        kind = f' class="{kind}"' if kind else ""
        end = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.lines.append(f'<text x="{x:.1f}" y="{y:.1f}"{kind}{end}>{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.lines.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def head(self, subtitle: str) -> None:
        self.text(MARGIN, self.y + 8, "posix-s3 and other clients of S3", "title")
        self.text(MARGIN, self.y + 28, subtitle, "quiet")
        self.y += 48

    def block(self, block: Block) -> None:
        self.text(MARGIN, self.y + 10, block.title, "head")
        for column, name in enumerate(("wall time", "CPU time")):
            self.text(self.column(column), self.y + 28, name, "quiet")
        self.y += 34
        bottom = self.y + ROW * len(block.wall)
        for column in range(2):
            for value in self.scale.decades():
                x = self.column(column) + self.scale.at(value)
                self.line(x, self.y, x, bottom, "grid")
                self.text(x, bottom + 12, f"{value:g} s", "quiet", "middle")
        for row, (wall, cpu) in enumerate(zip(block.wall, block.cpu, strict=True)):
            y = self.y + ROW * row
            kind = "head" if wall.client == OURS else ""
            self.text(MARGIN, y + 14, block.names.get(wall.client, wall.client), kind)
            self.bar(0, y, wall)
            self.bar(1, y, cpu)
        self.y = bottom + 36

    def bar(self, column: int, y: float, bar: Bar) -> None:
        x, top = self.column(column), y + (ROW - BAR) / 2
        kind = {OURS: "ours", FLOOR: "floor"}.get(bar.client, "peer")
        width = max(self.scale.at(bar.middle), 1)
        self.lines.append(f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{BAR}"/>')
        middle = top + BAR / 2
        self.line(x + self.scale.at(bar.least), middle, x + self.scale.at(bar.greatest), middle, "range")
        told = seconds(bar.middle)
        if bar.times is not None:
            told += f" · {figure(bar.times)}×"
        end = x + max(width, self.scale.at(bar.greatest)) + 6
        self.text(end, y + 14, told, "head" if bar.client == OURS else "")

    def column(self, number: int) -> float:
        return MARGIN + LABELS + number * COLUMN

    def foot(self, lines: list[str]) -> None:
        for line in lines:
            self.text(MARGIN, self.y + 4, line, "quiet")
            self.y += 16

    def svg(self, title: str) -> str:
        height = self.y + MARGIN - 12
        inside = "\n  ".join(self.lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">\n'
            f"  <style>{STYLE}  </style>\n"
            f'  <rect class="page" width="{WIDTH}" height="{height:.0f}" rx="6"/>\n'
            f"  {inside}\n</svg>\n"
        )


def draw(all_results: list[dict]) -> str:
    found = [block for results in all_results for block in blocks(results)]
    picture = Picture(Scale.of([bar for block in found for bar in (*block.wall, *block.cpu)]))
    first = all_results[0]
    rounds = min(results["rounds"] for results in all_results)
    server = "a server in memory" if first["server"].get("where") == "loopback" else first["server"]["name"]
    picture.head(
        f"Logarithmic; shorter is better. Medians of {rounds} round{'s' if rounds > 1 else ''} against {server}, "
        f"{first['connections']} connections each, 64 for posix-s3; × is to posix-s3."
    )
    for block in found:
        picture.block(block)
    versions = {name: client["version"] for results in all_results for name, client in results["clients"].items()}
    told = [
        "posix-s3 carries directories, links, modes, owners and times; s5cmd and aws contents alone; "
        "rclone the metadata of files.",
        "Imports of posix-s3 and of the bare client include waiting for the disk; those of the others do not.",
        f"{first['machine']['text']}; {first['date']}; {versions_text(versions)}.".replace("`", ""),
    ]
    picture.foot(told)
    return picture.svg("Wall time and CPU time of posix-s3 and other clients of S3")


def versions_text(versions: dict[str, str]) -> str:
    """As short as they can be said."""
    short = {}
    for name in ("s5cmd", "rclone", "aws"):
        if name in versions:
            word = next((word for word in versions[name].replace("/", " ").split() if any(map(str.isdigit, word))), "")
            short[name] = word.split("-")[0].removeprefix("v")
    return ", ".join(f"{name} {version}" for name, version in short.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="what s3.py has kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "s3.svg")
    options = parser.parse_args()
    usual = [RESULTS / f"s3-{name}.json" for name in ("small", "large", "huge")]
    chosen = options.results or [path for path in usual if path.exists()]
    if not chosen:
        print("graph.py: nothing has been measured yet; see s3.py", file=sys.stderr)
        return 1
    options.out.write_text(draw([json.loads(path.read_text()) for path in chosen]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
