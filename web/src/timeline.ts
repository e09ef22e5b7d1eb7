// Three charts of one day on one clock: power by use, hashrate, tokens. A gap is a gap.

import type { Row, Series } from "./data";
import { Chart, colour, fade, FONT, timeAxis, tooltip, valueAxis, type Option } from "./chart";
import { feed } from "./data";
import { clock, DASH, day, ehs, hashrate, mw, num, power, si } from "./format";
import { tipTable } from "./panels";

export const POWER: [string, string][] = [["mining", "mining"], ["inference", "inference"], ["aux", "auxiliary"], ["grid", "left to the grid"]];

interface Plot { rows: Row[]; at: (row: Row, name: string) => number | null; from: number; to: number }

/** Whole intervals only: the newest is dropped until nearly all units have told it. */
function plot(series: Series): Plot {
  const index = new Map(series.columns.map((c, i) => [c, i]));
  const at = (row: Row, name: string): number | null => row[index.get(name)!] ?? null;
  const rows = [...series.rows];
  for (let n = 0; n < 2 && rows.length > 1; n++) {
    const row = rows[rows.length - 1]!;
    if ((at(row, "heard") ?? 0) >= 0.8 * ((at(row, "heard") ?? 0) + (at(row, "missing") ?? 0))) break;
    rows.pop();
  }
  const last = rows.length ? (rows[rows.length - 1]![0] as number) + 300 : 0;
  const first = rows.length ? (rows[0]![0] as number) : 0;
  const from = Math.max(first, last - 86400);
  return { rows: gaps(rows.filter((r) => (r[0] as number) >= from)), at, from, to: last };
}

/** An interval that nobody told stands as nulls, so that no line is drawn across it. */
function gaps(rows: Row[]): Row[] {
  const out: Row[] = [];
  for (const row of rows) {
    const before = out[out.length - 1];
    if (before && (row[0] as number) - (before[0] as number) > 600) out.push([(before[0] as number) + 300, ...before.slice(1).map(() => null)]);
    out.push(row);
  }
  return out;
}

/** True where no interval has ended yet; the chart says when the first does. */
function waits(chart: Chart, p: Plot): boolean {
  if (p.rows.length) return false;
  chart.wait(`Drawn by intervals of five minutes: the first ends at ${clock((Math.floor(feed.now() / 300) + 1) * 300)} UTC.`);
  return true;
}

/** Labels in the unit that suits the highest of these columns. */
function powerLabel(p: Plot, names: string[]): (v: number) => string {
  const most = Math.max(...p.rows.flatMap((r) => names.map((name) => p.at(r, name) ?? 0)), 0);
  return (v) => power(v, most).join(" ").replace(/\.0+(?= )/, "");
}

const when = (at: number): string => `${day(at)}, ${clock(at)} to ${clock(at + 300)} UTC`;
const grid = (more: Option = {}): Option => ({ left: 4, right: 12, top: 14, bottom: 4, containLabel: true, ...more });
const missed = (row: Row, at: Plot["at"]): string | undefined => {
  const missing = at(row, "missing") ?? 0;
  return missing > 0 ? `${missing} of ${missing + (at(row, "heard") ?? 0)} units not heard; not counted` : undefined;
};

