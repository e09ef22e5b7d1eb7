// Figures by month, one line a miner; months that were not printed are gaps.

import { num } from "../format";
import { tipTable } from "../panels";

type Lib = typeof import("../chart");

/** `series`: miner -> [month, value]; `marked` is drawn in the mining colour, over the others. */
export function monthLines(lib: Lib, chart: import("../chart").Chart, series: Record<string, [string, number][]>, marked: string, zoomed = false): void {
  const told = Object.values(series).flatMap((points) => points.map((p) => p[0])).sort();
  const months = told.length ? between(told[0]!, told[told.length - 1]!) : [];
  const late = months[Math.max(0, months.length - 8)] ?? "";
  chart.draw(() => ({
    grid: { left: 4, right: 64, top: 12, bottom: 4, containLabel: true },
    xAxis: { type: "category", data: months, boundaryGap: false, axisLine: { lineStyle: { color: lib.colour("line-strong") } }, axisTick: { show: false }, axisLabel: { color: lib.colour("muted"), fontFamily: lib.FONT, fontSize: 11, hideOverlap: true } },
    yAxis: lib.valueAxis({ min: zoomed ? "dataMin" : 0 }),
    tooltip: {
      ...lib.tooltip(() => null),
      formatter: (points: { axisValue: string; seriesName: string; value: number | null }[]) => {
        const rows = points.filter((p) => p.value !== null && p.value !== undefined).sort((a, b) => (b.value ?? 0) - (a.value ?? 0)).slice(0, 16);
        return rows.length ? tipTable(points[0]!.axisValue, rows.map((p) => [p.seriesName === marked ? "mining" : "", p.seriesName, num(p.value, 2)])) : "";
      },
    },
    series: Object.entries(series).map(([issuer, points]) => {
      const by = new Map(points);
      const on = issuer === marked;
      return {
        type: "line", name: issuer, data: months.map((m) => by.get(m) ?? null), connectNulls: false, showSymbol: true, symbol: "circle", symbolSize: on ? 5 : 3, z: on ? 5 : 2,
        lineStyle: { color: on ? lib.colour("mining") : lib.colour("aux"), width: on ? 2.25 : 1, opacity: on ? 1 : 0.6 }, itemStyle: { color: on ? lib.colour("mining") : lib.colour("aux") },
        endLabel: { show: on || (points[points.length - 1]?.[0] ?? "") >= late, formatter: issuer, color: on ? lib.colour("mining") : lib.colour("muted"), fontSize: 11, fontFamily: lib.FONT }, labelLayout: { moveOverlap: "shiftY" }, emphasis: { focus: "series", lineStyle: { width: 2.25 } },
      };
    }),
  }));
}

/** Every month from the first to the last, so that one that nobody printed is a gap as well. */
function between(first: string, last: string): string[] {
  const from = Number(first.slice(0, 4)) * 12 + Number(first.slice(5)) - 1, to = Number(last.slice(0, 4)) * 12 + Number(last.slice(5)) - 1;
  return Array.from({ length: to - from + 1 }, (_, k) => `${Math.floor((from + k) / 12)}-${String(((from + k) % 12) + 1).padStart(2, "0")}`);
}
