// What miners publish, checked: a month's table, its verdicts, why output changed, and the months before.
//
// Every figure has an address, /disclosures#FIGURE, and opens to its claims, their source spans and checks.

import { get } from "../data";
import { h, put, type Child } from "../dom";
import { num, words } from "../format";
import { panel, tipTable } from "../panels";
import { deskPanel } from "./desk";
import { gridPanel } from "./grid";
import { monthLines } from "./lines";

interface Cell { figure: string; value: number; shown: string; unit: string; computed: string | null; mark: string | null }
interface TableRow { issuer: string; month: string; included: boolean; why: string; ranks: Record<string, number>; cells: Record<string, Cell> }
interface Verdict { id: string; check: string; issuer: string; period: string; outcome: string; computation: string; says: string; residual: number | null; rule: string; figures: string[] }
interface Bridge { issuer: string; base: string; month: string; before: number; after: number; change: number; change_pct: number; steps: { name: string; btc: number; says: string }[]; computation: string }
interface Dashboard {
  month: string; months: string[]; issuers: string[]; rule: string; columns: { name: string; unit: string; meaning: string }[]; table: TableRow[];
  absent: { issuer: string; says: string }[]; sums: { column: string; value: number; unit: string; miners: string[]; coverage: string }[]; coverage: string; verdicts: Verdict[]; counts: Record<string, number>;
  bridges: Bridge[]; series: Record<string, Record<string, [string, number][]>>; checks: Record<string, string>;
}
interface Claim {
  id: string; figure: string; shown: string; unit: string; source: string; source_kind: string; published: string | null; known_at: string; document: string | null;
  span: [number, number] | null; quote: string; printed: string; method: string; rule: string | null; restated: boolean; approximate: boolean; note: string | null;
}
interface FigureView { id: string; issuer: string; period: string; field: string; scope: string | null; meaning: string; value: number; unit: string; computed: string | null; best: string | null; asked: string | null; claims: Claim[]; verdicts: Verdict[] }

const SERIES: [string, string][] = [
  ["btc_produced", "Produced, BTC"], ["btc_held_end", "Held at month end, BTC"], ["btc_sold", "Sold, BTC"], ["avg_operating_ehs", "Operating hashrate, EH/s"],
  ["deployed_ehs", "Deployed hashrate, EH/s"], ["efficiency_j_th", "Efficiency, J/TH"],
];

let takeOut: (claim: string, reason: string) => Promise<void> = async () => undefined;

