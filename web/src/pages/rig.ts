// One rig: what is known of it, what it did, and why its group does what it does.

import { get } from "../data";
import { h, on, patch, put, s, type Child } from "../dom";
import { age, DASH, num } from "../format";
import { when, zoneOf } from "../times";

interface Rig {
  key: string; address: string; site: string; site_id: string; group: string; model: string; firmware: string; state: string; ths: number | null; rated_ths: number; watts: number | null; j_th: number | null;
  chip_c: number | null; heard_share: number; pool: string; mac: string | null; serial: string | null; worker: string | null; starts: number[]; points: [number, number | null, number | null, number | null, number][];
  reason: string | null; commands: { at: number; what: string }[]; span: string; now: number; zone: string | null;
}

// Raw samples are kept for thirty days.
const SPANS = ["1h", "24h", "7d", "30d"], EVERY_MS = 10_000;

export function rigPage(root: HTMLElement, site: string, key: string): () => void {
  document.title = `${key} · Tieline`;
  const load = (): void => {
    const span = new URLSearchParams(location.search).get("span") ?? "1h";
    void get<Rig>(`/api/rigs/${encodeURIComponent(site)}/${encodeURIComponent(key)}?span=${encodeURIComponent(span)}`)
      .then((r) => {
        zoneOf(r.zone);
        patch(root, parts(r, load));
      })
      .catch((e: Error) => put(root, h("div", { class: "page-head" }, h("h1", {}, key), h("p", { class: "bad" }, e.message))));
  };
  load();
  const again = setInterval(() => document.hidden || load(), EVERY_MS);
  return () => {
    clearInterval(again);
    zoneOf(null);
  };
}

function parts(r: Rig, load: () => void): Child[] {
  const spans = h("div", { class: "tabs", role: "group", "aria-label": "Time range" }, SPANS.map((one) => {
    const button = h("button", { type: "button", class: "quiet", "aria-pressed": String(one === r.span) }, one);
    on(button, "click", () => {
      history.replaceState(null, "", `${location.pathname}?span=${one}`);
      load();
    });
    return button;
  }));
  const fact = (name: string, value: Child): Child => [h("dt", {}, name), h("dd", {}, value)];
  const figure = (value: number | null, digits: number, unit: string): string => (value === null ? DASH : `${num(value, digits)} ${unit}`);
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/rigs", "data-nav": true }, "Rigs"), " / ", h("a", { href: `/site/${r.site_id}`, "data-nav": true }, r.site)),
    h("div", { class: "page-head" }, h("h1", {}, r.address), h("p", { class: r.state === "mining" || r.state === "asleep" ? "note" : "bad" }, `${r.state} · ${r.model}, ${r.firmware} firmware`), spans),
    h("div", { class: "rig-charts" },
      chart("Hashrate", figure(r.ths, 1, "TH/s"), `of ${num(r.rated_ths, 1)} TH/s rated`, r.points.map((p) => [p[0], p[1]]), r.rated_ths, "use-mining"),
      chart("Power", figure(r.watts, 0, "W"), r.j_th === null ? "" : `${num(r.j_th, 1)} J/TH`, r.points.map((p) => [p[0], p[2]]), null, "use-inference"),
      chart("Chips", figure(r.chip_c, 0, "°C"), "the hottest", r.points.map((p) => [p[0], p[3]]), null, "use-aux"),
      chart("Heard", `${num(100 * r.heard_share, 0)} %`, "of the last ten minutes' sweeps", r.points.map((p) => [p[0], 100 * p[4]]), 100, "use-grid")),
    h("section", { class: "panel facts-list", "aria-label": "Facts" }, h("h2", {}, "Facts"), h("dl", {}, fact("MAC", r.mac ?? DASH), fact("Serial", r.serial ?? DASH), fact("Address", r.address), fact("Group", r.group), fact("Firmware", r.firmware), fact("Model", r.model), fact("Pool", r.pool || DASH), fact("Worker", r.worker ?? DASH),
      fact("Started", r.starts.length ? [`${r.starts.length} times in a day, last `, when(r.starts.at(-1)!), ` (${age(r.now - r.starts.at(-1)!)})`] : "not in a day"), fact("Why", r.reason ?? DASH))),
    h("section", { class: "panel", "aria-label": "Commands" }, h("h2", {}, "Commands"), r.commands.length ? h("ul", {}, r.commands.map((c) => h("li", {}, when(c.at), " ", c.what))) : h("p", { class: "note" }, "Its group was told nothing by hand and has not answered a plan yet.")),
  ];
}

/** A line over the span; where nothing was heard there is none, and an empty one says so. */
function chart(name: string, big: string, sub: string, points: [number, number | null][], top: number | null, cls: string): HTMLElement {
  const known = points.filter((p): p is [number, number] => p[1] !== null);
  const most = Math.max(top ?? 0, ...known.map((p) => p[1])) || 1, from = points[0]?.[0] ?? 0, wide = Math.max(1, (points.at(-1)?.[0] ?? 1) - from);
  const d = points.map(([at, v], i) => (v === null ? "" : `${i === 0 || points[i - 1]![1] === null ? "M" : "L"}${((at - from) / wide * 300).toFixed(1)} ${(60 - v / most * 56).toFixed(1)}`)).join("");
  const drawn = known.length > 1 ? s("svg", { viewBox: "0 0 300 62", preserveAspectRatio: "none", class: `spark ${cls}`, role: "img", "aria-label": `${name} over the span, at most ${num(most, 0)}` }, s("path", { d })) : h("p", { class: "note" }, known.length ? "Drawn from the second point on; a sweep comes each ten seconds." : "No sample in this span.");
  return h("section", { class: "panel", "aria-label": name }, h("h2", {}, name), h("p", { class: "big" }, h("span", { class: "value" }, big)), h("p", { class: "note" }, sub), drawn);
}
