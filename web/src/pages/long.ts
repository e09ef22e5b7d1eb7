// A site over weeks and months: power, hashrate, price and what was earned, by hour or by day. A day nobody told is a gap.

import { Chart, colour, fade, FONT, timeAxis, tooltip, valueAxis, type Option } from "../chart";
import { get } from "../data";
import { h, on, put, say } from "../dom";
import { brief, clock, DASH, day, num, si } from "../format";
import { tipTable } from "../panels";

type Cell = number | null;
interface Long { step_s: number; from: number; to: number; columns: string[]; rows: Cell[][]; simulated: boolean; counted: number; last: number; whole: boolean; sums: { records: number; wh: number | null; cost_usd: string | null; made_sats: number | null; nano_usd: number; served_tokens: number } }

const SPANS: [number, string][] = [[14, "14 days"], [90, "90 days"], [365, "a year"]];
const ROWS = ["power, MW of what was heard", "hashrate, EH/s", "USD/MWh: market, paid", "mined, thousand sat a day or hour", "tokens, USD a day or hour"];

/** The chart with its choice of spans; the sums below it are exact. */
export class LongChart {
  readonly el: HTMLElement;
  private readonly chart: Chart;
  private readonly note = h("p", { class: "note" });
  private readonly buttons: HTMLButtonElement[];
  private days = 90;
  private gone = false;

  constructor(private readonly site: string) {
    const plot = h("div", { class: "plot months", role: "img", "aria-label": "Power, hashrate, prices and earnings over the span chosen" });
    this.chart = new Chart(plot);
    this.buttons = SPANS.map(([days, name]) => {
      const button = h("button", { type: "button", class: "quiet" }, name);
      on(button, "click", () => {
        this.days = days;
        void this.load();
      });
      return button;
    });
    this.el = h("div", {}, h("div", { class: "spans", role: "group", "aria-label": "Span" }, this.buttons), plot, this.note);
    void this.load();
  }

  async load(): Promise<void> {
    SPANS.forEach(([days], n) => this.buttons[n]!.setAttribute("aria-pressed", String(days === this.days)));
    try {
      const asked = this.days, long = await get<Long>(`/api/site/${encodeURIComponent(this.site)}/long?days=${asked}`);
      if (this.gone || asked !== this.days) return;
      this.show(long);
    } catch (error) {
      say(this.note, (error as Error).message);
    }
  }

  dispose(): void {
    this.gone = true;
    this.chart.dispose();
  }

  private show(long: Long): void {
    const exact = long.sums;
    const parts = [
      exact.wh === null ? "no power told" : `${num(exact.wh / 1e6, 1)} MWh as far as heard`,
      exact.cost_usd === null ? "no bill" : `power ${num(Number(exact.cost_usd), 2)} USD`,
      exact.made_sats === null ? "no hour settled" : `mined ${num(exact.made_sats / 1e8, 6)} BTC`,
      `tokens ${num(exact.nano_usd / 1e9, 2)} USD`,
    ];
    const behind = long.whole ? "" : ` Still being added up: ${num(long.counted, 0)} of ${num(long.last, 0)} records.`;
    put(this.note, `${parts.join(", ")}, added up from ${num(exact.records, 0)} records.${behind} `, long.simulated ? h("span", { class: "tag kind-simulated" }, "simulated or estimated in part") : null);
    if (!long.rows.length) {
      this.chart.wait(long.whole ? "Nothing was told of this span." : "The records are being added up by hour and day.");
      return;
    }
    const rows = whole(long);
    this.chart.draw(() => drawn(long, rows));
  }
}

/** Every hour or day of the span, those that nobody told as gaps. */
function whole(long: Long): Cell[][] {
  const known = new Map(long.rows.map((row) => [row[0] as number, row]));
  const first = long.rows[0]![0] as number, out: Cell[][] = [];
  for (let at = first; at < long.to; at += long.step_s) out.push(known.get(at) ?? [at, ...long.columns.slice(1).map(() => null)]);
  return out;
}