export function disclosuresPage(root: HTMLElement): () => void {
  document.title = "Disclosures · Tieline";
  const month = h("select", { id: "month" }), back = h("button", { type: "button", class: "button plain", "aria-label": "Month before" }, "←"), on = h("button", { type: "button", class: "button plain", "aria-label": "Month after" }, "→");
  const files = h("span", { class: "files" }), counts = h("p", { class: "counts" }), table = h("div", { class: "scroll" }), rule = h("p", { class: "note" });
  const verdicts = h("ol", { class: "verdicts" }), bridge = h("div", {}), absent = h("div", { class: "absent", tabindex: "0", role: "region", "aria-label": "What is absent" });
  const which = h("select", { "aria-label": "Figure" }, SERIES.map(([name, shown]) => h("option", { value: name }, shown)));
  const who = h("select", { "aria-label": "Miner to mark" });
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": "Figures by month" }), waterfall = h("div", { class: "plot", role: "img", "aria-label": "Why production changed" });
  const peers = panel("Miners by month", "Each figure opens to its source and its checks", null, "full", table, rule);
  const history = panel("Months", "As printed; a month that is not in the book is a gap", null, "power-panel", h("div", { class: "filters" }, which, who), plot);
  const sector = gridPanel(), desk = deskPanel(() => {
    void load(view?.month);
    void sector.load();
  });
  takeOut = (claim, reason) => desk.withdraw(claim, reason);
  void sector.load();
  void desk.load().catch(() => undefined);
  put(root,
    h("div", { class: "page-head" }, h("h1", {}, "What miners publish, checked"), h("p", { class: "note" }, "Each figure as it was printed, with where; each check with its computation. An empty cell is not in the book.")),
    h("div", { class: "filters" }, h("label", { for: "month" }, "Month"), back, month, on, counts, files),
    h("div", { class: "layout" },
      peers.el,
      panel("Checks of the month", "What the arithmetic and the chain say", null, "power-panel", verdicts).el,
      panel("Why production changed", "From the month before, by cause; the steps add up to the printed change", null, "side-panel", bridge, waterfall).el,
      history.el,
      panel("Not in this month", "What is not in the book; who stopped, where a source says it", null, "side-panel", absent).el,
      sector.el, desk.el));

  let gone = false, view: Dashboard | null = null, charts: typeof import("../chart") | null = null;
  let lines: import("../chart").Chart | null = null, falls: import("../chart").Chart | null = null;
  const drawCharts = (): void => {
    if (!view || !charts || gone) return;
    lines ??= new charts.Chart(plot);
    falls ??= new charts.Chart(waterfall);
    monthLines(charts, lines, view.series[which.value] ?? {}, who.value, which.value === "efficiency_j_th");
    drawBridge(charts, falls, waterfall, view.bridges.find((b) => b.issuer === who.value) ?? view.bridges[0]);
  };
  void import("../chart").then((lib) => {
    charts = lib;
    drawCharts();
  });

  let ranked = "produced";
  const drawTable = (): void => {
    if (!view) return;
    put(table, peerTable(view, ranked, (column) => {
      ranked = column;
      drawTable();
    }));
  };
  const load = async (wanted?: string): Promise<void> => {
    try {
      view = await get<Dashboard>(`/api/disclosures${wanted ? `?month=${wanted}` : ""}`);
    } catch (error) {
      put(table, h("p", { class: "bad" }, (error as Error).message));
      return;
    }
    if (gone) return;
    const v = view;
    if (month.options.length !== v.months.length) put(month, [...v.months].reverse().map((m) => h("option", { value: m }, m)));
    month.value = v.month;
    if (!who.options.length) {
      put(who, v.issuers.map((i) => h("option", { value: i }, i)));
      who.value = v.table[0]?.issuer ?? v.issuers[0] ?? "";
    }
    put(counts, (["differs", "explained", "open", "rounding", "holds"] as const).filter((o) => v.counts[o]).map((o) => h("span", { class: `verdict-tag ${o}` }, `${v.counts[o]} ${o === "differs" ? "differ" : o === "holds" ? "hold" : o}`)));
    put(files, (["csv", "json", "parquet"] as const).map((f) => h("a", { href: `/api/disclosures/table.${f}?month=${v.month}`, download: true }, f.toUpperCase())), h("a", { href: "/api/disclosures/table.csv", download: true }, "all months, CSV"));
    drawTable();
    put(rule, `Ranked: ${v.coverage}. ${v.rule}`);
    put(verdicts, v.verdicts.length ? [...v.verdicts].sort((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome)).map(verdictItem) : h("li", { class: "wait" }, "No check applies to what was printed for this month."));
    put(bridge, bridgeText(v, who.value));
    put(absent, h("ul", {}, v.absent.map((a) => h("li", {}, h("b", {}, a.issuer), " ", a.says))));
    waterfall.hidden = v.bridges.length === 0;
    drawCharts();
  };
  month.addEventListener("change", () => void load(month.value));
  const step = (by: number): void => {
    if (!view) return;
    const next = view.months[view.months.indexOf(view.month) + by];
    if (next) void load(next);
  };
  back.addEventListener("click", () => step(-1));
  on.addEventListener("click", () => step(1));
  which.addEventListener("change", drawCharts);
  who.addEventListener("change", () => {
    if (view) put(bridge, bridgeText(view, who.value));
    drawCharts();
  });

  const byHash = (): void => {
    const name = decodeURIComponent(location.hash.slice(1));
    if (name) void openFigure(name);
  };
  addEventListener("hashchange", byHash);
  const wanted = location.hash.match(/\.(\d{4}-\d{2})\./)?.[1];
  void load(wanted).then(byHash);
  return () => {
    gone = true;
    removeEventListener("hashchange", byHash);
    lines?.dispose();
    falls?.dispose();
    sector.end();
  };
}

