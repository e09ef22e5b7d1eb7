"""What nvidia-smi says, in the forms of its maker's manual; nothing of it was measured on hardware here."""

import asyncio
from pathlib import Path

import pytest

from tieline.clock import wall_now
from tieline.edge.device import Applied, Reading, Unreachable, believable
from tieline.edge.nodes import power
from tieline.edge.nodes.power import GpuNodes, NoGpuError, parsed, read_gpus
from tieline.fleet.physics import GPU_AUX
from tieline.fleet.sites import NodeGroup
from tieline.records import Reason, Setpoint

EIGHT = "\n".join(f"{n}, GPU-{n}, NVIDIA H100 80GB HBM3, {600 + n}.25, 700.00, 98, 61" for n in range(8))


def group(nodes: int = 1) -> NodeGroup:
    return NodeGroup(id="s.gpu", feeder="s.f-gpu", node="8xH100", nodes=nodes, model="m", hardware="real")


def tool(folder: Path, script: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def read(nodes: GpuNodes) -> Reading | Unreachable:
    return asyncio.run(nodes.read(wall_now()))


def test_eight_cards_are_one_node_and_the_host_is_named_an_estimate(tmp_path: Path) -> None:
    found = read(GpuNodes(group(), tool(tmp_path, f"cat <<'E'\n{EIGHT}\nE")))
    assert isinstance(found, Reading)
    boards = sum(600.25 + n for n in range(8))
    assert found.power_w == pytest.approx(boards * 1.35 * (1 + GPU_AUX))
    assert found.estimated_w == pytest.approx(boards * 0.35 * (1 + GPU_AUX))
    assert (found.devices, found.devices_heard, found.silent_w, found.temp_c) == (8, 8, 0.0, 61.0)
    assert believable(found, GpuNodes(group()).highest_w) is None


def test_what_is_not_read_counts_at_its_rating(tmp_path: Path) -> None:
    lost = EIGHT.replace("600.25", "[Unknown Error]").replace("601.25", "[N/A]")
    nodes = GpuNodes(group(2), tool(tmp_path, f"cat <<'E'\n{lost}\nE"))
    found = read(nodes)
    assert isinstance(found, Reading)
    assert (found.devices, found.devices_heard) == (16, 6)
    assert found.silent_w == pytest.approx(10 / 16 * nodes.highest_w)
    setpoint = Setpoint(unit_id="s.gpu", target_w=0.0, reason=Reason(rule="x", text="x"))
    assert isinstance(asyncio.run(nodes.apply(setpoint, wall_now())), Applied)


@pytest.mark.parametrize(
    ("word", "watts"),
    [
        ("312.5", 312.5),
        ("[N/A]", None),
        ("[Not Supported]", None),
        ("nan", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_a_figure_that_is_none_is_none_and_never_zero(word: str, watts: float | None) -> None:
    (card,) = parsed(f"0, GPU-1, NVIDIA L4, {word}, 72.00, [N/A], 40")
    assert (card.power_w, card.limit_w, card.busy_share, card.temp_c) == (watts, 72.0, None, 40.0)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'No devices were found'; exit 6", "No devices were found"),
        ("echo 'NVIDIA-SMI has failed because it could not communicate with the driver'; exit 9", "communicate"),
        ("echo 'Field \"power.draw\" is not a valid field to query.'; exit 2", "not a valid field"),
        ("echo hello", "named no GPU"), ("sleep 5", "did not answer"), ("yes 0, a", "without an end|did not answer"),
    ],
)  # fmt: skip
def test_where_no_card_can_be_read_it_is_one_line(
    tmp_path: Path, script: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "TIMEOUT_S", 0.4)
    with pytest.raises(NoGpuError, match=says) as caught:
        asyncio.run(read_gpus(tool(tmp_path, script)))
    assert "\n" not in str(caught.value)
    found = read(GpuNodes(group(), str(tmp_path / "nvidia-smi")))
    assert isinstance(found, Unreachable)


def test_without_the_tool_the_absence_is_said() -> None:
    found = read(GpuNodes(group(), "no-such-nvidia-smi"))
    assert isinstance(found, Unreachable)
    assert "is not installed" in found.why
