"""A fake Braiins OS rig: REST on port 80 and gRPC on 50051, as far as pausing, power targets and readings go; 4028.

The messages are those of Braiins' public API as pyasic carries them; they are imported when the first one starts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tieline.sim.rigs.machine import BOARDS, Machine
from tieline.sim.rigs.page import PageAnswer, PageRequest, serve_page

MAX_REQUEST, REQUEST_TIMEOUT_S = 4096, 5.0
VERSION = "2026-04-20-0-26ba61b9-26.04-plus"
SHORT_VERSION = "26.04"
TOKEN = "simulated-token"
# Of BosMinerStatus: normal, paused.
NORMAL, PAUSED = 2, 3


async def serve(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Port 4028: one request and one answer."""
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        try:
            words = str(json.loads(await reader.read(MAX_REQUEST))["command"]).split("+")
        except (ValueError, TypeError, KeyError):
            words = [""]
        answer = _one(rig, words[0])
        if len(words) > 1:
            answer = {word: [_one(rig, word)] for word in words} | {"id": 1}
        writer.write(json.dumps(answer).encode() + b"\x00")
        await writer.drain()


def _one(rig: Machine, command: str) -> dict[str, Any]:
    mhs = rig.hashrate_ths * 1e6
    rows: dict[str, list[dict[str, Any]]] = {
        "version": [{"API": "3.7", "BOSer": "boser-buildroot 0.1.0-26ba61b9"}],
        "devdetails": [{"DEVDETAILS": n, "ID": n, "Model": f"Bitmain {rig.model.name}"} for n in range(BOARDS)],
        "summary": [{"MHS 1m": mhs, "MHS 5s": mhs, "MHS av": mhs, "Elapsed": 100}],
        "devs": [{"ID": n + 1, "MHS 1m": mhs / BOARDS} for n in range(BOARDS)],
        "temps": [{"ID": n + 1, "Board": 50.0, "Chip": 62.0} for n in range(BOARDS)],
        "pools": [{"POOL": 0, "URL": rig.pool, "User": rig.worker, "Status": "Alive", "Stratum Active": True}],
    }
    status: dict[str, Any] = {"When": 1, "Description": "BOSer boser-buildroot simulated"}
    if command not in rows:
        return {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"} | status], "id": 1}
    return {"STATUS": [{"STATUS": "S", "Code": 1, "Msg": command} | status], command.upper(): rows[command], "id": 1}


async def serve_web(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Port 80: the public REST API, with a token for everything but the page itself."""
    await serve_page(reader, writer, lambda asked: _page(rig, asked))


def _page(rig: Machine, asked: PageRequest) -> PageAnswer:
    path = asked.path.removeprefix("/api/v1").strip("/")
    if asked.path == "/":
        return PageAnswer("<html><title>Braiins OS</title></html>")
    if path == "graphql":
        info = {"modelName": f"Bitmain {rig.model.name}"}
        return PageAnswer({"data": {"bosminer": {"info": info}, "bos": {"info": {"version": {"full": SHORT_VERSION}}}}})
    if path == "version":
        return PageAnswer({"major": 1, "minor": 7, "patch": 0})
    if path == "auth/login":
        return PageAnswer({"token": TOKEN, "timeout_s": 3600})
    if asked.headers.get("authorization", "").removeprefix("Bearer ") != TOKEN:
        return PageAnswer({"message": "unauthorized"}, 401)
    command = _PUT.get(path) if asked.method == "PUT" else None
    if command is not None:
        return command(rig, asked)
    if asked.method == "GET" and path in _READ:
        return PageAnswer(_READ[path](rig))
    return PageAnswer({"message": "not found"}, 404)


def _pause_web(rig: Machine, _: PageRequest) -> PageAnswer:
    return PageAnswer({"already_paused": False} if rig.pause() else {"message": "refused"}, _status(rig))


def _resume_web(rig: Machine, _: PageRequest) -> PageAnswer:
    return PageAnswer({"already_running": False} if rig.resume() else {"message": "refused"}, _status(rig))


def _reboot_web(rig: Machine, _: PageRequest) -> PageAnswer:
    rig.reboot()
    return PageAnswer({})


def _locate_web(rig: Machine, asked: PageRequest) -> PageAnswer:
    rig.light = asked.body.strip() == b"true"
    return PageAnswer({"enabled": rig.light})


def _pools_batch_web(rig: Machine, asked: PageRequest) -> PageAnswer:
    groups = json.loads(asked.body)
    took = rig.set_pools([(one["url"], one["user"]) for group in groups for one in group["pools"]])
    return PageAnswer(groups if took else {"message": "refused"}, _status(rig))


def _target_web(rig: Machine, asked: PageRequest) -> PageAnswer:
    took = rig.limit(float(asked.json().get("watt", 0)))
    return PageAnswer({"watt": asked.json().get("watt")} if took else {"message": "refused"}, _status(rig))


_PUT: dict[str, Callable[[Machine, PageRequest], PageAnswer]] = {
    "actions/pause": _pause_web,
    "actions/stop": _pause_web,
    "actions/resume": _resume_web,
    "actions/start": _resume_web,
    "actions/reboot": _reboot_web,
    "actions/locate": _locate_web,
    "performance/power-target": _target_web,
    "pools/batch": _pools_batch_web,
}


def _status(rig: Machine) -> int:
    return 409 if "refuse" in rig.faults else 200


def _details_web(rig: Machine) -> dict[str, Any]:
    return {
        "uid": rig.serial,
        "serial_number": rig.serial,
        "mac_address": rig.mac,
        "hostname": "simulated",
        "status": PAUSED if rig.says_sleep else NORMAL,
        "bos_version": {"current": VERSION, "major": VERSION, "bos_plus": True},
        "miner_identity": {"brand": 1, "model": 1, "name": rig.model.name, "miner_model": rig.model.name},
        "platform": 2,
        "bos_mode": 2,
        "bosminer_uptime_s": 100,
        "system_uptime_s": 100,
        "control_board_soc_family": 2,
    }


def _stats_web(rig: Machine) -> dict[str, Any]:
    rate = {"gigahash_per_second": rig.told("rate_ghs", rig.rate_ghs)}
    rates = {f"last_{span}": rate for span in ("5s", "15s", "30s", "1m", "5m", "15m", "30m", "1h", "24h")}
    nominal = {"gigahash_per_second": rig.model.hashrate_ths * 1e3}
    return {
        "miner_stats": {"real_hashrate": rates, "nominal_hashrate": nominal, "found_blocks": 0, "best_share": 0},
        "pool_stats": {"accepted_shares": 1, "rejected_shares": 0},
        "power_stats": {"approximated_consumption": {"watt": rig.told("watts", round(rig.said_w))}},
    }


def _boards_web(rig: Machine) -> dict[str, Any]:
    rate = {"gigahash_per_second": rig.rate_ghs / BOARDS}
    board = {
        "enabled": True, "chips_count": 114, "board_temp": {"degree_c": 50.0},
        "highest_chip_temp": {"temperature": {"degree_c": 62.0}},
        "stats": {"real_hashrate": {f"last_{s}": rate for s in ("5s", "1m", "5m")}, "nominal_hashrate": rate},
    }  # fmt: skip
    return {"hashboards": [{"id": str(n + 1), "serial_number": f"{rig.serial}{n}"} | board for n in range(BOARDS)]}


def _pools_web(rig: Machine) -> list[dict[str, Any]]:
    stats = {"accepted_shares": 1, "rejected_shares": 0, "last_share_time": None}
    pools = [
        {"uid": f"p{n}", "url": url, "user": user, "enabled": True, "alive": True, "active": True, "stats": stats}
        for n, (url, user) in enumerate(rig.pools)
    ]
    return [{"uid": "g", "name": "g", "pools": pools}]


def _tuner_web(rig: Machine) -> dict[str, Any]:
    target = {"watt": round(rig.limit_w or rig.model.power_w)}
    return {"overall_tuner_state": 3, "mode_state": {"powertargetmodestate": {"current_target": target}}}


_READ: dict[str, Callable[[Machine], dict[str, Any] | list[Any]]] = {
    "miner/details": _details_web,
    "miner/stats": _stats_web,
    "miner/hw/hashboards": _boards_web,
    "pools": _pools_web,
    "performance/tuner-state": _tuner_web,
    "cooling/state": lambda _: {"fans": [{"position": n, "rpm": 5000} for n in range(4)], "highest_temperature": {}},
    "configuration/miner": lambda rig: {"pool_groups": _pools_web(rig), "tuner": {"enabled": True, "tuner_mode": 1}},
    "configuration/constraints": lambda _: {},
    "miner/errors": lambda _: {"errors": []},
    "actions/locate": lambda rig: {"enabled": rig.light},
}


async def start_grpc(rig: Machine, host: str, port: int) -> Any:
    """A gRPC server for one rig; it has `close()`."""
    from grpclib.events import SendInitialMetadata, listen
    from grpclib.server import Server

    server = Server(await asyncio.to_thread(_services, rig))

    async def logged_on(event: Any) -> None:
        event.metadata["authorization"] = "simulated"

    listen(server, SendInitialMetadata, logged_on)
    await server.start(host, port)
    return server


def _services(rig: Machine) -> list[Any]:
    return [*_commanded(rig), _miners(rig), *_configured(rig)]


def _commanded(rig: Machine) -> list[Any]:
    """What sets the rig: signing on, pausing, power targets."""
    from pyasic.web.braiins_os.proto.braiins.bos import v1 as api

    class Authentication(api.AuthenticationServiceBase):  # type: ignore[misc]  # the library has no types
        async def login(self, message: Any) -> Any:
            return api.LoginResponse(token="simulated", timeout_s=3600)

    class Actions(api.ActionsServiceBase):  # type: ignore[misc]  # the library has no types
        async def pause_mining(self, message: Any) -> Any:
            before = rig.asleep
            _must(rig.pause())
            return api.PauseMiningResponse(already_paused=before)

        async def resume_mining(self, message: Any) -> Any:
            before = rig.asleep
            _must(rig.resume())
            return api.ResumeMiningResponse(already_mining=not before)

        async def stop(self, message: Any) -> Any:
            _must(rig.pause())
            return api.StopResponse()

        async def start(self, message: Any) -> Any:
            _must(rig.resume())
            return api.StartResponse()

    class PowerTargets(api.PerformanceServiceBase):  # type: ignore[misc]  # the library has no types
        async def set_power_target(self, message: Any) -> Any:
            _must(rig.limit(float(message.power_target.watt)))
            return api.SetPowerTargetResponse(power_target=message.power_target)

        async def get_tuner_state(self, message: Any) -> Any:
            target = api.Power(watt=round(rig.limit_w or rig.model.power_w))
            return api.GetTunerStateResponse(
                power_target_mode_state=api.PowerTargetModeState(current_target=target),
                overall_tuner_state=api.TunerState(3),
            )

    return [Authentication(), Actions(), PowerTargets()]


def _miners(rig: Machine) -> Any:
    """What the rig says of itself."""
    from pyasic.web.braiins_os.proto.braiins.bos import v1 as api

    class Miners(api.MinerServiceBase):  # type: ignore[misc]  # the library has no types
        async def get_miner_stats(self, message: Any) -> Any:
            watts = api.Power(watt=int(str(rig.told("watts", round(rig.said_w)))))
            rate = api.GigaHashrate(gigahash_per_second=rig.rate_ghs)
            return api.GetMinerStatsResponse(
                power_stats=api.MinerPowerStats(approximated_consumption=watts),
                miner_stats=api.WorkSolverStats(real_hashrate=api.RealHashrate(last_5_s=rate, last_1_m=rate)),
            )

        async def get_miner_details(self, message: Any) -> Any:
            return api.GetMinerDetailsResponse(
                uid=rig.serial,
                serial_number=rig.serial,
                mac_address=rig.mac,
                hostname="simulated",
                bos_version=api.BosVersion(current=VERSION),
                miner_identity=api.MinerIdentity(miner_model=f"Antminer {rig.model.name.removeprefix('Antminer ')}"),
                status=api.MinerStatus(PAUSED if rig.says_sleep else NORMAL),
            )

        async def get_hashboards(self, message: Any) -> Any:
            rate = api.GigaHashrate(gigahash_per_second=rig.rate_ghs / BOARDS)
            boards = [
                api.Hashboard(
                    id=str(n + 1), enabled=True, chips_count=108, serial_number=f"{rig.serial}{n}",
                    stats=api.WorkSolverStats(real_hashrate=api.RealHashrate(last_5_s=rate, last_1_m=rate)),
                )
                for n in range(BOARDS)
            ]  # fmt: skip
            return api.GetHashboardsResponse(hashboards=boards)

    return Miners()


def _configured(rig: Machine) -> list[Any]:
    """What is set up: pools, tuner, cooling."""
    from pyasic.web.braiins_os.proto.braiins.bos import v1 as api

    class Pools(api.PoolServiceBase):  # type: ignore[misc]  # the library has no types
        async def get_pool_groups(self, message: Any) -> Any:
            counts = api.PoolStats(accepted_shares=1, rejected_shares=1)
            pool = api.Pool(
                uid="p", url=rig.pool, user=rig.worker, enabled=True, alive=True, active=True, stats=counts
            )  # fmt: skip
            return api.GetPoolGroupsResponse(pool_groups=[api.PoolGroup(name="g", pools=[pool])])

    class Configuration(api.ConfigurationServiceBase):  # type: ignore[misc]  # the library has no types
        async def get_miner_configuration(self, message: Any) -> Any:
            return api.GetMinerConfigurationResponse(
                temperature=api.CoolingConfiguration(auto=api.CoolingAutoMode()),
                tuner=api.TunerConfiguration(enabled=True, tuner_mode=1),
            )

        async def get_constraints(self, message: Any) -> Any:
            return api.GetConstraintsResponse()

    class Cooling(api.CoolingServiceBase):  # type: ignore[misc]  # the library has no types
        async def get_cooling_state(self, message: Any) -> Any:
            return api.GetCoolingStateResponse()

    return [Pools(), Configuration(), Cooling()]


def _must(took: bool) -> None:
    """A refusal as gRPC says it."""
    from grpclib import GRPCError, Status

    if not took:
        raise GRPCError(Status.FAILED_PRECONDITION, "simulated refusal")
