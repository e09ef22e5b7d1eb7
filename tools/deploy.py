"""Checks what `deploy/` ships, with the tools that read it: `make deploy-check`.

The chart is rendered by Helm's own code and each object held against Kubernetes' schemas (unknown fields refused); the
fleet's file in it is read by the configuration; each of a list of mistakes in the values has to be refused by name. The
units go through `systemd-analyze verify`, the balancers' files through the balancers. What is not installed is named.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import yaml

from tieline import config

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "tieline"
# The oldest and the newest that are tried of what the chart says it is for.
KUBERNETES = ("1.27", "1.37")

Values = dict[str, Any]

PLAIN: Values = {
    "image": {"repository": "registry.example.org/tieline"},
    "fleet": "",
    "store": {"url": "postgresql://tieline@db.example.org/tieline", "passwordSecret": "tieline-db"},
}
# Beside the plain ones: sites elsewhere, everything set.
OUTSIDE: Values = {
    "link": {"domain": "link.example.org", "servers": 5},
    "gateway": {"replicas": 4, "environment": {"ENGINE_KEY": {"secret": "engines", "key": "one"}}},
    "console": {"replicas": 1},
    "outside": {"enabled": True, "annotations": {"example.org/kind": "network"}},
    "image": {"repository": "registry.example.org/tieline", "tag": "0.1.0-1", "pullSecrets": ["registry"]},
    "storageClass": "fast",
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "power", "operator": "Exists"}],
}
# What is put wrong, and the word of it that the refusal has to hold.
MISTAKES: tuple[tuple[Values, str], ...] = (
    ({"gatway": {"replicas": 3}}, "gatway"),
    ({"gateway": {"replica": 3}}, "replica"),
    ({"link": {"servers": 2}}, "servers"),
    ({"store": {"url": "postgresql://tieline:secret@db/tieline", "passwordSecret": "tieline-db"}}, "url"),
    ({"image": {"repository": ""}}, "repository"),
    ({"console": {"auth": "none"}}, "auth"),
    ({"fleet": "[link]\nport = 1\n"}, "fleet"),
    ({"outside": {"enabled": True}}, "link.domain"),
    ({"core": {"disk": "much"}}, "disk"),
)


def main() -> int:
    fleet = subprocess.run(
        [Path(sys.executable).with_name("tieline"), "config", "example"], capture_output=True, text=True, check=True
    ).stdout
    wrong = [*_chart(_without_doors(fleet)), *_units(), *_balancers()]
    for line in wrong:
        print(f"WRONG  {line}")
    return 1 if wrong else 0


def _without_doors(fleet: str) -> str:
    """The example fleet without the tables that the chart writes itself."""
    kept, out = [], False
    for line in fleet.splitlines(keepends=True):
        if line.startswith("["):
            out = line.strip("[] \n").partition(".")[0] in ("store", "link", "gateway", "console")
        if not out:
            kept.append(line)
    return "".join(kept)


def _chart(fleet: str) -> Iterator[str]:
    plain = PLAIN | {"fleet": fleet}
    with helm_python.Chart.load(CHART) as chart:
        for name, values in (("plain", plain), ("outside", plain | OUTSIDE)):
            found = helm_python.lint(CHART, values, strict=True)
            yield from (f"chart, {name}: {one['error']}" for one in found["messages"] if one["severity"] > 1)
            objects = _objects(chart, values)
            for one in objects:
                yield from _object(one)
            yield from _names(objects)
            yield from _read(objects)
            print(f"chart, {name}: {len(objects)} objects, Kubernetes {' and '.join(KUBERNETES)}")
        for mistake, word in MISTAKES:
            refusal = _refused(partial(chart.render, plain | mistake))
            if refusal is None or word not in refusal:
                yield f"chart: {mistake} is {'taken' if refusal is None else f'refused with {refusal!r}'}"
            else:
                print(f"chart: refused as it should be: {refusal.splitlines()[-1].strip()}")


def _objects(chart: helm_python.Chart, values: Values) -> list[Values]:
    rendered = chart.render(values, name="east", namespace="tieline")
    texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one is not None]


def _object(one: Values) -> Iterator[str]:
    for version in KUBERNETES:
        wrong = _refused(partial(kubernetes_validate.validate, one, version, strict=True))
        if wrong is not None:
            yield f"{one['kind']} {one['metadata']['name']}, Kubernetes {version}: {wrong}"


def _names(objects: list[Values]) -> Iterator[str]:
    """Objects that name each other do so rightly: services their pods and ports, pods the map that they mount."""
    maps = {one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"}
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in objects if one["kind"] == "StatefulSet"}
    for name, pod in pods.items():
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", ()):
                if "configMap" in source and source["configMap"]["name"] not in maps:
                    yield f"{name} mounts {source['configMap']['name']}, which is not there"
    for one in objects:
        if one["kind"] != "Service":
            continue
        selector = dict(one["spec"]["selector"])
        selector.pop("statefulset.kubernetes.io/pod-name", None)
        chosen = [pod for pod in pods.values() if selector.items() <= pod["metadata"]["labels"].items()]
        ports = {port["name"] for pod in chosen for port in pod["spec"]["containers"][0].get("ports", ())}
        missing = {port["targetPort"] for port in one["spec"].get("ports", ())} - ports
        if len(chosen) != 1 or missing:
            yield f"Service {one['metadata']['name']} chooses {len(chosen)} kinds of pods, without ports {missing}"


def _read(objects: list[Values]) -> Iterator[str]:
    """The fleet's file is one; each part is one that the program has."""
    for one in objects:
        if one["kind"] == "ConfigMap":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "fleet.toml"
                path.write_text(one["data"]["fleet.toml"])
                loaded = config.load(path)
        if one["kind"] == "StatefulSet":
            words = one["spec"]["template"]["spec"]["containers"][0]["args"]
            done = subprocess.run(
                [Path(sys.executable).with_name("tieline"), *words, "--help"], capture_output=True, text=True
            )
            if done.returncode:
                yield f"{one['metadata']['name']}: {done.stderr.strip()}"
    servers = next(one["spec"]["replicas"] for one in objects if one["kind"] == "StatefulSet" and _part(one) == "link")
    if len(loaded.link.servers) != servers:
        yield f"the fleet's file names {len(loaded.link.servers)} servers of the link, there are {servers}"


