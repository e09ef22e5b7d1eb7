// The fleet on a map: one disc per site, its ring as large as its interconnect, filled by what it draws.
//
// Sites stand closer together than their discs are wide; discs are moved apart and a hairline leads to the
// true place. Regions are tabs; each redraws at its own scale.

import mapUrl from "../generated/map.json";
import type { Overview, Site } from "./data";
import { h, on, patch, put, s, type Child } from "./dom";
import { age, brief, ehsOf, mw, title } from "./format";
import { project } from "./projection";

// The map file counts in fifths of a map unit (build.mjs).
const FINE = 5;

interface Drawn { land: string; borders: string; states: string }
interface Disc { site: Site; x: number; y: number; x0: number; y0: number; r: number; g: SVGGElement }

let drawn: Promise<Drawn> | null = null;
const loadMap = (): Promise<Drawn> => (drawn ??= fetch(mapUrl).then((a) => a.json() as Promise<Drawn>));

export const DOES: Record<Site["does"], string> = {
  mining: "mining",
  inference: "inference only",
  grid: "left to the grid",
  unheard: "not heard",
};

export class FleetMap {
  readonly el: HTMLElement;
  private readonly stage = h("div", { class: "map-stage" });
  private readonly card = h("div", { class: "map-card", hidden: true, role: "status" });
  private readonly tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Region" });
  private svg: SVGSVGElement | null = null;
  private discs: Disc[] = [];
  private region = "all";
  private sites: Site[] = [];
  private pinned: string | null = null;
  private size = "";
  private observer: ResizeObserver;

  constructor(private readonly open: (path: string) => void) {
    const legend = h(
      "ul",
      { class: "legend" },
      (Object.keys(DOES) as Site["does"][]).map((d) => h("li", {}, h("i", { class: `dot ${d}` }), DOES[d])),
      h("li", { class: "muted" }, "ring: interconnect, disc: drawn now"),
    );
    this.el = h("div", { class: "map" }, this.tabs, h("div", { class: "map-frame" }, this.stage, this.card), legend);
    this.observer = new ResizeObserver(() => void this.draw());
    this.observer.observe(this.stage);
    this.el.addEventListener("keydown", (e) => {
      if (e.key === "Escape") this.unpin();
    });
    this.stage.addEventListener("click", (e) => {
      if (e.target === this.svg || (e.target as Element).classList.contains("land")) this.unpin();
    });
  }

  dispose(): void {
    this.observer.disconnect();
  }

  update(o: Overview): void {
    const first = this.sites.length === 0;
    this.sites = o.sites;
    if (first) {
      put(this.tabs, ["all", ...o.fleet.regions].map((r) => this.tab(r)));
      void this.draw();
    } else {
      for (const disc of this.discs) {
        const site = o.sites.find((x) => x.id === disc.site.id);
        if (site) this.paint(disc, site);
      }
      if (this.pinned) this.show(this.pinned);
    }
  }

  private tab(region: string): HTMLButtonElement {
    const sites = region === "all" ? this.sites : this.sites.filter((x) => x.region === region);
    const button = h(
      "button",
      { type: "button", role: "tab", "aria-selected": String(region === this.region) },
      region === "all" ? "All" : title(region),
      h("small", {}, sites.length),
    );
    button.addEventListener("click", () => {
      this.region = region;
      this.unpin();
      for (const other of this.tabs.children) other.setAttribute("aria-selected", String(other === button));
      this.size = "";
      void this.draw();
    });
    return button;
  }

