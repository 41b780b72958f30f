#!/usr/bin/env python3
"""What does one HTTPS registration cost the generator, and what does it cost oha?

Both make the same request (PUT .../register with a full TLS handshake) to the same `muster emulate`, in turn, so that a
change of the machine's speed meets both; the emulator assigns at once and issues no session tickets. Printed is CPU time
(user and system, whole process) per registration.

    cargo build --release && cargo install oha --root target/oha
    python3 benches/registration.py target/release/muster target/oha/bin/oha [ROUNDS] [REGISTRATIONS] [RATE]

Both are paced at RATE a second. Needs Python's standard library only.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

EMULATOR = """
version = 1
[emulator]
id_scope = "0ne00000001"
[emulator.dps]
assign = "0s"
polls = 0
[enrollment.plant]
group_key = { env = "MUSTER_BENCH_KEY" }
"""

SCENARIO = """
version = 1
seed = 1
[target]
kind = "azure"
dps = "%(dps)s"
id_scope = "0ne00000001"
ca_file = "%(ca)s"
[enrollment.plant]
group_key = { env = "MUSTER_BENCH_KEY" }
[fleet.devices]
provision = "https"
count = %(count)d
start.rate = "%(rate)d/s"
provision = "https"
connect = "none"
"""

KEY = base64.b64encode(hashlib.sha512(b"a key for benches").digest()).decode()


def token(scope, registration_id):
    key = hmac.new(base64.b64decode(KEY), registration_id.encode(), hashlib.sha256).digest()
    sr = urllib.parse.quote(f"{scope}/registrations/{registration_id}", safe="")
    expiry = str(int(time.time()) + 3600)
    mac = hmac.new(key, f"{sr}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(mac), safe="")
    return f"SharedAccessSignature sr={sr}&sig={signature}&se={expiry}&skn=registration"


def cpu_of(command, environment):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return user, system, done


def main():
    muster, oha = sys.argv[1:3]
    rounds, count, rate = (int(text) for text in (sys.argv[3:] + ["7", "4000", "800"][len(sys.argv) - 3:]))
    environment = {"MUSTER_BENCH_KEY": KEY, "PATH": "/usr/bin:/bin"}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "emulator.toml").write_text(EMULATOR)
        command = [muster, "emulate", folder / "emulator.toml", "--dir", folder, "--port", "0", "--threads", "1"]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            for line in server.stdout:
                if line.startswith("DPS"):
                    dps = line.split()[1]
                if line.startswith("ready"):
                    break
            facts = {"dps": dps, "ca": folder / "ca.pem", "count": count, "rate": rate}
            (folder / "registration.toml").write_text(SCENARIO % facts)
            url = f"https://{dps}/0ne00000001/registrations/devices-00000/register?api-version=2019-03-31"
            runs = {
                "muster": [muster, "run", folder / "registration.toml", "--no-progress", "--threads", "1",
                           "--output", folder / "results"],
                "oha": [oha, "--no-tui", "--disable-keepalive", "-n", str(count), "-c", "100", "-q", str(rate),
                        "--cacert", folder / "ca.pem", "-m", "PUT", "--output-format", "json",
                        "-H", f"Authorization: {token('0ne00000001', 'devices-00000')}",
                        "-H", "Content-Type: application/json; charset=utf-8",
                        "-d", json.dumps({"registrationId": "devices-00000"}), url],
            }
            costs = {name: [] for name in runs}
            print(f"{count} registrations at {rate}/s, {rounds} rounds in turn; CPU µs per registration (user + system)")
            for _ in range(rounds):
                for name, command in runs.items():
                    user, system, done = cpu_of(command, environment)
                    if name == "oha":
                        codes = json.loads(done.stdout)["statusCodeDistribution"]
                        assert codes == {"200": count}, codes
                    else:
                        assert done.returncode in (0, 97), (done.returncode, done.stdout, done.stderr)
                        assert f"{count:,} assigned" in done.stdout, done.stdout
                    costs[name].append((user + system) / count * 1e6)
                    print(f"  {name:7} {costs[name][-1]:6.0f}  ({user / count * 1e6:.0f} + {system / count * 1e6:.0f})")
            ratios = [ours / theirs for ours, theirs in zip(costs["muster"], costs["oha"])]
            for name, values in costs.items():
                print(f"{name:7} median {statistics.median(values):.0f} µs, {min(values):.0f} to {max(values):.0f}")
            print(f"ratio   median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} (goal: at most 1.10)")
        finally:
            server.terminate()
            server.wait(timeout=20)


if __name__ == "__main__":
    main()
