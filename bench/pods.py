"""Plays the Helm chart without a cluster: `make deploy-pods` (root, for network namespaces; about a minute).

The chart is rendered, and each of its pods becomes a network namespace with an address of its own, whose `hosts` knows
the names that the cluster's DNS would. There the pod's own words run: first those of its init container, then those of
its container, with the paths of a folder for those of its volumes. A site joins with the words that the chart's notes
give, one request goes through each gateway to its engine, then the pod that leads is killed and replaced as a
StatefulSet would. It is not a cluster: no kubelet, no image, no probes but those that are asked here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import helm_python
import yaml

from fleet_hosts import Hosts, permitted

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import running

from tieline.store.lead.lease import look_at
from tieline.store.place import StorePlace

ROOT = Path(__file__).resolve().parents[1]
TIELINE = ROOT / ".venv" / "bin" / "tieline"
RELEASE, SPACE = "east", "tieline"
PATIENCE_S = 90.0
FLEET = """
[fleet]
name = "Played"
invented = true
model = "tieline-selftest"
[dispatch]
policy = "strike"
interval_s = 60
[feeds]
source = "synthetic"
[[model]]
name = "tieline-selftest"
engine = "llama.cpp"
path = "selftest"
slots = 4
usd_per_million_input = "1"
usd_per_million_output = "2"
[[tenant]]
id = "demo"
name = "Demo"
[[tenant.key]]
id = "demo-key"
generate = true
[[site]]
id = "one"
name = "one"
region = "home"
lat = 31
lon = -100.0
interconnect_mw = 10
mode = "act"
contract = { basis = "fixed", fixed_usd_per_mwh = 50 }
rigs = [{ model = "Antminer S21", mw = 5 }]
gpus = [{ node = "8xH100", count = 2, replicas_real = 1 }]
"""


class Pod:
    """One pod of a StatefulSet: its folder outlives it, as its claim would."""

    def __init__(self, hosts: Hosts, host: str, folder: Path, template: dict[str, Any], name: str) -> None:
        self.hosts, self.host, self.name = hosts, host, name
        self.spec = template["spec"]
        self.folder = folder / name
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.hosts.address(self.host)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def port(self, name: str) -> int:
        return int(next(one["containerPort"] for one in self.spec["containers"][0]["ports"] if one["name"] == name))

    def words(self, text: str) -> str:
        """Paths of the pod's volumes are its folder's here."""
        text = text.replace("$(POD_NAME)", self.name).replace("/home/tieline/data", str(self.data))
        return re.sub(r"(?<![\w/])/(given|keys)/", rf"{self.folder}/\1/", text)

    def start(self) -> None:
        """What the kubelet does: the init container to its end, then the container."""
        self.data.mkdir(parents=True, exist_ok=True)
        first, main = self.spec["initContainers"][0], self.spec["containers"][0]
        shell = self.words(first["args"][0]).replace("tieline machine", f"{TIELINE} machine")
        subprocess.run([*self.hosts.within(self.host), *first["command"], shell], check=True, capture_output=True)
        words = [self.words(one) for one in main["args"]]
        with (self.folder / "out.log").open("ab") as out:
            self.process = subprocess.Popen([*self.hosts.within(self.host), TIELINE, *words], stdout=out, stderr=out)

    def run(self, *words: str) -> str:
        """`kubectl exec`."""
        done = subprocess.run([*self.hosts.within(self.host), TIELINE, *words], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{self.name}: {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def kill(self) -> None:
        """All its processes at once, as when its machine dies."""
        pids = subprocess.run(
            ["ip", "netns", "pids", self.hosts.within(self.host)[3]], capture_output=True, text=True, check=True
        )
        for pid in pids.stdout.split():
            subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        if self.process is not None:
            self.process.wait()

    def said(self) -> str:
        return (self.folder / "out.log").read_text(errors="replace")


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    if not permitted():
        print("Network namespaces are not permitted here: nothing was played.")
        return 3
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with running() as server, tempfile.TemporaryDirectory(prefix="tlpods", dir=memory) as place:
        folder = Path(place)
        objects = _rendered(server.url())
        sets = [one for one in objects if one["kind"] == "StatefulSet"]
        names = [(one, f"{one['metadata']['name']}-{n}") for one in sets for n in range(one["spec"]["replicas"])]
        letters = "abcdefghijklmnop"[: len(names) + 1]
        hosts = Hosts(letters)
        pods = {
            name: Pod(hosts, letters[n], folder, one["spec"]["template"], name) for n, (one, name) in enumerate(names)
        }
        try:
            _names(hosts, pods, letters, next(one for one in objects if one["kind"] == "ConfigMap"))
            _give(folder, pods, objects)
            return _play(pods, hosts, letters[-1], folder)
        finally:
            for pod in pods.values():
                pod.kill()
            for space in (hosts.within(letter)[3] for letter in letters):
                shutil.rmtree(f"/etc/netns/{space}", ignore_errors=True)
            hosts.close()


def _rendered(url: str) -> list[dict[str, Any]]:
    values = {
        "image": {"repository": "registry.example.org/tieline"}, "fleet": FLEET,
        "store": {"url": url, "passwordSecret": "tieline-db"},
    }  # fmt: skip
    with helm_python.Chart.load(ROOT / "deploy" / "helm" / "tieline") as chart:
        texts = chart.render(values, name=RELEASE, namespace=SPACE).items()
    return [one for name, text in texts if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def _names(hosts: Hosts, pods: dict[str, Pod], letters: str, config: dict[str, Any]) -> None:
    """Each host knows every pod as the cluster's DNS would name it."""
    lines = ["127.0.0.1 localhost"]
    for pod in pods.values():
        service = pod.name.rpartition("-")[0]
        lines.append(f"{pod.address} {pod.name}.{service}.{SPACE}.svc.cluster.local {pod.name}")
    for letter in letters:
        etc = Path("/etc/netns") / hosts.within(letter)[3]
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "hosts").write_text("\n".join(lines) + "\n")


