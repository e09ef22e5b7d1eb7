// ECharts with only what the page draws, in the style sheet's colours, remade when the theme changes.

import { BarChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import { connect, init, use, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { h } from "./dom";
import { clock, day } from "./format";
import { colour, onTheme } from "./theme";

use([LineChart, BarChart, ScatterChart, GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent, CanvasRenderer]);

export type Option = Record<string, unknown>;
export { colour, fade } from "./theme";

const charts = new Set<Chart>();
onTheme(() => charts.forEach((c) => c.redraw()));

export class Chart {
  private chart: EChartsType | null = null;
  private readonly observer: ResizeObserver;
  private make: (() => Option) | null = null;

  constructor(readonly el: HTMLElement, private readonly group?: string) {
    charts.add(this);
    this.observer = new ResizeObserver(() => {
      if (!this.chart) this.redraw();
      else this.chart.resize();
    });
    this.observer.observe(el);
  }

  /** `make` is called again when the theme changes; it reads colours as it runs. */
  draw(make: () => Option): void {
    this.make = make;
    this.redraw();
  }

  /** Nothing to draw yet: say what is waited for. */
  wait(text: string): void {
    if (this.make === null && this.el.textContent === text) return;
    this.make = null;
    this.chart?.dispose();
    this.chart = null;
    this.el.replaceChildren(h("p", { class: "wait" }, text));
  }

  redraw(): void {
    if (!this.make || !this.el.clientWidth) return;
    if (!this.chart) {
      this.el.replaceChildren();
      this.chart = init(this.el, null, { renderer: "canvas" });
      if (this.group) {
        this.chart.group = this.group;
        connect(this.group);
      }
    }
    this.chart.setOption({ animation: false, ...this.make() }, { notMerge: true });
  }

  dispose(): void {
    charts.delete(this);
    this.observer.disconnect();
    this.chart?.dispose();
    this.chart = null;
  }
}

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

export function timeAxis(min: number, max: number, more: Option = {}): Option {
  return {
    type: "time",
    min: min * 1000,
    max: max * 1000,
    axisLine: { lineStyle: { color: colour("line-strong") } },
    axisTick: { show: false },
    splitLine: { show: false },
    axisLabel: {
      color: colour("muted"),
      fontFamily: FONT,
      fontSize: 11,
      hideOverlap: true,
      formatter: (ms: number) => (clock(ms / 1000) === "00:00" ? day(ms / 1000) : clock(ms / 1000)),
    },
    axisPointer: { label: { show: false }, lineStyle: { color: colour("muted"), type: "solid", width: 1, opacity: 0.5 } },
    ...more,
  };
}

export function valueAxis(more: Option = {}): Option {
  return {
    type: "value",
    axisLine: { show: false },
    axisTick: { show: false },
    splitNumber: 4,
    splitLine: { lineStyle: { color: colour("line"), width: 1 } },
    axisLabel: { color: colour("muted"), fontFamily: FONT, fontSize: 11, formatter: (v: number) => v.toLocaleString("en-US") },
    ...more,
  };
}

interface Hover { data: unknown[]; dataIndex: number; seriesName: string }

/** A tooltip built from elements: the content policy forbids styles in markup. */
export function tooltip(build: (at: number, index: number) => HTMLElement | null): Option {
  return {
    trigger: "axis",
    transitionDuration: 0,
    confine: true,
    className: "chart-tip",
    backgroundColor: colour("raised"),
    borderColor: colour("line-strong"),
    borderWidth: 1,
    padding: 0,
    textStyle: { color: colour("ink"), fontFamily: FONT, fontSize: 12 },
    extraCssText: "box-shadow:none",
    formatter: (p: Hover | Hover[]) => {
      const first = Array.isArray(p) ? p[0] : p;
      if (!first) return "";
      const at = (first.data as number[])[0]! / 1000;
      return build(at, first.dataIndex) ?? "";
    },
  };
}
