// Tomorrow: what power costs by market, what to buy and why, the odds of a peak, reserves; each opens to its records.

import { get } from "../data";
import { h, headRow, put, s, type Child } from "../dom";
import { num, stamp } from "../format";
import { panel, recordsButton } from "../panels";

interface Price { at: number; usd_per_mwh: number | null; published: boolean }
interface MarketDay { market: string; operator: string; kind: string; zone: string; currency: string; usd_per_unit: number | null; published_at: number | null; prices: Price[]; published: boolean }
interface SiteBid { site_id: string; name: string; market: string; mwh: number; held_mwh: number; closed: boolean; hours: { at: number; mw: number; reason: string }[] }
interface PeakRule { rule: string; operator: string; zone: string; in_season: boolean; usd_per_mw: number; sites: number; told: number; hours: { at: number; probability: number }[]; windows: { at: number; probability: number; usd_per_mwh: number; known_at: number }[] }
interface Reserve { id: string; site_id: string; product: string; status: string; mw: number; at: number; until: number; usd_per_mw_h: number }
interface Offer { site_id: string; product: string; zone: string; closes: string; called_by: string; hours: { at: number; mw: number; asks: number[]; reason: string }[] }
interface Tomorrow { now: number; markets: MarketDay[]; purchase: SiteBid[]; purchase_note: string; peaks: PeakRule[]; reserves: Reserve[]; offers: Offer[]; offers_note: string }

const EVERY_MS = 60_000;
const DAY_S = 86_400;

export function tomorrowPage(root: HTMLElement): () => void {
  document.title = "Tomorrow · Tieline";
  const said = h("p", { class: "said", role: "status" }, "Working tomorrow out…"), body = h("div", { class: "people" });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Tomorrow"), h("p", { class: "note" }, "Prices that are published are marked; the others are expected. Nothing is submitted from here: tieline bid --out FILE writes what to submit.")), said, body);
  const show = (): void => {
    get<Tomorrow>("/api/tomorrow").then((t) => {
      put(said, "");
      put(body, prices(t), purchases(t), peaks(t), offers(t), reserves(t));
    }).catch((error: Error) => put(said, error.message));
  };
  show();
  const timer = setInterval(show, EVERY_MS);
  return () => clearInterval(timer);
}

const table = (heads: string[], rows: Child[], label: string): Child => h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", { class: "audit" }, headRow(heads), h("tbody", {}, rows)));
const window = (at: number, zone: string): string => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: zone }).format(at * 1000);
const hour = (at: number, zone: string): string => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone }).format(at * 1000);

function prices(t: Tomorrow): HTMLElement {
  const rows = t.markets.map((m) => {
    const told = m.prices.map((p) => p.usd_per_mwh).filter((x): x is number => x !== null);
    const top = told.length ? m.prices.reduce((a, b) => ((b.usd_per_mwh ?? -Infinity) > (a.usd_per_mwh ?? -Infinity) ? b : a)) : null;
    const when = m.kind === "tariff" ? "a tariff" : m.published_at === null ? "as it settles" : m.published ? "published" : `out at ${hour(m.published_at, m.zone)} there`;
    const mean = told.reduce((a, b) => a + b, 0) / Math.max(1, told.length);
    const local = m.currency === "USD" || !told.length ? null : h("small", { class: "local" }, m.usd_per_unit === null ? `no rate of ${m.currency}` : `${num(mean / m.usd_per_unit, 2)} ${m.currency}`);
    return h("tr", {}, h("th", { scope: "row" }, m.market.split(/(?<=_)/).map((part) => [part, h("wbr")])), h("td", { class: "n" }, told.length ? num(mean, 2) : "unknown", local), h("td", {}, curve(m)), h("td", {}, when),
      h("td", { class: "n" }, top ? `${num(top.usd_per_mwh!, 2)} at ${hour(top.at, m.zone)}` : ""), h("td", { class: "n" }, told.length ? num(Math.min(...told), 2) : ""),
      h("td", {}, recordsButton(m.market, [{ stream: "PriceTick", subject: m.market, since: t.now - DAY_S, until: t.now + 2 * DAY_S }])));
  });
  return panel("Price by market", "USD/MWh over tomorrow's local day: mean, and below it in the market's own currency at today's rate; the day's course; highest with its local hour, lowest", null, "full", h("div", { class: "day-prices" }, table(["Market", "Mean", "By hour", "Known", "Highest", "Lowest", ""], rows, "Price by market"))).el;
}

/** A day's course, each hour a step between the day's lowest and highest; what is only expected is drawn thinner. */
function curve(m: MarketDay): Child {
  const known = m.prices.flatMap((p, n) => (p.usd_per_mwh === null ? [] : [[n, p.usd_per_mwh] as const]));
  if (known.length < 2) return null;
  const all = known.map(([, usd]) => usd), low = Math.min(...all), span = Math.max(...all) - low || 1;
  const d = known.map(([n, usd], k) => `${k ? "L" : "M"}${n} ${(29 - 28 * (usd - low) / span).toFixed(2)}H${n + 1}`).join("");
  return s("svg", { viewBox: `0 0 ${m.prices.length} 30`, preserveAspectRatio: "none", class: `spark course${m.published ? "" : " expected"}`, role: "img", "aria-label": `${m.market} by hour, from ${num(low, 2)} to ${num(low + span, 2)} USD/MWh` }, s("path", { d }));
}