def _give(folder: Path, pods: dict[str, Pod], objects: list[dict[str, Any]]) -> None:
    """The map and the secrets that pods mount, made with the words that values.yaml gives for it."""
    text = next(one["data"]["fleet.toml"] for one in objects if one["kind"] == "ConfigMap")
    (folder / "fleet.toml").write_text(text)
    safe = folder / "safe"
    _tieline("machine", "make", "--config", str(folder / "fleet.toml"), "--data-dir", str(safe))
    for pod in pods.values():
        given, keys = pod.folder / "given", pod.folder / "keys"
        given.mkdir(parents=True)
        keys.mkdir()
        (given / "fleet.toml").write_text(text)
        sources = next(one for one in pod.spec["volumes"] if one["name"] == "given")["projected"]["sources"]
        if any("secret" in source for source in sources):
            (given / "db.password").write_text("unused over this socket\n")
        part = pod.spec["containers"][0]["name"]
        _tieline("machine", "keys", part, "--data-dir", str(safe), "--out", str(keys / "machine.json"))


def _play(pods: dict[str, Pod], hosts: Hosts, outside: str, folder: Path) -> int:
    began = time.monotonic()
    for pod in pods.values():
        pod.start()
    gateways = [pod for name, pod in pods.items() if "gateway" in name]
    consoles = [pod for name, pod in pods.items() if "console" in name]
    for gateway in gateways:  # it answers, and says that nothing is behind it yet
        _until(partial(_says, gateway, "/healthz"), pods, f"{gateway.name} answers")
        assert _status(gateway, "/readyz") == 503
    for console in consoles:
        _until(partial(_says, console, "/healthz"), pods, f"{console.name} answers")
    print(f"{len(pods)} pods answer after {time.monotonic() - began:.0f} s", flush=True)
    token = pods[f"{RELEASE}-link-0"].run("site", "token", "one", "--data-dir", str(pods[f"{RELEASE}-link-0"].data))
    words = [*hosts.within(outside), TIELINE]
    subprocess.run([*words, "join", token, "--data-dir", str(folder / "site")], check=True, capture_output=True)
    with (folder / "site.log").open("ab") as out:
        site = subprocess.Popen([*words, "run", "site", "--data-dir", str(folder / "site")], stdout=out, stderr=out)
    try:
        for gateway in gateways:
            _until(partial(_says, gateway, "/readyz"), pods, f"{gateway.name} has the site's engine")
            print(f"{gateway.name}: {_asked(gateway, folder)}", flush=True)
        leader = _leader(pods)
        killed = time.monotonic()
        leader.kill()
        _until(lambda: _leader(pods, but=leader) is not leader, pods, "another core leads")
        print(f"{leader.name} killed: another leads after {time.monotonic() - killed:.1f} s", flush=True)
        before = len(leader.said())
        leader.start()
        _until(lambda: "stands by" in leader.said()[before:], pods, "the replaced core stands by")
        print(f"{gateways[0].name}, afterwards: {_asked(gateways[0], folder)}", flush=True)
    finally:
        site.terminate()
        site.wait(30)
    return 0


def _leader(pods: dict[str, Pod], but: Pod | None = None) -> Pod:
    url = re.search(r'url = "(.*)"', next(iter(pods.values())).folder.parent.joinpath("fleet.toml").read_text())
    assert url is not None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        row = look_at(StorePlace(next(iter(pods.values())).data, url[1]), ["core"])["core"]
        holder = "" if row is None else row.holder.partition("#")[0]
        if holder in pods and pods[holder] is not but:
            return pods[holder]
        time.sleep(0.2)
    raise TimeoutError("no core leads")


def _asked(gateway: Pod, folder: Path) -> str:
    key = (folder / "safe" / "run" / "demo_key").read_text().strip()
    body = {"model": "tieline-selftest", "max_tokens": 8, "messages": [{"role": "user", "content": "What is a rig?"}]}
    request = urllib.request.Request(
        f"http://{gateway.address}:{gateway.port('gateway')}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return repr(json.load(answer)["choices"][0]["message"]["content"])


def _status(pod: Pod, path: str) -> int:
    port = pod.port("gateway" if "gateway" in pod.name else "console")
    try:
        with urllib.request.urlopen(f"http://{pod.address}:{port}{path}", timeout=3) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _says(pod: Pod, path: str) -> bool:
    return _status(pod, path) == 200


def _until(condition: Callable[[], bool], pods: dict[str, Pod], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            for pod in pods.values():
                print(f"--- {pod.name}\n{pod.said()[-1500:]}")
            raise TimeoutError(f"within {PATIENCE_S:.0f} s it was not so: {what}")
        time.sleep(0.2)


def _tieline(*words: str) -> None:
    subprocess.run([TIELINE, *words], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
