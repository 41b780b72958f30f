#!/usr/bin/env python3
"""What do muster and the load tools that package registries have cost, for the same request to the same server?

    cargo build --release && cargo install oha --locked --root target/oha
    apt-get install wrk nghttp2-client mosquitto
    python3 -m venv target/peers && target/peers/bin/pip install azure-iot-device==2.14.0
    python3 benches/peers.py target/release/muster [--rounds 3] [--only https|mqtt]

Tools take turns, several rounds; printed are medians and ranges, in one table for each protocol. The server has one core and the
tool another, so that no tool gets more of the machine than the next. HTTPS goes to `muster emulate`, MQTT to mosquitto. A tool that is
not here is left out of the table. Three rounds take about seven minutes, on a quiet machine if they are to mean anything: the last
line says how much else there was. Needs Linux and, but for the tools, Python's standard library; certificates are the emulator's.

CPU is that of the tool's process, user and system (the Python clients': of the time in which they send, without their start).
"""

import argparse
import base64
import csv
import hashlib
import hmac
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from registration import EMULATOR

KEY = base64.b64encode(hashlib.sha512(b"a key for benches").digest()).decode()
SERVER_CORE, TOOL_CORE = 0, 1
BEGUN = time.monotonic()
# What a message holds, in bytes.
PAYLOAD = 300
CONNECTIONS, MANY = 100, 1_100
# How long the server stands still in the middle of a run of five seconds.
FROZEN_S = 1.0

GROUP = '[enrollment.plant]\ngroup_key = { env = "MUSTER_BENCH_KEY" }\n'
# muster's devices registering, or straight to a hub; the keys of the fleet follow.
REGISTER = """
version = 1
seed = 1
[target]
kind = "azure"
dps = "$dps"
id_scope = "0ne00000001"
ca_file = "$ca"
""" + GROUP + """
[fleet.devices]
id = "d-{n:05}"
provision = "https"
connect = "none"
"""
HUB = """
version = 1
seed = 1
[target]
kind = "hub"
host = "$hub"
ca_file = "$ca"
""" + GROUP + """
[fleet.devices]
id = "d-{n:05}"
"""


# What these devices send.
SENDS = f"""
count = $count
start.rate = "1000/s"
[fleet.devices.telemetry]
every = "$every"
messages = $messages
bytes = "{PAYLOAD} B"
"""


def filled(text, **facts):
    return string.Template(text).substitute(facts)


class Sample:
    """What one turn of one tool came to."""

    def __init__(self, requests, cpu_s, peak_bytes, rate=None, p90_s=None):
        self.requests, self.cpu_s, self.peak_bytes, self.rate, self.p90_s = requests, cpu_s, peak_bytes, rate, p90_s

    @property
    def cpu_us(self):
        return self.cpu_s / self.requests * 1e6


def pinned(core):
    return lambda: os.sched_setaffinity(0, {core})


def environment():
    return {"MUSTER_BENCH_KEY": KEY, "PATH": os.environ["PATH"]}