export function powerChart(chart: Chart, series: Series): void {
  const p = plot(series);
  if (waits(chart, p)) return;
  const data = (name: string): [number, number | null][] => p.rows.map((r) => [(r[0] as number) * 1000, p.at(r, name)]);
  const area = (name: string, column: string, line = colour(name), opacity = 0.82): Option => ({
    name, type: "line", stack: "power", data: data(column), showSymbol: false, step: "end", emphasis: { disabled: true },
    lineStyle: { width: 0 }, itemStyle: { color: line }, areaStyle: { color: line, opacity }, z: 2,
  });
  chart.draw(() => ({
    grid: grid(),
    xAxis: timeAxis(p.from, p.to),
    yAxis: valueAxis({ name: "", min: 0, axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: powerLabel(p, ["limit_mw", "mining_mw"]) } }),
    tooltip: tooltip((_, i) => {
      const r = p.rows[i];
      if (!r) return null;
      return tipTable(when(r[0] as number), [
        ["grid", "left to the grid", mw(p.at(r, "grid_mw"))], ["aux", "auxiliary", mw(p.at(r, "aux_mw"))],
        ["inference", "inference", mw(p.at(r, "inference_mw"))], ["mining", "mining", mw(p.at(r, "mining_mw"))],
        ["limit", "limit", mw(p.at(r, "limit_mw"))],
      ], missed(r, p.at));
    }),
    series: [
      area("mining", "mining_mw", colour("mining"), 0.68), area("inference", "inference_mw", colour("inference"), 0.95), area("aux", "aux_mw", colour("aux"), 0.6),
      area("grid", "grid_mw", colour("grid"), 0.2),
      { name: "limit", type: "line", step: "end", data: data("limit_mw"), showSymbol: false, lineStyle: { color: colour("ink"), width: 1.25, type: [5, 4] }, itemStyle: { color: colour("ink") }, z: 3, emphasis: { disabled: true } },
    ],
  }));
}

export function hashChart(chart: Chart, series: Series, deployed: number): void {
  const p = plot(series);
  if (waits(chart, p)) return;
  const data = p.rows.map((r) => [(r[0] as number) * 1000, p.at(r, "ehs")]);
  chart.draw(() => ({
    grid: grid(),
    xAxis: timeAxis(p.from, p.to),
    yAxis: valueAxis({ min: 0, axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: (v: number) => hashrate(v, deployed).join(" ").replace(/\.?0+(?= )/, "") } }),
    tooltip: tooltip((_, i) => {
      const r = p.rows[i];
      if (!r) return null;
      const e = p.at(r, "ehs");
      return tipTable(when(r[0] as number), [
        ["limit", "deployed", ehs(deployed)], ["mining", "operating", ehs(e)],
        ["", "share", e === null ? DASH : `${num((100 * e) / deployed, 1)} %`],
      ], missed(r, p.at));
    }),
    series: [
      { type: "line", data, step: "end", showSymbol: false, lineStyle: { color: colour("mining"), width: 2 }, areaStyle: { color: fade("mining", 0.16) }, itemStyle: { color: colour("mining") }, emphasis: { disabled: true } },
      { type: "line", data: [[p.from * 1000, deployed], [p.to * 1000, deployed]], showSymbol: false, silent: true, lineStyle: { color: colour("ink"), width: 1.25, type: [5, 4] }, tooltip: { show: false } },
    ],
  }));
}

export function tokenChart(chart: Chart, series: Series): void {
  const p = plot(series);
  if (waits(chart, p)) return;
  const data = (name: string): [number, number | null][] => p.rows.map((r) => [(r[0] as number) * 1000, p.at(r, name)]);
  const label = (v: number): string => si(v);
  chart.draw(() => ({
    grid: [
      { left: 44, right: 12, top: 24, height: "34%" },
      { left: 44, right: 12, bottom: 24, height: "34%" },
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    xAxis: [timeAxis(p.from, p.to, { gridIndex: 0, axisLabel: { show: false } }), timeAxis(p.from, p.to, { gridIndex: 1 })],
    yAxis: [0, 1].map((gridIndex) => valueAxis({ gridIndex, min: 0, splitNumber: 2, axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: label }, name: gridIndex === 0 ? "real, served to tenants" : "modelled, not served", nameLocation: "end", nameGap: 7, nameTextStyle: { color: colour("muted"), fontFamily: FONT, fontSize: 11, align: "left", padding: [0, 0, 0, -36] } })),
    tooltip: tooltip((_, i) => {
      const r = p.rows[i];
      if (!r) return null;
      return tipTable(when(r[0] as number), [
        ["inference", "real", `${si(p.at(r, "real_tokens_s"))} tok/s`], ["modelled", "modelled", `${si(p.at(r, "modelled_tokens_s"))} tok/s`],
      ], "Real tokens are counted per wall-clock second.");
    }),
    series: [
      { type: "line", step: "end", xAxisIndex: 0, yAxisIndex: 0, data: data("real_tokens_s"), showSymbol: false, lineStyle: { color: colour("inference"), width: 1.5 }, areaStyle: { color: fade("inference", 0.25) }, itemStyle: { color: colour("inference") }, emphasis: { disabled: true } },
      { type: "line", step: "end", xAxisIndex: 1, yAxisIndex: 1, data: data("modelled_tokens_s"), showSymbol: false, lineStyle: { color: colour("modelled"), width: 1.5, type: [4, 3] }, itemStyle: { color: colour("modelled") }, emphasis: { disabled: true } },
    ],
  }));
}

