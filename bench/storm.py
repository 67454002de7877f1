"""The top of the hour: thousands of meetings begin in the same second. How long until the last watcher knows?

Run: python -m bench.storm [--people 7500] [--watch 75] [--repeat 3]

Every person watches `--watch` random others. The server (`bench.storm_server`) composes, encodes and sends with the
product's own code; the yardstick (`ssefloor`, C) only copies frames of the same size. Both are loaded by `sseload`,
in turns, in one sitting; the medians and their ratio are what to compare, the times are those of the machine. The
server's clock starts at the meetings' beginning, so composing is in its time and not in the yardstick's.

The exit status is 0 if every delivery arrived exactly once and the ratio is at most `--at-most`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
Result = dict[str, Any]


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server, and the first line it printed."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def load(options: argparse.Namespace, port: str, pid: int, *arguments: str) -> Result:
    """One storm: everybody connects, everything happens, everybody leaves."""
    people = str(options.people)
    command = [HERE / "sseload", "-a", f"127.0.0.1:{port}", "-c", people, "-U", people, "-K", str(options.watch)]
    command += ["--storm", "--json", "--timeout", "30", "--pid", str(pid), "--user-format", "u%05d@example.com"]
    done = subprocess.run([*map(str, command), *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise SystemExit("sseload gave no result")
    result: Result = json.loads(done.stdout)
    result["exact"] = done.returncode == 0 and result["received"] == result["expected"]
    return result


def product(options: argparse.Namespace) -> Result:
    """The product's storm."""
    command: list[str | Path] = [sys.executable, "-m", "bench.storm_server", "--people", str(options.people)]
    if options.profile:
        command += ["--profile", options.profile]
    with running(command) as (process, port):
        stream = ("-p", "/v1/stream?person={users}", "--separator", "&person=", "--mark", "event: presence")
        result = load(options, port, process.pid, *stream, "--start-from-answer", "--pub-path", "/storm")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as answer:
            result["hub"] = json.load(answer)
    return result


def yardstick(options: argparse.Namespace, frame: int) -> Result:
    """The same storm with frames of that many bytes, only copied."""
    with running([HERE / "ssefloor", "-p", "0", "-s", str(frame - len("data: \n\n"))]) as (process, port):
        path = ("-p", "/sub/{users}", "--pub-path", f"/storm?n={options.people}", "--mark", "data: ")
        return load(options, port, process.pid, *path)


def report(name: str, result: Result) -> None:
    print(
        f"{name:9} completion {result['done_s']:.3f} s   p50 {result['p50_start_ms']:.0f} ms   "
        f"p99 {result['p99_start_ms']:.0f} ms   server cpu {result['server_cpu_s']:.2f} s   "
        f"{result['rss_per_conn_kb']:.1f} KB per stream   {'exact' if result['exact'] else 'DELIVERIES ARE WRONG'}",
        flush=True,
    )


def measure(options: argparse.Namespace) -> Result:
    """Both in turns; the medians."""
    ours, floor = [], []
    for _ in range(options.repeat):
        ours.append(product(options))
        report("product", ours[-1])
        if not options.profile:
            floor.append(yardstick(options, ours[-1]["hub"]["frame"]))
            report("yardstick", floor[-1])
    seconds = [result["done_s"] for result in ours]
    base = [result["done_s"] for result in floor]
    return {
        "people": options.people,
        "watch": options.watch,
        "frame_bytes": ours[-1]["hub"]["frame"],
        "deliveries": ours[-1]["expected"],
        "product_s": median(seconds),
        "product_spread_s": [min(seconds), max(seconds)],
        "p99_ms": median(result["p99_start_ms"] for result in ours),
        "composed_after_s": median(result["hub"]["composed_after_s"] for result in ours),
        "kb_per_stream": median(result["rss_per_conn_kb"] for result in ours),
        "yardstick_s": median(base) if base else None,
        "yardstick_spread_s": [min(base), max(base)] if base else None,
        "ratio": round(median(seconds) / median(base), 2) if base else None,
        "exact": all(result["exact"] for result in ours + floor),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=7500, help="people, and as many subscribers")
    parser.add_argument("--watch", type=int, default=75, help="people each subscriber watches")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--at-most", type=float, default=5.0, help="the greatest ratio that is good")
    parser.add_argument("--profile", metavar="FILE", help="profile the product's storm instead of comparing")
    parser.add_argument("--json", metavar="FILE", help="append the medians as one line")
    options = parser.parse_args()
    subprocess.run(["make", "-s", "-C", str(HERE)], check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < options.people + 200:
        raise SystemExit(f"needs {options.people + 200} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result = measure(options)
    print(re.sub(r'[{}"]', "", json.dumps(result)).replace(", ", "\n"))
    if options.json:
        with open(options.json, "a") as file:
            file.write(json.dumps(result) + "\n")
    ratio = result["ratio"]
    raise SystemExit(0 if result["exact"] and (ratio is None or ratio <= options.at_most) else 1)


if __name__ == "__main__":
    main()