  private async draw(): Promise<void> {
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    const size = `${width}x${height}`;
    if (!width || !this.sites.length || size === this.size) return;
    this.size = size;
    const map = await loadMap();
    const shown = this.sites.filter((x) => this.region === "all" || x.region === this.region);
    const points = shown.map((x) => project(x.lon, x.lat));
    const view = frame(points, width, height);
    const k = width / view.w;
    const biggest = Math.max(...shown.map((x) => x.interconnect_mw), 1);
    const most = Math.min(this.region === "all" ? 21 : 34, width / (this.region === "all" ? 30 : 14));
    const to = ([x, y]: [number, number]): [number, number] => [(x - view.x) * k, (y - view.y) * k];
    const land = s(
      "g",
      { transform: `scale(${k / FINE}) translate(${-view.x * FINE} ${-view.y * FINE})`, "aria-hidden": "true" },
      s("path", { class: "land", d: map.land }),
      s("path", { class: "border", d: map.borders, "vector-effect": "non-scaling-stroke" }),
      s("path", { class: "border state", d: map.states, "vector-effect": "non-scaling-stroke" }),
    );
    const leads = s("g", { class: "leads", "aria-hidden": "true" });
    const layer = s("g", {});
    this.discs = shown.map((site, i) => {
      const [x0, y0] = to(points[i]!);
      const r = Math.max(4.5, most * Math.sqrt(site.interconnect_mw / biggest));
      return { site, x: x0, y: y0, x0, y0, r, g: s("g", { class: "site", tabindex: "0", role: "button" }) };
    });
    apart(this.discs, width, height);
    for (const disc of [...this.discs].sort((a, b) => b.r - a.r)) {
      if (Math.hypot(disc.x - disc.x0, disc.y - disc.y0) > disc.r * 0.8) {
        leads.append(s("line", { x1: disc.x0, y1: disc.y0, x2: disc.x, y2: disc.y }), s("circle", { cx: disc.x0, cy: disc.y0, r: 1.3 }));
      }
      disc.g.setAttribute("transform", `translate(${disc.x.toFixed(1)} ${disc.y.toFixed(1)})`);
      const { id } = disc.site;
      disc.g.addEventListener("pointerenter", () => this.pinned === null && this.show(id));
      disc.g.addEventListener("pointerleave", () => this.pinned === null && this.hide());
      disc.g.addEventListener("focus", () => this.pinned === null && this.show(id));
      disc.g.addEventListener("blur", () => this.pinned === null && this.hide());
      disc.g.addEventListener("click", () => this.pin(id));
      disc.g.addEventListener("keydown", (e) => {
        if (e.key === "Enter" || e.key === " ") {
          e.preventDefault();
          if (this.pinned === id) this.open(`/site/${id}`);
          else this.pin(id);
        }
      });
      this.paint(disc, disc.site);
      layer.append(disc.g);
    }
    this.svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Sites on a map" }, land, leads, layer);
    put(this.stage, this.svg);
  }

  private paint(disc: Disc, site: Site): void {
    disc.site = site;
    const share = site.drawn_mw === null ? 1 : Math.min(1, Math.max(0, site.drawn_mw / site.interconnect_mw));
    const r = site.does === "unheard" ? disc.r - 2.5 : Math.max(1.4, disc.r * Math.sqrt(share));
    const alarm = site.faults.length > 0;
    patch(
      disc.g,
      site.orders.length ? s("circle", { r: disc.r + 3.5, class: "ordered" }) : null,
      s("circle", { r: disc.r, class: "ring" }),
      s("circle", { r: r.toFixed(1), class: `fill ${site.does}` }),
      site.does === "mining" && (site.inference_mw ?? 0) > 0 ? s("circle", { r: Math.max(1.3, disc.r * 0.2).toFixed(1), class: "core" }) : null,
      alarm ? s("circle", { cx: disc.r * 0.75, cy: -disc.r * 0.75, r: 3.6, class: "alarm" }) : null,
    );
    disc.g.setAttribute("aria-label", `${site.name}: ${DOES[site.does]}, ${mw(site.drawn_mw)} of ${mw(site.interconnect_mw)}`);
  }

  private pin(id: string): void {
    this.pinned = this.pinned === id ? null : id;
    if (this.pinned) this.show(id);
    else this.hide();
    for (const disc of this.discs) disc.g.classList.toggle("pinned", disc.site.id === this.pinned);
  }

  private unpin(): void {
    this.pinned = null;
    this.hide();
    for (const disc of this.discs) disc.g.classList.remove("pinned");
  }

  private hide(): void {
    this.card.hidden = true;
  }