function drawn(long: Long, rows: Cell[][]): Option {
  const place = new Map(long.columns.map((name, n) => [name, n]));
  const at = (row: Cell[], name: string): Cell => row[place.get(name)!] ?? null;
  const span = (row: Cell[]): number => Math.max(1, Math.min(long.step_s, long.to - (row[0] as number))) / 3600;
  const paid = (row: Cell[]): Cell => {
    const cost = at(row, "cost_usd"), mwh = at(row, "billed_mwh");
    return cost === null || !mwh ? null : cost / mwh;
  };
  const power = (row: Cell[]): Cell => {
    const mwh = at(row, "mwh");
    return mwh === null ? null : mwh / span(row);
  };
  const sats = (row: Cell[]): Cell => {
    const made = at(row, "made_sats");
    return made === null ? null : made / 1e3;
  };
  const usd = (row: Cell[]): Cell => (at(row, "requests") ? (at(row, "nano_usd") ?? 0) / 1e9 : null);
  const data = (of: (row: Cell[]) => Cell): [number, Cell][] => rows.map((row) => [(row[0] as number) * 1000, of(row)]);
  const line = (n: number, name: string, of: (row: Cell[]) => Cell, paint: string, area = false, more: Option = {}): Option => ({
    name, type: "line", step: "end", xAxisIndex: n, yAxisIndex: n, data: data(of), showSymbol: rows.length < 2, emphasis: { disabled: true },
    lineStyle: { color: colour(paint), width: 1.4 }, itemStyle: { color: colour(paint) }, ...(area ? { areaStyle: { color: fade(paint, 0.18) } } : {}), ...more,
  });
  const from = rows[0]![0] as number, dashed = { lineStyle: { color: colour("asked"), width: 1.4, type: [4, 3] } };
  const label: Option = { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: (v: number) => (Math.abs(v) >= 100 ? si(v) : brief(v)) };
  return {
    grid: ROWS.map((_, n) => ({ left: 48, right: 12, top: `${3.5 + n * 19.4}%`, height: "13%" })),
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    xAxis: ROWS.map((_, gridIndex) => timeAxis(from, long.to, { gridIndex, axisLabel: gridIndex === ROWS.length - 1 ? { color: colour("muted"), fontFamily: FONT, fontSize: 11, hideOverlap: true, formatter: (ms: number) => day(ms / 1000) } : { show: false } })),
    yAxis: ROWS.map((name, gridIndex) => valueAxis({ gridIndex, splitNumber: 2, axisLabel: label, name, nameLocation: "end", nameGap: 6, nameTextStyle: { color: colour("muted"), fontFamily: FONT, fontSize: 11, align: "left", padding: [0, 0, 0, -40] } })),
    tooltip: tooltip((_, i) => {
      const row = rows[i];
      if (!row) return null;
      const t = row[0] as number, heard = at(row, "heard");
      const shown = (value: Cell, places: number): string => (value === null ? DASH : num(value, places));
      return tipTable(long.step_s === 3600 ? `${day(t)}, ${clock(t)} to ${clock(t + 3600)} UTC` : `${day(t)}, UTC`, [
        ["mining", "power", `${shown(power(row), 2)} MW`], ["", "hashrate", `${shown(at(row, "ehs"), 3)} EH/s`],
        ["limit", "market", `${shown(at(row, "market_usd_per_mwh"), 2)} USD/MWh`], ["asked", "paid", `${shown(paid(row), 2)} USD/MWh`],
        ["", "mined", `${shown(at(row, "made_sats"), 0)} sat`], ["inference", "tokens", usd(row) === null ? DASH : `${num(at(row, "served_tokens"), 0)}, ${num(usd(row), 4)} USD`],
      ], heard === null || heard > 0.995 ? undefined : `${num(100 * heard, 1)} % of its units' time was heard; the rest is not counted`);
    }),
    series: [
      line(0, "power", power, "mining", true), line(1, "hashrate", (row) => at(row, "ehs"), "mining"),
      line(2, "market", (row) => at(row, "market_usd_per_mwh"), "limit"), line(2, "paid", paid, "asked", false, dashed),
      line(3, "mined", sats, "mining"), line(4, "tokens", usd, "inference", true),
    ],
  };
}