function purchases(t: Tomorrow): HTMLElement {
  if (!t.purchase.length) return panel("Purchase", t.purchase_note, null, "full").el;
  const byMarket = new Map<string, SiteBid[]>();
  for (const site of t.purchase) byMarket.set(site.market, [...(byMarket.get(site.market) ?? []), site]);
  const plots = [...byMarket].map(([market, sites]) => dayPlot(t, market, sites));
  const boxes = t.purchase.map((s) => {
    const zone = zoneOf(t, s.market);
    return h("details", {}, h("summary", {}, `${s.site_id}: ${num(s.mwh, 1)} MWh in ${s.market}`, s.held_mwh ? `, ${num(s.held_mwh, 1)} MWh held by legs` : "", s.closed ? " (the auction has closed)" : ""),
      table(["Hour there", "MW", "Why"], s.hours.map((x) => h("tr", {}, h("td", {}, hour(x.at, zone)), h("td", { class: "n" }, num(x.mw, 1)), h("td", { class: "detail" }, x.reason))), `Purchase of ${s.site_id}`),
      recordsButton(`the purchase of ${s.site_id}`, [{ stream: "PriceTick", subject: s.market, since: t.now - DAY_S, until: t.now + 2 * DAY_S }, { stream: "NetworkTick" }, { stream: "Purchase", subject: s.site_id }]));
  });
  return panel("Purchase", "What would be bought at the expected prices, by market and hour. An hour opens to what each site buys and why, and to its records", null, "full", plots, boxes).el;
}

const zoneOf = (t: Tomorrow, market: string): string => t.markets.find((m) => m.market === market)?.zone ?? "UTC";

