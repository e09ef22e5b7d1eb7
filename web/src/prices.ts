// Prices against strikes: per market, its curve and the band of prices above which its rig groups stop.

import type { Curve, Group, Overview } from "./data";
import { Chart, colour, fade, FONT, timeAxis, tooltip, valueAxis, type Option } from "./chart";
import { h, patch } from "./dom";
import { openRecords } from "./drawer";
import { brief, clock, count, DASH, day, mw, num } from "./format";
import { kindTag } from "./drawer";
import { tipTable } from "./panels";

export class Prices {
  readonly el = h("div", { class: "prices" });
  private readonly cards = new Map<string, Card>();
  private readonly fixed = h("div", { class: "fixed-prices" });

  update(o: Overview): void {
    for (const curve of o.markets.curves) {
      let card = this.cards.get(curve.market);
      if (!card) {
        card = new Card(curve.market);
        this.cards.set(curve.market, card);
        this.el.append(card.el);
      }
      card.update(curve, o.now);
    }
    if (o.markets.fixed.length) {
      patch(this.fixed, fixedCard(o.markets.fixed));
      this.el.append(this.fixed);
    }
  }

  dispose(): void {
    for (const card of this.cards.values()) card.dispose();
  }
}

const NAMES: Record<string, string> = {
  ERCOT_HUBAVG_DA: "ERCOT hub average, day ahead", PJM_DOM_RT: "PJM Dominion, real time", NYISO_CAPITL_DA: "NYISO Capital, day ahead",
  IESO_HOEP_RT: "Ontario HOEP, real time", CAISO_NP15_DA: "CAISO NP15, day ahead", BR_SE_PLD: "Brazil Southeast PLD",
  CL_QUILLOTA_MC: "Chile Quillota, marginal cost", IN_IEX_DA: "India IEX, day ahead", ZA_MEGAFLEX_TARIFF: "Megaflex time-of-use tariff",
};
export const marketName = (market: string): string => NAMES[market] ?? market.replace(/_/g, " ");

export class Card {
  readonly el: HTMLElement;
  private readonly head = h("p", { class: "state" });
  private readonly now = h("b", {});
  private readonly plot = h("div", { class: "plot", role: "img" });
  private readonly tag = h("span", {});
  private readonly band = h("span", { class: "band" });
  private chart: Chart | null = null;
  private curve: Curve | null = null;
  private at = 0;
  private readonly observer: IntersectionObserver;

  constructor(market: string) {
    const button = h("button", { type: "button", class: "quiet", "aria-label": `Records behind ${marketName(market)}` }, "Records");
    button.addEventListener("click", () => openRecords(marketName(market), [{ stream: "PriceTick", subject: market, until: this.at + 300 }, { stream: "PriceTick", name: "Ahead", subject: market, since: this.at }, { stream: "NetworkTick" }, { stream: "Plan" }]));
    this.el = h("article", { class: "price" }, h("header", {}, h("h3", {}, marketName(market)), this.tag, button), h("p", { class: "nowline" }, this.now, h("span", { class: "unit" }, " USD/MWh now"), this.band), this.head, this.plot);
    // A chart below the fold is drawn when it comes into sight.
    this.observer = new IntersectionObserver((seen) => {
      if (!seen.some((s) => s.isIntersecting) || this.chart) return;
      this.chart = new Chart(this.plot);
      this.draw();
      this.observer.disconnect();
    }, { rootMargin: "200px" });
    this.observer.observe(this.plot);
  }

  dispose(): void {
    this.observer.disconnect();
    this.chart?.dispose();
  }

  update(curve: Curve, now: number): void {
    this.curve = curve;
    this.at = now;
    this.now.textContent = num(curve.now_usd_per_mwh, 2);
    patch(this.tag, curve.kind ? kindTag(curve.kind) : null);
    this.band.textContent = curve.strike_low === null ? "" : curve.strike_low === curve.strike_high ? `strike ${brief(curve.strike_low)}` : `strikes ${brief(curve.strike_low)} to ${brief(curve.strike_high)}`;
    patch(this.head, ...sentence(curve));
    this.plot.setAttribute("aria-label", this.head.textContent ?? "");
    this.draw();
  }

