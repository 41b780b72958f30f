#!/usr/bin/env python3
"""Do the manifests below deploy/kubernetes/ start what they promise?

    python3 tests/kubernetes.py target/release/muster

Carries out their Jobs on this machine, without a cluster: each container's command with its environment, both made of the
manifests as Kubernetes makes them (`$(NAME)`, references to the Secret and the ConfigMap, JOB_COMPLETION_INDEX), all indexes at
once; a volume is a folder, whose path takes the place of its mount. The merge has to pass, with all shards. Needs PyYAML, and ends
with 3 where that is missing.
"""

import base64
import datetime
import hashlib
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("needs PyYAML: pip install pyyaml")
    raise SystemExit(3)

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy" / "kubernetes"
KEY = base64.b64encode(hashlib.sha512(b"a group key for the manifests").digest()).decode()
RUN_ID = "0a1b2c3d"
# What may make a run void on a machine that others share; see tests/common/mod.rs.
LATE = ("The generator was late", "The generator had too much to do", "The generator did not keep the rate",
        "This machine took the time away")


def manifest(name):
    return yaml.safe_load((DEPLOY / name).read_text())


class Cluster:
    """What the Jobs refer to, and a folder for each of their volumes."""

    def __init__(self, folder, muster, key):
        self.folder = folder
        bin = folder / "bin"
        bin.mkdir()
        (bin / "muster").symlink_to(muster)
        self.path = f"{bin}:/usr/bin:/bin"
        secret, claim = manifest("secret.yaml"), manifest("volume.yaml")
        self.secrets = {secret["metadata"]["name"]: secret["stringData"] | ({"group-key": key} if key else {})}
        start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
        # As deploy/README.md has it made.
        self.maps = {"muster-run": {
            "fleet.toml": (DEPLOY / "fleet.toml").read_text(),
            "START_AT": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "RUN_ID": RUN_ID,
        }}
        self.claims = {claim["metadata"]["name"]: folder / "results"}
        (folder / "results").mkdir()

    def start(self, job, index=None):
        """Starts the container of a Job's pod."""
        pod = job["spec"]["template"]["spec"]
        [container] = pod["containers"]
        variables = self.variables(container, index)
        mounts = {}
        for mount in container["volumeMounts"]:
            [volume] = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
            mounts[mount["mountPath"]] = self.volume(volume)
        words = [expanded(word, variables) for word in container["command"] + container["args"]]
        for path, folder in mounts.items():
            words = [re.sub(rf"(?<![\w./-]){re.escape(path)}(?=[/\"\s]|$)", str(folder), word) for word in words]
        print("  " + " ".join(f"{name}={shlex.quote(variables[name])}" for name in variables if name != "GROUP_KEY"),
              shlex.join(words), flush=True)
        around = {"PATH": self.path, "HOME": "/", "HOSTNAME": "pod", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        return subprocess.Popen(words, env=around | variables, cwd=self.folder, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def variables(self, container, index):
        variables = {}
        for variable in container["env"]:
            if "value" in variable:
                variables[variable["name"]] = expanded(variable["value"], variables)
                continue
            [(kind, reference)] = variable["valueFrom"].items()
            known = {"secretKeyRef": self.secrets, "configMapKeyRef": self.maps}[kind]
            variables[variable["name"]] = known[reference["name"]][reference["key"]]
        if index is not None:
            variables["JOB_COMPLETION_INDEX"] = str(index)
        return variables

    def volume(self, volume):
        if "persistentVolumeClaim" in volume:
            return self.claims[volume["persistentVolumeClaim"]["claimName"]]
        reference = volume["configMap"]
        folder = self.folder / volume["name"]
        if not folder.exists():  # made once: another pod may be reading it
            folder.mkdir()
            for item in reference["items"]:
                (folder / item["path"]).write_text(self.maps[reference["name"]][item["key"]])
        return folder


def expanded(text, variables):
    """`$(NAME)` is a variable, `$$` a dollar, and a name that is not known stays as it is."""
    known = lambda match: "$" if match[0] == "$$" else variables.get(match[1], match[0])
    return re.sub(r"\$\$|\$\(([A-Za-z0-9_.-]+)\)", known, text)


def ended(process):
    try:
        out, err = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert KEY not in out + err
    return process.returncode, out, err


def placeholder_is_refused(muster):
    with tempfile.TemporaryDirectory() as folder:
        code, out, err = ended(Cluster(pathlib.Path(folder), muster, None).start(manifest("shards.yaml"), 0))
    assert code == 2 and "plant" in err and "REPLACE" not in out + err, (code, out, err)
    print(f"  the Secret as it is committed: exit code {code}, {err.strip().splitlines()[0]}")


def carried_out(muster):
    """The exit code of the merge, when everything but the generators' lateness is as it has to be."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        cluster = Cluster(folder, muster, KEY)
        job = manifest("shards.yaml")
        count = job["spec"]["completions"]
        assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["parallelism"] == count
        pods = [cluster.start(job, index) for index in range(count)]
        for code, out, err in [ended(pod) for pod in pods]:
            assert code in (0, 97), (code, out, err)
        code, out, err = ended(cluster.start(manifest("merge.yaml")))
        print(out)
        [merged] = (folder / "results" / RUN_ID).glob("*/result.json")
        text = merged.read_text()
        result = json.loads(text)
        assert KEY not in text
        assert result["facts"]["run_id"] == RUN_ID and len(result["merged"]["shards"]) == count, (out, err)
        assert all(threshold["holds"] for threshold in result["judgement"]["thresholds"]), out
        if code != 97:
            assert code == 0 and out.startswith("PASS"), (code, out, err)
        for reason in result["judgement"]["reasons"]:
            assert re.sub(r"^Shard \d+: ", "", reason).startswith(LATE), reason
        return code


def main():
    muster = pathlib.Path(sys.argv[1]).resolve()
    placeholder_is_refused(muster)
    for _ in range(3):
        if carried_out(muster) == 0:
            print("the manifests' shards and their merge pass")
            return
    print("the manifests' shards and their merge do what they promise; this machine is too busy for them to be on time")


if __name__ == "__main__":
    main()