/** Tomorrow in one market: megawatts as columns, the price as a line over them, the chance of a peak below; each hour a button. */
function dayPlot(t: Tomorrow, market: string, sites: SiteBid[]): HTMLElement {
  const m = t.markets.find((x) => x.market === market), zone = m?.zone ?? "UTC", rule = t.peaks.find((r) => m && r.operator === m.operator);
  const ats = [...new Set(sites.flatMap((site) => site.hours.map((x) => x.at)))].sort((a, b) => a - b);
  const usd = new Map((m?.prices ?? []).map((p) => [p.at, p])), bought = ats.map((at) => sites.reduce((sum, site) => sum + (site.hours.find((x) => x.at === at)?.mw ?? 0), 0));
  const chance = ats.map((at) => rule?.hours.find((w) => w.at === at)?.probability ?? 0);
  const most = Math.max(...bought, 1e-9), all = ats.flatMap((at) => usd.get(at)?.usd_per_mwh ?? []), low = Math.min(...all), span = Math.max(...all) - low || 1, likely = Math.max(...chance);
  const bars = ats.map((_, n) => s("rect", { x: n + 0.12, width: 0.76, y: 96 - 90 * (bought[n]! / most), height: 90 * (bought[n]! / most), class: "bought" }));
  const line = ats.map((at, n) => { const p = usd.get(at)?.usd_per_mwh; return p === null || p === undefined ? "" : `${n && typeof usd.get(ats[n - 1]!)?.usd_per_mwh === "number" ? "L" : "M"}${n} ${(94 - 86 * (p - low) / span).toFixed(2)}H${n + 1}`; }).join("");
  const odds = ats.map((_, n) => (chance[n] ? s("rect", { x: n + 0.3, width: 0.4, y: 118 - 16 * (chance[n]! / likely), height: 16 * (chance[n]! / likely), class: "odds" }) : null));
  const picture = s("svg", { viewBox: `0 0 ${ats.length} 120`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars, s("path", { d: line, class: m?.published ? "price-line" : "price-line expected" }), odds);
  const opened = h("div", { class: "day-hour", role: "status" }, h("p", { class: "note" }, "Choose an hour."));
  const buttons = ats.map((at, n) => {
    const p = usd.get(at)?.usd_per_mwh ?? null, says = `${num(bought[n], 1)} MW at ${p === null ? "an unknown price" : `${num(p, 2)} USD/MWh`}${chance[n] ? `, ${num(chance[n]! * 100, 2)} % chance of a peak` : ""}`;
    const button = h("button", { type: "button", "aria-label": `${hour(at, zone)}: ${says}`, title: `${hour(at, zone)}: ${says}`, "aria-pressed": "false" }, h("span", { "aria-hidden": "true" }, hour(at, zone).slice(0, 2)));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      const rows = sites.flatMap((site) => site.hours.filter((x) => x.at === at).map((x) => h("tr", {}, h("th", { scope: "row" }, site.site_id), h("td", { class: "n" }, num(x.mw, 1)), h("td", { class: "detail" }, x.reason))));
      const asks = [{ stream: "PriceTick", subject: market, since: at, until: at + 3600 }, ...(rule ? [{ stream: "PeakOdds", subject: rule.rule, since: at, until: at + 3600 }] : []), { stream: "NetworkTick" }, ...sites.map((site) => ({ stream: "Purchase", name: `Bought by ${site.site_id}`, subject: site.site_id, since: at, until: at + 3600 }))];
      put(opened, h("header", {}, h("h4", {}, `${hour(at, zone)} there: ${says}`), recordsButton(`${hour(at, zone)} in ${market}`, asks)), table(["Site", "MW", "Why"], rows, `Purchase in ${market} at ${hour(at, zone)}`));
    });
    return button;
  });
  const mwh = sites.reduce((sum, site) => sum + site.mwh, 0);
  return h("section", { class: "day-plot" }, h("h3", {}, `${market}: ${num(mwh, 1)} MWh for ${sites.length} ${sites.length === 1 ? "site" : "sites"}${sites.every((x) => x.closed) ? " (the auction has closed)" : ""}`),
    h("p", { class: "note day-keys" }, h("i", { class: "dot bought" }), `up to ${num(most, 1)} MW `, all.length ? [h("i", { class: "dot price-line" }), `${num(low, 2)} to ${num(low + span, 2)} USD/MWh${m?.published ? "" : ", expected"} `] : "price unknown ", likely > 0 ? [h("i", { class: "dot odds" }), `up to ${num(likely * 100, 2)} % chance of a peak (${rule!.rule})`] : ""),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Tomorrow in ${market} by hour` }, h("div", { class: "day-grid" }, picture, h("div", { class: "hours" }, buttons))), opened);
}

function peaks(t: Tomorrow): HTMLElement {
  const parts = t.peaks.map((r) => {
    const head = h("h3", {}, `${r.rule} (${r.operator}): a MW drawn in one peak costs ${num(r.usd_per_mw, 0)} USD, ${r.sites} sites pay`);
    const why = !r.in_season ? "Out of season." : !r.told ? "No odds are known: no system load was read, or it is too early in the day." : r.windows.length ? "" : "No window of the next days is likelier than 0.1 %.";
    return h("section", {}, head, why ? h("p", { class: "note" }, why) : table(["Window", "Chance", "Adds, USD/MWh", "Told"], r.windows.map((w) => h("tr", {}, h("td", { class: "n" }, window(w.at, r.zone)), h("td", { class: "n" }, `${num(w.probability * 100, 2)} %`), h("td", { class: "n" }, num(w.usd_per_mwh, 0)), h("td", { class: "n" }, window(w.known_at, r.zone)))), `Odds of ${r.rule}`),
      recordsButton(`the odds of ${r.rule}`, [{ stream: "PeakOdds", subject: r.rule, since: t.now - DAY_S, until: t.now + 2 * DAY_S }, { stream: "SystemLoad", subject: r.operator }]));
  });
  return panel("Coincident peaks", parts.length ? "Windows likelier than 0.1 %, in the time of the operator" : "No site of this fleet pays for a coincident peak", null, "full", parts).el;
}

function offers(t: Tomorrow): HTMLElement {
  if (!t.offers.length) return panel("Reserves to offer", t.offers_note, null, "full").el;
  const boxes = t.offers.map((o) => {
    const most = Math.max(...o.hours.map((x) => x.mw));
    return h("details", {}, h("summary", {}, `${o.site_id}, ${o.product}: up to ${num(most, 1)} MW in ${o.hours.length} hours; called by ${o.called_by}, offers close ${o.closes}`),
      table(["Hour there", "MW", "At least, USD/MW and h", "Why"], o.hours.map((x) => h("tr", {}, h("td", {}, hour(x.at, o.zone)), h("td", { class: "n" }, num(x.mw, 1)), h("td", { class: "n" }, x.asks.map((a) => num(a, 2)).join(", ")), h("td", { class: "detail" }, x.reason))), `Offers of ${o.site_id} as ${o.product}`),
      recordsButton(`the offers of ${o.site_id} as ${o.product}`, [{ stream: "ReservePrice", subject: o.product, since: t.now - 22 * DAY_S, until: t.now + 2 * DAY_S }, { stream: "NetworkTick" }, { stream: "Commitment", subject: o.site_id }]));
  });
  return panel("Reserves to offer", "What would be offered of tomorrow's load; a megawatt is offered to every product and awarded once. tieline reserves --out FILE writes what to submit", null, "full", boxes).el;
}

function reserves(t: Tomorrow): HTMLElement {
  const rows = t.reserves.map((r) => h("tr", {}, h("th", { scope: "row" }, r.id), h("td", {}, r.site_id), h("td", {}, r.product), h("td", {}, r.status), h("td", { class: "n" }, num(r.mw, 1)), h("td", {}, stamp(r.at)), h("td", {}, stamp(r.until)), h("td", { class: "n" }, num(r.usd_per_mw_h, 2)),
    h("td", {}, recordsButton(r.id, [{ stream: "Commitment", subject: r.site_id }]))));
  return panel("Reserves", rows.length ? "Offered, or standing" : "None is offered and none stands", null, "full", rows.length ? table(["Promise", "Site", "Product", "Status", "MW", "From", "Until", "USD/MW and h", ""], rows, "Reserves") : null).el;
}
