"""The clairvoyant problem as one programme for HiGHS, written apart from the code it checks.

Everything at once and nothing moved into a price: populations over modes, the site's limit, take-or-pay with a
binary for its level, tokens to replicas. What it leaves out (staged restore, spare replicas, loading) only a
policy pays.
"""

import highspy

from tieline.backtest.data import ScenarioWorld
from tieline.backtest.plant import true_prices
from tieline.dispatch import Settings, load_table
from tieline.fleet.physics import GPU_AUX, REBOOT_S, RIG_MODES, WAKE_S, aux_share, derate


def best_net(world: ScenarioWorld, settings: Settings) -> float:
    """USD of the best that hourly steps allow."""
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_rel_gap", 1e-6)
    table = load_table(settings.gpu_table)
    speed = table.tokens_per_s(settings.interactive_batch)
    w_per_token = table.power_w(speed) / speed * (1.0 + GPU_AUX)
    above, below = true_prices(world, settings)
    sites, span = world.fleet.sites, world.spans[0]
    earned = []
    constant = 0.0
    before = dict.fromkeys(range(len(sites)))
    waiting: list[list] = []  # [arrived, USD per token/s and hour, tokens/s, what ran of it]
    for slot in range(span.first, span.last, 4):
        now = world.when(slot).timestamp()
        draw = [[] for _ in sites]
        for n, site in enumerate(sites):
            limit, lit = site.interconnect.limit_w, 1.0
            for event in world.events:
                whole = event.at.timestamp() + event.notice_s <= now and now + 3600 <= event.until.timestamp()
                if event.site == n and whole and event.kind in ("order", "derate"):
                    limit = min(limit, event.limit_w or 0.0)
                if event.site == n and whole and event.kind == "outage":
                    limit, lit = 0.0, 0.0
            (group,) = site.rig_groups
            temp = float(world.temp_c[slot, n])
            aux, hot = aux_share(site.cooling, temp), derate(site.cooling, temp)
            usd = group.rated_hs / 1e15 / 24 * float(world.hashprice_usd[slot]) * settings.keeps * hot * lit
            meter, asleep = group.rated_w * hot * (1 + aux) * lit, 25.0 * group.rigs * (1 + aux) * lit
            normal, low, sleep, woken, booted = (model.addVariable(lb=0.0, ub=1.0) for _ in range(5))
            model.addConstr(normal + low + sleep <= 1.0)
            # All sleep before the first step; later only what slept can wake, the rest boots.
            if before[n] is None:
                model.addConstr(normal + low <= woken + booted)
            else:
                running, slept = before[n]
                model.addConstr(normal + low - running <= woken + booted)
                model.addConstr(1.0 * woken <= 1.0 * slept)
            before[n] = (normal + low, sleep)
            wear = settings.wear_usd_per_kw_start * group.rated_w / 1e3
            lost = RIG_MODES["low"].hash_share * usd / 3600.0  # per second of waking
            wakes, boots = WAKE_S[group.wake], max(REBOOT_S, WAKE_S[group.wake])
            earned.append(usd * normal + RIG_MODES["low"].hash_share * usd * low)
            earned.append(-(wear + wakes * lost) * woken - (wear + boots * lost) * booted)
            draw[n] = [(meter, normal), (RIG_MODES["low"].power_share * meter, low), (asleep, sleep)]
            site_limit = limit
            tokens = model.addVariable(lb=0.0)
            most = sum(u.nodes * u.replicas_per_node for u in site.node_groups) * speed * lit
            model.addConstr(1.0 * tokens <= most)
            draw[n].append((w_per_token, tokens))
            before[("tokens", n)] = tokens
            total = sum(w / 1e6 * variable for w, variable in draw[n])
            model.addConstr(total <= site_limit / 1e6)
            if site.contract.basis == "fixed" and site.contract.take_share > 0:
                take = site.contract.take_share * site.interconnect.limit_w / 1e6
                under, over = model.addVariable(lb=0.0, ub=take), model.addVariable(lb=0.0)
                full = model.addBinary()
                model.addConstr(under + over == total)
                model.addConstr(over <= 1e3 * full)
                model.addConstr(under >= take * full)
                earned.append(-float(below[slot, n]) * under - float(above[slot, n]) * over)
                constant -= float(above[slot, n] - below[slot, n]) * take
            else:
                earned.append(-float(above[slot, n]) * total)
        sold = {n: [] for n in range(len(sites))}
        for region, series in world.demand.items():
            served = []
            usd = settings.output_usd_per_mtok + settings.input_usd_per_mtok * float(world.inputs[region][slot])
            usd *= 3600.0 / 1e6
            offered = float(series[slot : slot + 4].mean())
            for n, site in enumerate(sites):
                if site.node_groups and site.region in (region, *world.reach[region]):
                    one = model.addVariable(lb=0.0)
                    served.append(one)
                    sold[n].append(one)
                    earned.append(usd * one)
            model.addConstr(sum(served) <= 0.8 * offered)
            waiting.append([slot, usd * settings.batch_tariff_share, 0.2 * offered, []])
        # Batch work of the last day may run now, anywhere.
        ran = []
        for arrived, usd, _, done in waiting:
            if slot <= arrived + 96:
                one = model.addVariable(lb=0.0)
                done.append(one)
                ran.append(one)
                earned.append(usd * one)
        shares = [model.addVariable(lb=0.0) for _ in sites]
        model.addConstr(sum(shares) - sum(ran) == 0.0)
        for n in range(len(sites)):
            model.addConstr(sum(sold[n]) + shares[n] <= 1.0 * before[("tokens", n)])
    for _, _, tokens, done in waiting:
        model.addConstr(sum(done) <= tokens)
    model.maximize(sum(earned))
    assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return model.getObjectiveValue() + constant