  private draw(): void {
    const curve = this.curve;
    if (!this.chart || !curve) return;
    const at = this.at;
    this.chart.draw(() => option(curve, at));
  }
}

function sentence(c: Curve): (HTMLElement | string)[] {
  const known = c.groups.filter((g) => g.stops_above_usd_per_mwh !== null && g.stops_above_usd_per_mwh !== undefined);
  if (c.now_usd_per_mwh === null) return ["No price is known for now."];
  if (!known.length) return [`No strike is known for its ${count(c.groups.length, "rig group")}.`];
  const pays = known.filter((g) => g.stops_above_usd_per_mwh! > c.now_usd_per_mwh!);
  const mwPays = pays.reduce((t, g) => t + g.rated_mw, 0), mwAll = known.reduce((t, g) => t + g.rated_mw, 0);
  return [
    h("i", { class: `dot ${pays.length === known.length ? "mining" : pays.length ? "half" : "grid"}` }),
    pays.length === 0 && known.length > 1 ? `Not below the strike of any of ${known.length} groups: ${mw(mwAll)} stay off.` : known.length === 1 ? (pays.length ? `Below its group's strike: ${mw(mwAll)} pay.` : `Not below its group's strike: ${mw(mwAll)} stay off.`) : `Below the strike of ${pays.length} of ${count(known.length, "group")}: ${brief(mwPays)} of ${mw(mwAll)} pay.`,
  ];
}

function option(c: Curve, now: number): Option {
  const from = now - 86400, to = now + 86400;
  const values = c.points.map((p) => p[1]);
  const high = c.strike_high ?? 80;
  const peak = Math.max(...values, high), top = peak > high * 2.2 ? high * 2.2 : peak * 1.12;
  const bottom = Math.min(0, ...values);
  const past: (number | null)[][] = [], ahead: (number | null)[][] = [];
  for (const [at, value] of c.points) {
    const end = at + c.length_s;
    if (at <= now) past.push([at * 1000, value]);
    if (end > now) ahead.push([Math.max(at, now) * 1000, value]);
  }
  if (past.length) past.push([Math.min(now, (past[past.length - 1]![0] as number) / 1000 + c.length_s) * 1000, past[past.length - 1]![1]!]);
  if (ahead.length) ahead.push([(ahead[ahead.length - 1]![0] as number) + c.length_s * 1000, ahead[ahead.length - 1]![1]!]);
  const most = Math.max(...c.groups.map((g) => g.rated_mw), 1);
  const lines = c.groups
    .filter((g) => g.stops_above_usd_per_mwh !== null && g.stops_above_usd_per_mwh !== undefined)
    .map((g) => ({ yAxis: g.stops_above_usd_per_mwh, lineStyle: { color: colour("mining"), width: 0.75 + 1.5 * (g.rated_mw / most), opacity: 0.55, type: "solid" } }));
  const line = { showSymbol: false, emphasis: { disabled: true }, itemStyle: { color: colour("ink") } };
  const peakAt = c.points.find((p) => p[1] === Math.max(...values));
  return {
    grid: { left: 4, right: 8, top: 16, bottom: 2, containLabel: true },
    xAxis: timeAxis(from, to, { splitNumber: 4 }),
    yAxis: valueAxis({ min: bottom, max: top, splitNumber: 3, axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: (v: number) => (v === top && top !== Math.round(top) ? "" : num(v, 0)) } }),
    tooltip: tooltip((_, __) => null),
    series: [
      {
        type: "line", step: "end", data: past, ...line, lineStyle: { color: colour("ink"), width: 1.75 },
        markLine: { silent: true, symbol: "none", label: { show: false }, data: [...lines, { xAxis: now * 1000, lineStyle: { color: colour("muted"), width: 1, type: [2, 3], opacity: 1 } }] },
        markArea: c.strike_low === null ? undefined : { silent: true, itemStyle: { color: fade("mining", 0.13) }, data: [[{ yAxis: c.strike_low }, { yAxis: c.strike_high }]] },
      },
      { type: "line", step: "end", data: ahead, ...line, lineStyle: { color: colour("ink"), width: 1.5, type: [4, 3], opacity: 0.75 } },
      peakAt && peakAt[1] > top
        ? { type: "scatter", data: [[peakAt[0] * 1000, top]], symbolSize: 1, silent: true, label: { show: true, position: "bottom", formatter: `▲ ${brief(peakAt[1])} at ${clock(peakAt[0])}`, color: colour("ink"), fontFamily: FONT, fontSize: 11, backgroundColor: colour("panel"), padding: [1, 4] } }
        : null,
    ].filter((x) => x !== null),
    ...hover(c),
  };
}