const NAMES: Record<string, string> = { per_ehs: "Per EH/s", ltv: "LTV", implied_realised: "Implied realised", chain_ratio: "Chain ratio" };
/** A field's name as it is written: btc_held_end -> BTC held end. */
const named = (field: string): string => words(field).replace(/\b(btc|usd|ltv)\b/g, (w) => w.toUpperCase()).replace(/\behs\b/, "EH/s").replace(/\bph\b/, "PH/s");
const heading = (column: string): string => NAMES[column] ?? named(column).replace(/^[a-z]/, (c) => c.toUpperCase());
const signed = (value: number, places: number): string => `${value < 0 ? "−" : "+"}${num(Math.abs(value), places)}`;
const ORDER = ["differs", "open", "explained", "rounding", "holds"];
/** A cell as it was printed or worked out, no digit added; money in millions. */
const printed = (cell: Cell): string => (cell.unit === "USD" ? short(cell.value, cell.unit) : cell.shown.replace("-", "−"));
const short = (value: number, unit: string): string => (value < 0 ? "−" : "") + size(Math.abs(value), unit);
const size = (value: number, unit: string): string => (unit === "USD" ? num(value / 1e6, 1) : num(value, Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : unit === "ratio" ? 4 : 2));

function peerTable(v: Dashboard, ranked: string, rankBy: (column: string) => void): Child {
  const used = v.columns.filter((c) => v.table.some((r) => r.cells[c.name]));
  if (!v.table.length) return h("p", { class: "wait" }, `No miner's production for ${v.month} is in the book.`);
  const by = v.table.some((r) => r.ranks[ranked]) ? ranked : "produced";
  const rank = (r: TableRow): number => r.ranks[by] ?? 99;
  const head = (c: Dashboard["columns"][number]): HTMLElement => {
    const unit = h("small", {}, c.unit === "USD" ? "USD million" : c.unit);
    if (!v.table.some((r) => r.ranks[c.name])) return h("th", { scope: "col", title: c.meaning }, heading(c.name), unit);
    const choose = h("button", { type: "button", class: "rank-by", title: `${c.meaning}; rank by it` }, heading(c.name), unit);
    choose.addEventListener("click", () => rankBy(c.name));
    return h("th", { scope: "col", "aria-sort": c.name === by ? "other" : null }, choose);
  };
  return h("table", { class: "peers" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Miner"), used.map((c) => head(c)))),
    h("tbody", {}, [...v.table].sort((a, b) => rank(a) - rank(b)).map((r) => h("tr", { class: r.included ? "" : "apart" },
      h("th", { scope: "row", title: r.why }, r.issuer, h("small", {}, !r.included ? "not ranked" : r.ranks[by] ? `rank ${r.ranks[by]}` : "no rank")),
      used.map((c) => {
        const cell = r.cells[c.name];
        if (!cell) return h("td", { class: "n empty" }, "");
        return h("td", { class: "n" }, h("a", { href: `#${cell.figure}`, class: cell.computed ? "computed" : "", title: cell.computed ?? "as printed" }, cell.mark && cell.mark !== "holds" ? h("i", { class: `verdict-dot ${cell.mark}`, title: cell.mark }) : null, printed(cell)));
      })))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Sum", h("small", {}, `of those that published`)), used.map((c) => {
      const sum = v.sums.find((x) => x.column === c.name);
      return h("td", { class: "n", title: sum ? sum.miners.join(", ") : "" }, sum ? short(sum.value, sum.unit) : "", sum ? h("small", {}, sum.coverage.replace(" that published", "")) : null);
    }))));
}

function verdictItem(v: Verdict): HTMLElement {
  return h("li", { class: "verdict" }, h("span", { class: `verdict-tag ${v.outcome}` }, v.outcome),
    h("div", {}, h("p", {}, h("b", {}, `${v.issuer} ${v.period}`), ` ${words(v.check.replace(/-/g, " "))}. `, v.says), h("code", {}, v.computation),
      h("p", { class: "from" }, v.figures.map((f) => h("a", { href: `#${f}` }, named(f.split(".").slice(1).join(" ")))))));
}