  private show(id: string): void {
    const disc = this.discs.find((d) => d.site.id === id);
    if (!disc) return;
    patch(this.card, siteCard(disc.site, this.pinned === id, this.open));
    this.card.hidden = false;
    this.card.classList.toggle("fixed", this.pinned === id);
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    const w = this.card.offsetWidth, t = this.card.offsetHeight;
    const right = disc.x + disc.r + 10 + w < width;
    const x = right ? disc.x + disc.r + 10 : Math.max(4, disc.x - disc.r - 10 - w);
    this.card.style.left = `${Math.min(x, Math.max(4, width - w - 4))}px`;
    this.card.style.top = `${Math.max(4, Math.min(disc.y - t / 2, height - t - 4))}px`;
  }
}

function siteCard(site: Site, pinned: boolean, open: (path: string) => void): Child[] {
  const link = h("a", { href: `/site/${site.id}`, class: "button" }, "Open site");
  on(link, "click", (e) => {
    e.preventDefault();
    open(`/site/${site.id}`);
  });
  const line = (name: string, value: string): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return [
    h("header", {}, h("i", { class: `dot ${site.does}` }), h("b", {}, site.name), h("span", { class: "muted" }, site.id)),
    h("p", { class: "does" }, DOES[site.does], site.orders.length ? ` · grid order: at most ${mw(site.orders[0])}` : ""),
    h(
      "dl",
      {},
      line("Drawn", `${mw(site.drawn_mw)} of ${mw(site.limit_mw)}`),
      line("Mining", mw(site.mining_mw)),
      line("Inference", mw(site.inference_mw)),
      line("Auxiliary", mw(site.aux_mw)),
      line("Hashrate", site.ehs === null ? "not heard" : ehsOf(site.ehs, site.deployed_ehs)),
      line("Power price", site.price_usd_per_mwh === null ? "not known" : `${brief(site.price_usd_per_mwh)} USD/MWh`),
      line("Mode", `${site.mode}, ${site.ownership}${site.invented ? ", invented" : ""}`),
      line("Heard", `${site.heard} of ${site.units} units, ${age(site.age_s)}`),
    ),
    site.faults.length ? h("p", { class: "bad" }, site.faults.join(", ")) : null,
    pinned ? h("footer", {}, link) : null,
  ];
}

/** The part of the map that holds the points, with room around, in the stage's proportions. */
function frame(points: [number, number][], width: number, height: number): { x: number; y: number; w: number; h: number } {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const minX = Math.min(...xs), maxX = Math.max(...xs), minY = Math.min(...ys), maxY = Math.max(...ys);
  const pad = Math.max(26, 0.09 * Math.max(maxX - minX, maxY - minY));
  let w = maxX - minX + 2 * pad, t = maxY - minY + 2 * pad;
  if (w / t < width / height) w = (t * width) / height;
  else t = (w * height) / width;
  return { x: (minX + maxX) / 2 - w / 2, y: (minY + maxY) / 2 - t / 2, w, h: t };
}

/** Move discs apart until none overlaps, each pulled back to its place; 160 rounds settle 40 discs. */
function apart(discs: Disc[], width: number, height: number): void {
  for (let round = 0; round < 160; round++) {
    for (const d of discs) {
      d.x += (d.x0 - d.x) * 0.04;
      d.y += (d.y0 - d.y) * 0.04;
    }
    for (let i = 0; i < discs.length; i++) {
      for (let j = i + 1; j < discs.length; j++) {
        const a = discs[i]!, b = discs[j]!;
        const dx = b.x - a.x || 0.01 * (i - j), dy = b.y - a.y || 0.01, far = Math.hypot(dx, dy), want = a.r + b.r + 2;
        if (far < want) {
          const push = (want - far) / far / 2;
          a.x -= dx * push; a.y -= dy * push;
          b.x += dx * push; b.y += dy * push;
        }
      }
    }
    for (const d of discs) {
      d.x = Math.min(width - d.r - 5, Math.max(d.r + 5, d.x));
      d.y = Math.min(height - d.r - 5, Math.max(d.r + 5, d.y));
    }
  }
}