def measured(command, freeze=None):
    """Runs a tool; gives its output, its CPU seconds and its peak of resident memory in bytes.

    `freeze`: a process that stands still for FROZEN_S, two seconds after the tool was started.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 env=environment(), preexec_fn=pinned(TOOL_CORE))
        if freeze:
            time.sleep(2)
            os.kill(freeze, signal.SIGSTOP)
            time.sleep(FROZEN_S)
            os.kill(freeze, signal.SIGCONT)
        alarm = threading.Timer(90, child.kill)
        alarm.start()
        peak = 0
        while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            peak = max(peak, high_water(child.pid))
            time.sleep(0.02)
        _, status, usage = os.wait4(child.pid, 0)
        alarm.cancel()
        out.seek(0), err.seek(0)
        text, told = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    assert code == 0 or code == 97 and command[1] == "run", (command, code, text[-2000:], told[-2000:])
    return text, usage.ru_utime + usage.ru_stime, peak


def high_water(process):
    """The most memory that a process has had resident, in bytes; 0 of one that has ended.

    Its own: what the system tells when it ends counts what this script had before it became the tool.
    """
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


# ---- the servers


class Emulator:
    """`muster emulate` with a group, and the folder of its certificates."""

    def __init__(self, muster, folder):
        self.folder = folder / "emulator"
        self.folder.mkdir()
        (folder / "emulator.toml").write_text(EMULATOR)
        self.process = subprocess.Popen(
            [muster, "emulate", folder / "emulator.toml", "--dir", self.folder, "--port", "0", "--threads", "1"],
            env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=pinned(SERVER_CORE))
        for line in self.process.stdout:
            if line.startswith("DPS"):
                self.dps = line.split()[1]
            if line.startswith("hub"):
                self.hub = line.split()[1]
            if line.startswith("ready"):
                break
        self.ca = self.folder / "ca.pem"

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=20)


class Mosquitto:
    """Debian's broker at MQTT's own port, for Microsoft's SDK can be told no other; certificates of an emulator."""

    PORT = 8883

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.PORT))  # taken: say so now
        settings = folder / "mosquitto.conf"
        settings.write_text(
            f"listener {self.PORT} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\n"
            f"cafile {folder}/emulator/ca.pem\ncertfile {folder}/emulator/server.pem\nkeyfile {folder}/emulator/server.key\n"
            "log_type none\nuser root\n")
        self.process = subprocess.Popen([shutil.which("mosquitto", path="/usr/sbin:" + os.environ["PATH"]), "-c", settings],
                                        stderr=subprocess.DEVNULL, preexec_fn=pinned(SERVER_CORE))
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.PORT), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("mosquitto does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def token(resource, device, policy=""):
    key = hmac.new(base64.b64decode(KEY), device.encode(), hashlib.sha256).digest()
    sr = urllib.parse.quote(resource, safe="")
    expiry = str(int(time.time()) + 3600)
    signature = base64.b64encode(hmac.new(key, f"{sr}\n{expiry}".encode(), hashlib.sha256).digest()).decode()
    return f"SharedAccessSignature sr={sr}&sig={urllib.parse.quote(signature, safe='')}&se={expiry}{policy}"


# ---- muster


class Muster:
    name = "muster"

    def __init__(self, program, folder):
        self.program, self.folder, self.turn, self.void = program, folder, 0, 0

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).split()[1]

    def run(self, scenario, kind, freeze=None):
        self.turn += 1
        (self.folder / "peers.toml").write_text(scenario)
        output = self.folder / f"run-{self.turn}"
        command = [self.program, "run", self.folder / "peers.toml", "--no-progress", "--threads", "1", "--output", output]
        text, cpu, peak = measured(command, freeze)
        self.void += text.startswith("VOID")
        [result] = output.iterdir()
        report = json.loads(subprocess.check_output([self.program, "report", result, "--format", "json"], text=True))
        [step] = [step for step in report["steps"] if step["kind"] == kind and step["population"] is None]
        assert step["acknowledged"] == step["due"], text
        rows = list(csv.DictReader((result / "timeline.csv").open()))
        seconds = [int(row[f"{kind}_acknowledged"]) for row in rows]
        latency = [row for row in report["latencies"]
                   if (row["population"], row["kind"], row["view"]) == (None, kind, "response")]
        p90 = latency[0]["percentiles_ns"].get("p90") if latency else None
        shutil.rmtree(output)
        return Sample(step["acknowledged"], cpu, peak, inner(seconds), p90 and p90 / 1e9)


def inner(seconds):
    """The rate of the seconds in the middle: starts and ends are left out."""
    busy = [count for count in seconds if count]
    return statistics.median(busy[1:-1]) if len(busy) > 2 else None


# ---- tools for HTTPS


class Http:
    """What a tool is asked for: one telemetry message, POST of 300 bytes, with a token of one device."""

    def __init__(self, emulator, folder):
        self.url = f"https://{emulator.hub}/devices/d-00000/messages/events?api-version=2021-04-12"
        self.register_url = f"https://{emulator.dps}/0ne00000001/registrations/d-00000/register?api-version=2019-03-31"
        self.authorization = f"Authorization: {token(f'{emulator.hub}/devices/d-00000', 'd-00000')}"
        self.register_authorization = "Authorization: " + token(
            "0ne00000001/registrations/d-00000", "d-00000", "&skn=registration")
        self.register_body = json.dumps({"registrationId": "d-00000"})
        self.ca = emulator.ca
        self.body = folder / "body"
        self.body.write_bytes(b"x" * PAYLOAD)
        self.log = folder / "h2load.log"
        self.scripts = {}
        for name, method, body in [("post", "POST", "x" * PAYLOAD), ("put", "PUT", self.register_body)]:
            self.scripts[name] = folder / f"{name}.lua"
            self.scripts[name].write_text(f"wrk.method = '{method}'\nwrk.body = '{body}'\n")