function hover(c: Curve): Option {
  return {
    tooltip: tooltip((at) => {
      const point = [...c.points].reverse().find((p) => p[0] <= at + 1);
      if (!point) return null;
      const known = c.groups.filter((g) => g.stops_above_usd_per_mwh !== null && g.stops_above_usd_per_mwh !== undefined);
      const pays = known.filter((g) => g.stops_above_usd_per_mwh! > point[1]);
      return tipTable(`${day(point[0])}, from ${clock(point[0])} UTC`, [
        ["", point[2] ? "forecast" : "price", `${num(point[1], 2)} USD/MWh`],
        ["mining", "pays to mine", `${pays.length} of ${known.length} groups`],
        ["", "strikes", c.strike_low === null ? DASH : `${brief(c.strike_low)} to ${brief(c.strike_high)}`],
      ]);
    }),
  };
}

function fixedCard(groups: Group[]): HTMLElement {
  const high = Math.max(...groups.map((g) => Math.max(g.strike_usd_per_mwh ?? 0, g.price_usd_per_mwh ?? 0)), 1) * 1.05;
  const place = (v: number | null | undefined): string => `${((v ?? 0) / high) * 100}`;
  return h("article", { class: "price" },
    h("header", {}, h("h3", {}, "Fixed contracts")),
    h("p", { class: "state" }, "The contract's price ", h("i", { class: "dot ink" }), " against each group's strike ", h("i", { class: "dot mining" }), ", USD/MWh."),
    h("table", { class: "fixed" }, h("tbody", {}, groups.map((g) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("class", "dumbbell");
      svg.setAttribute("viewBox", "0 0 100 10");
      svg.setAttribute("preserveAspectRatio", "none");
      const mk = (tag: string, props: Record<string, string>): void => {
        const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [k, v] of Object.entries(props)) el.setAttribute(k, v);
        svg.append(el);
      };
      const a = place(g.price_usd_per_mwh), b = place(g.strike_usd_per_mwh);
      mk("line", { x1: "0", x2: "100", y1: "5", y2: "5", class: "rail" });
      mk("line", { x1: a, x2: b, y1: "5", y2: "5", class: (g.strike_usd_per_mwh ?? 0) > (g.price_usd_per_mwh ?? 0) ? "gain" : "loss" });
      mk("line", { x1: a, x2: a, y1: "1", y2: "9", class: "price-mark" });
      mk("line", { x1: b, x2: b, y1: "1", y2: "9", class: "strike-mark" });
      return h("tr", {}, h("td", {}, h("a", { href: `/site/${g.site_id}`, "data-nav": true }, g.site), h("small", {}, ` ${g.model.replace("Antminer ", "")}`)), h("td", { class: "rail-cell" }, svg), h("td", { class: "n" }, num(g.price_usd_per_mwh, 1)), h("td", { class: "n" }, num(g.strike_usd_per_mwh, 1)));
    }))));
}