function bridgeText(v: Dashboard, issuer: string): Child {
  const found = v.bridges.find((b) => b.issuer === issuer) ?? v.bridges[0];
  if (!found) return h("p", { class: "wait" }, "No miner printed what a bridge needs for both months.");
  return [h("p", {}, h("b", {}, found.issuer), ` ${found.base} to ${found.month}: ${num(found.before, 2)} to ${num(found.after, 2)} BTC, `, h("b", {}, `${signed(found.change, 2)} BTC (${signed(found.change_pct, 1)} %)`)),
    h("table", { class: "steps" }, found.steps.map((s) => h("tr", {}, h("td", {}, s.name), h("td", { class: "n" }, signed(s.btc, 2)), h("td", { class: "muted" }, s.says)))),
    h("p", { class: "note" }, "The columns below are cut off at the foot: see the axis.")];
}

const NARROW: Record<string, string> = { "deployed hashrate": "deployed", "operating share": "share", "fees and luck": "fees, luck" };

type Lib = typeof import("../chart");

function drawBridge(lib: Lib, chart: import("../chart").Chart, el: HTMLElement, b: Bridge | undefined): void {
  el.hidden = b === undefined;
  if (!b) return;
  const names = [b.base, ...b.steps.map((s) => s.name), b.month];
  const clear: number[] = [], up: (number | string)[] = [], down: (number | string)[] = [], whole: (number | string)[] = [];
  let level = b.before;
  const lowest = Math.min(b.before, b.after, ...b.steps.map((s) => (level += s.btc)));
  const floor = Math.max(0, Math.floor((lowest * 0.9) / 10) * 10);
  level = b.before;
  clear.push(0); whole.push(b.before - floor); up.push("-"); down.push("-");
  for (const s of b.steps) {
    const next = level + s.btc;
    clear.push(Math.min(level, next) - floor);
    up.push(s.btc >= 0 ? s.btc : "-");
    down.push(s.btc < 0 ? -s.btc : "-");
    whole.push("-");
    level = next;
  }
  clear.push(0); whole.push(b.after - floor); up.push("-"); down.push("-");
  const room = Math.floor((el.clientWidth - 50) / names.length) - 2;
  chart.draw(() => ({
    grid: { left: 4, right: 8, top: 14, bottom: 4, containLabel: true },
    xAxis: { type: "category", data: names, axisTick: { show: false }, axisLine: { lineStyle: { color: lib.colour("line-strong") } }, axisLabel: { color: lib.colour("muted"), fontFamily: lib.FONT, fontSize: room < 56 ? 9 : 10.5, lineHeight: 12, interval: 0, width: room, overflow: "break", formatter: (name: string) => (room < 56 ? NARROW[name] ?? name : name) } },
    yAxis: lib.valueAxis({ axisLabel: { color: lib.colour("muted"), fontFamily: lib.FONT, fontSize: 11, formatter: (x: number) => num(x + floor, 0) } }),
    tooltip: { ...lib.tooltip(() => null), formatter: (p: { dataIndex: number }[]) => {
      const i = p[0]?.dataIndex ?? 0, step = b.steps[i - 1];
      return step ? tipTable(step.name, [["", step.says, `${num(step.btc, 2)} BTC`]]) : tipTable(names[i]!, [["", "produced", `${num(i ? b.after : b.before, 2)} BTC`]]);
    } },
    series: [
      { type: "bar", stack: "b", data: clear, itemStyle: { color: "transparent" }, silent: true, barWidth: "62%" },
      { type: "bar", stack: "b", data: whole, itemStyle: { color: lib.colour("aux") } },
      { type: "bar", stack: "b", data: up, itemStyle: { color: lib.colour("grid") } },
      { type: "bar", stack: "b", data: down, itemStyle: { color: lib.colour("bad") } },
    ],
  }));
}