class Oha:
    name = "oha"

    def __init__(self, program, http):
        self.program, self.http = program, http

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).split()[1]

    def go(self, flags, register=False, freeze=None):
        http = self.http
        what = (["-m", "PUT", "-H", http.register_authorization, "-H", "Content-Type: application/json; charset=utf-8",
                 "-d", http.register_body, http.register_url] if register
                else ["-m", "POST", "-H", http.authorization, "-D", http.body, http.url])
        text, cpu, peak = measured([self.program, "--no-tui", "--output-format", "json", "--cacert", http.ca] + flags + what, freeze)
        report = json.loads(text)
        codes = {code: count for code, count in report["statusCodeDistribution"].items()}
        assert set(codes) <= {"200", "204"}, codes
        return Sample(sum(codes.values()), cpu, peak, report["summary"]["requestsPerSec"], report["latencyPercentiles"]["p90"])


class Wrk:
    name = "wrk"

    def __init__(self, http):
        self.http = http

    def version(self):
        return subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()[1]

    def go(self, flags, register=False, freeze=None):
        http = self.http
        what = (["-s", http.scripts["put"], "-H", http.register_authorization, "-H", "Connection: close",
                 "-H", "Content-Type: application/json; charset=utf-8", http.register_url] if register
                else ["-s", http.scripts["post"], "-H", http.authorization, http.url])
        text, cpu, peak = measured(["wrk", "-t", "1", "--latency"] + flags + what, freeze)
        # A connection that the server closes after its answer, as it was asked to, counts as a read error here.
        assert "Non-2xx" not in text, text
        requests = int(re.search(r"(\d+) requests in", text)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
        value, unit = re.search(r"90%\s+([\d.]+)(us|ms|s)", text).groups()
        return Sample(requests, cpu, peak, rate, float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit])