/** A site: what it was asked, as steps, over what was drawn. */
export function siteChart(chart: Chart, series: Series, asked: [number, number][]): void {
  const p = plot(series);
  if (waits(chart, p)) return;
  const steps: [number, number][] = [];
  for (const [at, value] of asked) {
    if (at <= p.from) steps.length = 0;
    steps.push([Math.max(at, p.from), value]);
  }
  const lastAsked = steps[steps.length - 1];
  if (lastAsked) steps.push([p.to, lastAsked[1]]);
  const data = (name: string): [number, number | null][] => p.rows.map((r) => [(r[0] as number) * 1000, p.at(r, name)]);
  const area = (name: string, column: string, opacity: number): Option => ({
    name, type: "line", stack: "power", data: data(column), showSymbol: false, step: "end", lineStyle: { width: 0 }, emphasis: { disabled: true },
    itemStyle: { color: colour(name) }, areaStyle: { color: colour(name), opacity },
  });
  const askedAt = (at: number): number | null => steps.reduce<number | null>((v, s) => (s[0] <= at ? s[1] : v), null);
  chart.draw(() => ({
    grid: grid(),
    xAxis: timeAxis(p.from, p.to),
    yAxis: valueAxis({ min: 0, axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: powerLabel(p, ["limit_mw", "mining_mw", "inference_mw"]) } }),
    tooltip: tooltip((_, i) => {
      const r = p.rows[i];
      if (!r) return null;
      const drawn = [p.at(r, "mining_mw"), p.at(r, "inference_mw"), p.at(r, "aux_mw")];
      const total = drawn[0] === null ? null : drawn.reduce<number>((t, v) => t + (v ?? 0), 0);
      const want = askedAt(r[0] as number);
      return tipTable(when(r[0] as number), [
        ["limit", "limit", mw(p.at(r, "limit_mw"))], ["asked", "asked", want === null ? DASH : mw(want)], ["", "drawn", total === null ? DASH : mw(total)],
        ["aux", "auxiliary", mw(drawn[2])], ["inference", "inference", mw(drawn[1])], ["mining", "mining", mw(drawn[0])],
      ], missed(r, p.at));
    }),
    series: [
      area("mining", "mining_mw", 0.68), area("inference", "inference_mw", 0.95), area("aux", "aux_mw", 0.6),
      { name: "asked", type: "line", step: "end", data: steps.map(([t, v]) => [t * 1000, v]), showSymbol: false, lineStyle: { color: colour("asked"), width: 2 }, itemStyle: { color: colour("asked") }, emphasis: { disabled: true }, tooltip: { show: false } },
      { name: "limit", type: "line", step: "end", data: data("limit_mw"), showSymbol: false, lineStyle: { color: colour("ink"), width: 1.25, type: [5, 4] }, itemStyle: { color: colour("ink") }, emphasis: { disabled: true } },
    ],
  }));
}