async function openFigure(name: string): Promise<void> {
  document.querySelector("dialog")?.remove();
  const body = h("div", {}, h("p", { class: "wait" }, "Reading…"));
  const close = h("button", { type: "button", class: "quiet" }, "Close");
  const box = h("dialog", { class: "drawer", "aria-label": "A published figure" }, h("header", {}, h("h2", {}, name), close), body);
  close.addEventListener("click", () => box.close());
  box.addEventListener("click", (e) => e.target === box && box.close());
  box.addEventListener("close", () => {
    box.remove();
    if (decodeURIComponent(location.hash.slice(1)) === name) history.replaceState(null, "", location.pathname);
  });
  document.body.append(box);
  box.showModal();
  try {
    const f = await get<FigureView>(`/api/disclosures/figure/${encodeURIComponent(name)}`);
    put(box.querySelector("h2")!, `${f.issuer} ${f.period}: ${named(f.field)}${f.scope ? ` (${f.scope})` : ""}`);
    put(body,
      h("p", { class: "figure-value" }, h("b", {}, f.claims.find((c) => c.id === f.best)?.shown ?? num(f.value, 2).replace(/\.00$/, "")), ` ${f.unit}`), h("p", { class: "note" }, f.meaning),
      f.computed ? h("code", {}, f.computed) : null,
      h("h3", {}, f.computed ? "From these printed figures" : f.claims.length > 1 ? `${f.claims.length} claims, side by side` : "Where it was printed"),
      f.claims.map((c) => claimItem(c, f)),
      h("h3", {}, "Checks"), f.verdicts.length ? h("ol", { class: "verdicts" }, f.verdicts.map(verdictItem)) : h("p", { class: "note" }, "No check applies to this figure."),
      h("p", {}, h("a", { href: `/disclosures#${f.id}` }, `Permanent link: /disclosures#${f.id}`)));
  } catch (error) {
    put(body, h("p", { class: "bad" }, (error as Error).message));
  }
}

function claimItem(c: Claim, f: FigureView): HTMLElement {
  const pair = (name: string, ...value: Child[]): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  return h("article", { class: `claim ${c.id === f.asked ? "asked" : ""}` },
    h("p", {}, h("b", {}, c.shown), ` ${c.unit} `, f.computed ? h("a", { href: `#${c.figure}` }, named(c.figure.split(".").slice(1).join(" "))) : null, c.id === f.best ? h("span", { class: "tag" }, "used") : null, c.restated ? h("span", { class: "tag" }, "restated") : null, c.approximate ? h("span", { class: "tag" }, "approximate") : null, h("span", { class: "tag" }, words(c.source_kind))),
    c.quote ? h("blockquote", {}, marked(c.quote, c.printed)) : h("p", { class: "note" }, c.method === "typed" ? "Typed in by a person from the source below; no text is kept, so there is no span." : "No quote is kept."),
    h("dl", { class: "meta" },
      pair("Source", c.source.split(" | ").map((one, i) => [i ? h("br", {}) : null, /^https?:\/\//.test(one) ? h("a", { href: one, rel: "noopener noreferrer", target: "_blank" }, one) : one])),
      pair("Published", c.published ?? "not known"), pair("Known here", c.known_at.slice(0, 10)),
      c.span ? pair("Span", `characters ${c.span[0]} to ${c.span[1]}${c.document ? ` of document ${c.document.slice(0, 16)}` : ""}`) : null,
      pair("Read by", c.rule ? `${c.method}: ${c.rule}` : c.method), c.note ? pair("Note", c.note) : null),
    withdrawal(c));
}

/** Take a claim out of the book, with a reason. */
function withdrawal(c: Claim): HTMLElement {
  const reason = h("input", { placeholder: "Why it is wrong", "aria-label": "Why it is wrong" }), button = h("button", { type: "button", class: "quiet" }, "Withdraw");
  button.addEventListener("click", () => {
    void takeOut(c.id, reason.value).then(() => document.querySelector("dialog")?.close());
  });
  return h("p", { class: "filters" }, reason, button);
}

/** The quote with the number in it set apart. */
function marked(quote: string, printed: string): Child[] {
  const at = printed ? quote.indexOf(printed) : -1;
  return at < 0 ? [quote] : [quote.slice(0, at), h("mark", {}, printed), quote.slice(at + printed.length)];
}
