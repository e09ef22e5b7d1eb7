// A day of requests: how many, how many had to move or failed, and how long the first token took.

import { Chart, colour, FONT, timeAxis, tooltip, valueAxis, type Option } from "./chart";
import { clock, day, num, si } from "./format";
import { tipTable } from "./panels";

/** Rows by interval of `step_s` seconds: the first column is its beginning, Unix seconds. */
export interface RequestRows { now: number; columns: string[]; step_s: number; rows: (number | null)[][] }

export function requestChart(chart: Chart, v: RequestRows): void {
  const index = new Map(v.columns.map((c, i) => [c, i]));
  const at = (row: (number | null)[], name: string): number | null => row[index.get(name)!] ?? null;
  // A day, or less of it while there is less to show; never so little that one interval fills the plot.
  const to = (Math.floor(v.now / v.step_s) + 1) * v.step_s, first = (v.rows[0]?.[0] as number | undefined) ?? to;
  const from = Math.max(to - 86400, Math.min(first, to - 2 * 3600));
  const rows = new Map(v.rows.map((r) => [r[0] as number, r]));
  // An interval without a record had no request: that is a zero, told by the door's outbox, and not a gap.
  const steps = Array.from({ length: (to - from) / v.step_s }, (_, i) => from + i * v.step_s);
  const value = (t: number, name: string): number => at(rows.get(t) ?? [], name) ?? 0;
  const middle = (t: number): number => (t + v.step_s / 2) * 1000;
  const layer = (name: string, tone: string, of: (t: number) => number): Option => ({
    name, type: "line", stack: "requests", step: "end", xAxisIndex: 0, yAxisIndex: 0, data: [...steps.map((t) => [t * 1000, of(t)]), [to * 1000, of(to - v.step_s)]],
    showSymbol: false, lineStyle: { width: 0 }, areaStyle: { color: tone, opacity: 0.85 }, itemStyle: { color: tone }, emphasis: { disabled: true },
  });
  const axis = { color: colour("muted"), fontFamily: FONT, fontSize: 11 };
  chart.draw(() => ({
    grid: [{ left: 48, right: 12, top: 30, height: "48%" }, { left: 48, right: 12, bottom: 24, height: "22%" }],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    xAxis: [timeAxis(from, to, { gridIndex: 0, axisLabel: { show: false } }), timeAxis(from, to, { gridIndex: 1 })],
    yAxis: [
      valueAxis({ gridIndex: 0, min: 0, minInterval: 1, splitNumber: 3, axisLabel: { ...axis, formatter: (x: number) => si(x) }, name: "requests in 5 minutes", nameLocation: "end", nameGap: 12, nameTextStyle: { ...axis, align: "left", padding: [0, 0, 0, -40] } }),
      valueAxis({ gridIndex: 1, min: 0, splitNumber: 2, axisLabel: { ...axis, formatter: (x: number) => `${si(x)}` }, name: "median first token, ms", nameLocation: "end", nameGap: 12, nameTextStyle: { ...axis, align: "left", padding: [0, 0, 0, -40] } }),
    ],
    tooltip: tooltip((_, i) => {
      const t = steps[i];
      if (t === undefined) return null;
      const first = at(rows.get(t) ?? [], "first_token_p50_ms");
      return tipTable(`${day(t)}, ${clock(t)} to ${clock(t + v.step_s)} UTC`, [
        ["inference", "requests", num(value(t, "requests"), 0)], ["moved", "went on at another", num(value(t, "moved"), 0)], ["failed", "failed", num(value(t, "failed"), 0)],
        ["", "tokens out", si(value(t, "output_tokens"))], ["", "first token, median", first === null ? "–" : `${num(first, 0)} ms`],
      ]);
    }),
    series: [
      layer("served", colour("inference"), (t) => Math.max(0, value(t, "requests") - value(t, "moved") - value(t, "failed"))),
      layer("moved", colour("asked"), (t) => value(t, "moved")),
      layer("failed", colour("bad"), (t) => value(t, "failed")),
      { type: "scatter", xAxisIndex: 1, yAxisIndex: 1, symbolSize: 4, data: steps.map((t) => [middle(t), at(rows.get(t) ?? [], "first_token_p50_ms")]), itemStyle: { color: colour("inference") }, emphasis: { disabled: true } },
    ],
  }));
}