def _part(one: Values) -> str:
    return str(one["metadata"]["labels"]["app.kubernetes.io/component"])


def _units() -> Iterator[str]:
    """systemd looks for each unit's program, so that one is put where they say."""
    units = sorted((DEPLOY / "systemd").glob("*.service"))
    if (tool := _tool("systemd-analyze", f"{len(units)} systemd units")) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for unit in units:
            copy = Path(folder) / unit.name
            copy.write_text(unit.read_text().replace("/opt/tieline/bin/tieline", sys.executable))
            copies.append(copy)
        done = subprocess.run([tool, "verify", *copies], capture_output=True, text=True)
    yield from (f"systemd: {line}" for line in done.stderr.splitlines() if any(unit.name in line for unit in units))
    if done.returncode:
        yield f"systemd-analyze verify: exit {done.returncode}"
    print(f"systemd-analyze verify: {len(units)} units")


def _balancers() -> Iterator[str]:
    haproxy, nginx = DEPLOY / "haproxy" / "gateways.cfg", DEPLOY / "nginx" / "gateways.conf"
    if (tool := _tool("haproxy", haproxy.name)) is not None:
        yield from _run(tool, "-c", "-q", "-f", str(haproxy))
    if (tool := _tool("nginx", nginx.name)) is not None:
        yield from _run(tool, "-t", "-q", "-g", "pid /dev/null; error_log stderr;", "-c", str(nginx))


def _run(*words: str) -> Iterator[str]:
    done = subprocess.run(words, capture_output=True, text=True)
    print(" ".join(words[:2]), "exit", done.returncode)
    if done.returncode:
        yield f"{words[0]}: {done.stderr.strip() or done.stdout.strip()}"


def _tool(name: str, what: str) -> str | None:
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        print(f"NOT CHECKED  {what}: {name} is not installed")
    return found


def _refused(call: Callable[[], object]) -> str | None:
    try:
        call()
    except (helm_python.HelmError, kubernetes_validate.ValidationError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