class H2load:
    name = "h2load"

    def __init__(self, http):
        self.http = http

    def version(self):
        return subprocess.check_output(["h2load", "--version"], text=True).split("/")[1].strip()

    def go(self, flags, freeze=None):
        http = self.http
        http.log.unlink(missing_ok=True)
        command = ["h2load", "--h1", "-t", "1", "-d", http.body, "-H", http.authorization, f"--log-file={http.log}"]
        text, cpu, peak = measured(command + flags + [http.url], freeze)
        requests = int(re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", text)[1])
        rate = float(re.search(r"([\d.]+) req/s", text)[1])
        took = sorted(int(line.split("\t")[2]) for line in http.log.read_text().splitlines())
        return Sample(requests, cpu, peak, rate, took[int(len(took) * 0.9)] / 1e6)


# ---- Python's clients for MQTT, in an interpreter that has them: peers_client.py


class Python:
    def __init__(self, kind, name, python, package, ca):
        self.kind, self.name, self.python, self.package, self.ca = kind, name, python, package, ca

    def version(self):
        told = f"import importlib.metadata as m; print(m.version('{self.package}'))"
        return subprocess.check_output([self.python, "-c", told], text=True).strip()

    def go(self, devices, every_s, seconds):
        client = pathlib.Path(__file__).with_name("peers_client.py")
        command = [self.python, client, self.kind, self.ca, devices, every_s, seconds, PAYLOAD]
        text, _, peak = measured(command)
        told = json.loads(text)
        return Sample(told["requests"], told["cpu_s"], peak, told["requests"] / told["took_s"])


# ---- the questions


def https(muster, folder, oha, rounds):
    emulator = Emulator(muster.program, folder)
    try:
        http = Http(emulator, folder)
        tools = [muster]
        tools += [Oha(oha, http)] if oha else []
        tools += [Wrk(http)] if shutil.which("wrk") else []
        tools += [H2load(http)] if shutil.which("h2load") else []
        facts = {"dps": emulator.dps, "hub": emulator.hub, "ca": emulator.ca}
        register, hub = filled(REGISTER, **facts), filled(HUB, **facts) + 'connect = "https"\n'
        # All devices are in the hub before anything is measured.
        muster.run(register + f'count = {MANY}\nstart.rate = "500/s"\n', "register")
        sends = lambda **asked: filled(hub + SENDS + "queue = 5_000\n", **asked)
        # How each is told to do it. A question that a tool cannot be asked is not there.
        questions = {
            "register": {
                "muster": lambda: muster.run(register + 'count = 1_600\nstart.rate = "400/s"\n', "register"),
                "oha": lambda tool: tool.go(["-n", "1600", "-c", "100", "-q", "400", "--disable-keepalive"], register=True),
                "wrk": lambda tool: tool.go(["-d", "3", "-c", "100"], register=True),
            },
            "paced": {
                "muster": lambda: muster.run(sends(count=100, every="50ms", messages=100), "send"),
                "oha": lambda tool: tool.go(["-n", "10000", "-c", "100", "-q", "2000"]),
                "h2load": lambda tool: tool.go(["-n", "10000", "-c", "100", "--rps", "20"]),
            },
            "most": {
                "muster": lambda: muster.run(sends(count=100, every="500us", messages=3_000), "send"),
                "oha": lambda tool: tool.go(["-z", "4s", "-c", "100"]),
                "wrk": lambda tool: tool.go(["-d", "4", "-c", "100"]),
                "h2load": lambda tool: tool.go(["-D", "4", "-c", "100"]),
            },
            "many": {
                "muster": lambda: muster.run(sends(count=MANY, every="500ms", messages=8), "send"),
                "oha": lambda tool: tool.go(["-n", str(8 * MANY), "-c", str(MANY), "-q", str(2 * MANY)]),
                "wrk": lambda tool: tool.go(["-d", "4", "-c", str(MANY)]),
                "h2load": lambda tool: tool.go(["-n", str(8 * MANY), "-c", str(MANY), "--rps", "2"]),
            },
            "frozen": {
                "muster": lambda: muster.run(sends(count=100, every="100ms", messages=50), "send", emulator.process.pid),
                "oha": lambda tool: tool.go(["-n", "5000", "-c", "100", "-q", "1000"], freeze=emulator.process.pid),
                "oha, corrected": lambda tool: tool.go(
                    ["-n", "5000", "-c", "100", "-q", "1000", "--latency-correction"], freeze=emulator.process.pid),
                "wrk": lambda tool: tool.go(["-d", "5", "-c", "100"], freeze=emulator.process.pid),
                "h2load": lambda tool: tool.go(["-n", "5000", "-c", "100", "--rps", "10"], freeze=emulator.process.pid),
            },
        }
        samples = in_turn(tools, questions, rounds)
    finally:
        emulator.stop()
    samples["some"] = samples["most"] | samples["paced"]
    print(f"\nHTTPS, TLS 1.3, to `muster emulate` with one thread; {', '.join(f'{tool.name} {tool.version()}' for tool in tools)}")
    print(f"A request is a POST of {PAYLOAD} bytes over one of {CONNECTIONS} connections that stay open; a registration a PUT over a "
          "connection of its own.")
    rows = [
        ("CPU of a registration, 400/s (wrk: as fast as it goes), µs", "register", None, lambda s, _: s.cpu_us, "{:,.0f}"),
        ("CPU of a request, 2,000/s, µs", "paced", None, lambda s, _: s.cpu_us, "{:,.0f}"),
        ("CPU of a request, as fast as it goes, µs", "most", None, lambda s, _: s.cpu_us, "{:,.1f}"),
        ("most requests in a second", "most", None, lambda s, _: s.rate, "{:,.0f}"),
        ("memory with 100 connections, MiB", "some", None, lambda s, _: s.peak_bytes / 1024**2, "{:,.1f}"),
        # Against a run with about as many requests, for oha keeps a record of each; wrk, which keeps none, has no other than `most`.
        ("memory of a connection more, KiB", "many", "some",
         lambda s, few: (s.peak_bytes - few.peak_bytes) / (MANY - CONNECTIONS) / 1024, "{:,.1f}"),
        ("p90, server frozen for 1 s of 5 (due at 1,000/s: 0.5 s), ms", "frozen", None, lambda s, _: s.p90_s * 1e3, "{:,.1f}"),
    ]
    table(["muster", "oha", "oha, corrected", "wrk", "h2load"], rows, samples)
    print("Latency counts from when a request is due with muster, always, and with oha if asked to (--latency-correction, \"corrected\"). "
          "h2load\ncounts from sending; so does wrk, which then adds what it reckons to have missed. A rate can be asked of muster, oha and "
          "h2load; wrk\nsends when an answer has come. muster's devices each have a token of their own, and it keeps books and histograms of each "
          "kind of step;\nthe others repeat one request of one device.")


def mqtt(muster, folder, python, rounds):
    if not shutil.which("mosquitto", path="/usr/sbin:" + os.environ["PATH"]):
        print("\nMQTT: there is no mosquitto here (apt-get install mosquitto)")
        return
    if not (folder / "emulator").exists():
        Emulator(muster.program, folder).stop()
    ca = folder / "emulator" / "ca.pem"
    broker = Mosquitto(folder)
    try:
        tools = [muster]
        if python:
            tools += [Python("sdk", "azure-iot-device", python, "azure-iot-device", ca),
                      Python("paho", "paho", python, "paho-mqtt", ca)]
        # The habits of the SDK, and one message under way for each device, as the Python clients are asked to.
        fleet = lambda **asked: filled(HUB + 'behave = "python-sdk"\n' + SENDS + "in_flight = 1\nqueue = 50_000\n",
                                       hub=f"localhost:{Mosquitto.PORT}", ca=ca, **asked)
        python_names = [tool.name for tool in tools[1:]]
        questions = {
            # What starting and connecting costs is taken off; the Python clients leave it out themselves.
            "few": {"muster": lambda: muster.run(fleet(count=10, every="100ms", messages=10), "send")},
            "paced": {"muster": lambda: muster.run(fleet(count=10, every="100ms", messages=60), "send")}
            | {name: lambda tool: tool.go(10, 0.1, 5) for name in python_names},
            "most": {"muster": lambda: muster.run(fleet(count=10, every="50us", messages=30_000), "send")}
            | {name: lambda tool: tool.go(10, 0, 4) for name in python_names},
            "one": {"muster": lambda: muster.run(fleet(count=100, every="1s", messages=4), "send")}
            | {name: lambda tool: tool.go(1, 1, 2) for name in python_names},
            "many": {"muster": lambda: muster.run(fleet(count=1100, every="1s", messages=4), "send")}
            | {name: lambda tool: tool.go(21, 1, 2) for name in python_names},
        }
        samples = in_turn(tools, questions, rounds)
    finally:
        broker.stop()
    version = subprocess.run([shutil.which("mosquitto", path="/usr/sbin:" + os.environ["PATH"]), "-h"], capture_output=True, text=True)
    names = ", ".join(f"{tool.name} {tool.version()}" for tool in tools)
    print(f"\nMQTT 3.1.1, TLS, QoS 1, to {' '.join(version.stdout.split()[:3])}; {names}")
    print(f"10 devices in one process, {PAYLOAD} bytes a message, each device waits for its confirmation.")
    more = lambda s, few: (s.cpu_s - few.cpu_s) / (s.requests - few.requests) * 1e6 if few else s.cpu_us
    rows = [
        ("CPU of a message, 100/s, µs", "paced", "few", more, "{:,.0f}"),
        ("CPU of a message, as fast as it goes, µs", "most", None, lambda s, _: s.cpu_us, "{:,.1f}"),
        ("most messages in a second", "most", None, lambda s, _: s.rate, "{:,.0f}"),
        ("memory of a process with 10 devices, MiB", "paced", None, lambda s, _: s.peak_bytes / 1024**2, "{:,.1f}"),
        # muster was asked with 100 devices and with 1,100, the others with 1 and with 21.
        ("memory of a device more, KiB", "many", "one",
         lambda s, few: (s.peak_bytes - few.peak_bytes) / (1_000 if s.requests > 1_000 else 20) / 1024, "{:,.1f}"),
    ]
    table(["muster"] + python_names, rows, samples)
    if not python:
        print("no Python clients here: python3 -m venv target/peers && target/peers/bin/pip install azure-iot-device==2.14.0")
    print("The Python clients are given the CPU of sending only; for muster at 100/s, what starting costs is taken off, and its noise floor's "
          "100 wakes/s\nare in. emqtt-bench is in none of the registries that this bench takes its tools from.")


def in_turn(tools, questions, rounds):
    """All tools take a turn at each question, and that for so many rounds; gives samples by question and name."""
    samples = {question: {} for question in questions}
    for number in range(rounds):
        for question, how in questions.items():
            for name, ask in how.items():
                tool = next((tool for tool in tools if tool.name == name.split(",")[0]), None)
                if tool is None:
                    continue
                sample = ask() if isinstance(tool, Muster) else ask(tool)
                samples[question].setdefault(name, []).append(sample)
                p90 = f", p90 {sample.p90_s * 1e3:.1f} ms" if sample.p90_s is not None else ""
                rate = f"{sample.rate:,.0f}/s, " if sample.rate else ""
                print(f"round {number + 1}: {question}: {name}: {rate}{sample.requests:,} requests, {sample.cpu_us:.1f} µs each, "
                      f"{sample.peak_bytes / 1024**2:.1f} MiB{p90}", file=sys.stderr, flush=True)
    return samples


def table(names, rows, samples):
    """A row for each figure, worked out from samples of one question and, if need be, of another: median, and range below it."""
    names = [name for name in names if any(name in of for of in samples.values())]
    print(f"\n{'':60}" + "".join(f"{name:>20}" for name in names))
    for label, question, base, value, form in rows:
        medians, ranges = [], []
        for name in names:
            of = samples[question].get(name)
            few = samples[base].get(name) if base else None
            values = [value(sample, less) for sample, less in zip(of or [], few or [None] * len(of or []))]
            values = [value for value in values if value is not None]
            medians.append(form.format(statistics.median(values)) if values else "–")
            ranges.append(f"({form.format(min(values))} to {form.format(max(values))})" if values else "")
        print(f"{label:60}" + "".join(f"{text:>20}" for text in medians))
        print(f"{'':60}" + "".join(f"{text:>20}" for text in ranges))
    print()


def others_cpu():
    """CPU seconds that this machine spent on anything but this bench, or that were taken from it; interrupts are in neither."""
    user, nice, system, _, _, _, _, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK") - ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("muster", type=pathlib.Path)
    parser.add_argument("--oha", default=next((path for path in ["target/oha/bin/oha", shutil.which("oha")]
                                               if path and pathlib.Path(path).exists()), None))
    parser.add_argument("--python", default=next((path for path in ["target/peers/bin/python"] if pathlib.Path(path).exists()), None),
                        help="an interpreter with azure-iot-device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["https", "mqtt"])
    asked = parser.parse_args()
    if os.cpu_count() < 2:
        raise SystemExit("one core for the server and one for the tool: this machine has only one")
    os.sched_setaffinity(0, {SERVER_CORE})
    others = others_cpu()
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
          f"{time.strftime('%Y-%m-%d', time.gmtime())}; load {os.getloadavg()[0]:.2f} at the start; {asked.rounds} rounds in turn: "
          "median (range)")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        muster = Muster(asked.muster.resolve(), folder)
        if asked.only != "mqtt":
            https(muster, folder, asked.oha, asked.rounds)
        if asked.only != "https":
            mqtt(muster, folder, asked.python, asked.rounds)
        print(f"{muster.void} of {muster.turn} runs of muster were void, that is, late; when more is due than can be done, it has to be.")
    # Clocks of processes and of the machine tick apart: what is next to nothing can come out below it.
    share = max(0.0, (others_cpu() - others) / (time.monotonic() - BEGUN) / os.cpu_count())
    print(f"What was not of this bench took {share:.1%} of this machine's time.")


if __name__ == "__main__":
    main()
