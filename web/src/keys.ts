// The numbers that are read first. Each says how old it is and how much of the fleet it speaks for.

import type { Overview } from "./data";
import { h, patch, say } from "./dom";
import { openRecords, type Ask } from "./drawer";
import { age, DASH, ehs, hashrate, mw, num, power, si } from "./format";

export interface Tile { el: HTMLButtonElement; value: HTMLElement; unit: HTMLElement; sub: HTMLElement; foot: HTMLElement; extra: HTMLElement }

export function tile(name: string, asks: Ask[], cls = ""): Tile {
  const value = h("span", { class: "value" }, DASH), unit = h("span", { class: "unit" });
  const sub = h("p", { class: "sub" }), foot = h("p", { class: "foot" }), extra = h("div", { class: "extra" });
  const el = h("button", { type: "button", class: `tile ${cls}`, title: `Records behind ${name}` }, h("h2", {}, name), h("p", { class: "big" }, value, unit), extra, sub, foot);
  el.addEventListener("click", () => openRecords(name, asks));
  return { el, value, unit, sub, foot, extra };
}

export class KeyNumbers {
  readonly el: HTMLElement;
  private readonly power = tile("Power now", [{ stream: "Sample" }, { stream: "Plan" }, { stream: "PowerBill" }], "wide");
  private readonly hash = tile("Hashrate", [{ stream: "Sample" }]);
  private readonly price = tile("Hashprice", [{ stream: "NetworkTick" }]);
  private readonly tokens = tile("Tokens per second", [{ stream: "Usage", name: "Usage (real)" }, { stream: "Sample", name: "Sample (modelled)" }, { stream: "ReplicaState" }]);
  private readonly btc = tile("Bitcoin this month", [{ stream: "Payout" }, { stream: "Trade" }]);
  private readonly money = tile("Expected margin", [{ stream: "Plan" }, { stream: "PriceTick" }]);

  constructor() {
    const tiles = [this.power, this.hash, this.price, this.tokens, this.btc, this.money];
    this.el = h("section", { class: "keys", "aria-label": "Key numbers" }, tiles.map((t) => t.el));
  }

  update(o: Overview): void {
    const k = o.keys;
    const heard = k.units_heard === k.units ? "all units heard" : `${k.units - k.units_heard} ${k.units - k.units_heard === 1 ? "unit" : "units"} not heard`;
    const fresh = `${heard} · ${age(k.typical_age_s)}`;
    const [drawn, inUnit] = power(k.drawn_mw);
    say(this.power.value, drawn);
    say(this.power.unit, inUnit);
    patch(this.power.sub,
      part("mining", "mining", k.mining_mw), part("inference", "inference", k.inference_mw),
      part("aux", "auxiliary", k.aux_mw), part("grid", `left of ${mw(k.limit_mw)}`, k.grid_mw));
    patch(this.power.extra, bar([["mining", k.mining_mw], ["inference", k.inference_mw], ["aux", k.aux_mw], ["grid", k.grid_mw]], k.limit_mw));
    say(this.power.foot, fresh);
    this.power.foot.classList.toggle("bad", k.units_heard < k.units);

    const [rate, rateUnit] = hashrate(k.ehs, k.deployed_ehs);
    say(this.hash.value, rate);
    say(this.hash.unit, rateUnit);
    say(this.hash.sub, `of ${ehs(k.deployed_ehs)} deployed${k.ehs === null || !k.deployed_ehs ? "" : ` · ${num((100 * k.ehs) / k.deployed_ehs, 1)} %`}`);
    patch(this.hash.extra, bar([["mining", k.ehs]], k.deployed_ehs));
    say(this.hash.foot, fresh);

    say(this.price.value, num(k.hashprice_usd, 2));
    say(this.price.unit, "USD/PH/s/day");
    say(this.price.sub, k.btc_usd === null ? "no word from the network" : `BTC ${num(k.btc_usd, 0)} USD · difficulty ${si(k.difficulty)}`);
    say(this.price.foot, k.network_source ? `${k.network_source} · ${age(k.network_age_s)}` : "");

    const real = realTokens(o);
    const ready = o.replicas.filter((r) => r.state === "ready").length;
    say(this.tokens.value, real === null ? DASH : si(real));
    say(this.tokens.unit, "tok/s real");
    say(this.tokens.sub, k.modelled_tokens_s === null ? "none modelled" : `${si(k.modelled_tokens_s)} tok/s modelled, not served`);
    say(this.tokens.foot, o.replicas.length ? `${ready} of ${o.replicas.length} replicas ready` : "no replica is configured or heard");
    this.tokens.foot.classList.toggle("bad", ready < o.replicas.length);

    const figure = (name: string): string | null => o.month?.figures.find((f) => f.name === name)?.value ?? null;
    const produced = figure("bitcoin_produced");
    say(this.btc.value, produced === null ? DASH : num(Number(produced), 3));
    say(this.btc.unit, "BTC");
    const daily = figure("bitcoin_per_day"), cost = figure("power_cost_per_bitcoin");
    say(this.btc.sub, o.month ? `${daily === null ? DASH : num(Number(daily), 2)} BTC/day · power ${cost === null ? DASH : num(Number(cost), 0)} USD/BTC` : "closing the books…");
    say(this.btc.foot, o.month ? `${o.month.month}, credited${o.month.simulated ? " · simulated pool" : ""}` : "");

    say(this.money.value, k.planned_usd_per_h === null ? DASH : num(k.planned_usd_per_h, 0));
    say(this.money.unit, "USD/h");
    say(this.money.sub, k.price_usd_per_mwh === null ? "no power price known" : `power at ${num(k.price_usd_per_mwh, 2)} USD/MWh, mean by MW`);
    say(this.money.foot, "of the plans that are carried out, over power");
  }
}

function part(cls: string, name: string, value: number | null): HTMLElement {
  return h("span", { class: "part" }, h("i", { class: `dot ${cls}` }), h("b", {}, mw(value)), " ", name);
}

export function bar(parts: [string, number | null][], whole: number): SVGSVGElement {
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("class", "bar");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  let x = 0;
  for (const [cls, value] of parts) {
    const width = whole > 0 ? Math.max(0, Math.min(100 - x, (100 * (value ?? 0)) / whole)) : 0;
    const rect = document.createElementNS(NS, "rect");
    rect.setAttribute("class", `use-${cls}`);
    for (const [n, v] of [["x", x], ["width", width], ["height", 1]] as const) rect.setAttribute(n, String(v));
    svg.append(rect);
    x += width;
  }
  return svg;
}

/** Real tokens per second over the newest two intervals that have any rows. */
function realTokens(o: Overview): number | null {
  const at = o.series.columns.indexOf("real_tokens_s");
  const rows = o.series.rows.slice(-3);
  if (!rows.length) return null;
  return rows.reduce((t, r) => t + (r[at] ?? 0), 0) / rows.length;
}
