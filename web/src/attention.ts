// What needs a person now. Calm when nothing does: one line that says so.

import { feed, type Attention, type Overview } from "./data";
import { h, on, patch, type Child } from "./dom";
import { age, clock, count, num } from "./format";

// Three sites with the same trouble are one line with three names.
const ALONE = 2, SHOWN = 6, NAMES = 4;

export class AttentionStrip {
  readonly el = h("section", { class: "attention", "aria-label": "What needs you", role: "status" });
  private told = "";
  private all = false;

  update(o: Overview): void {
    const down = o.parts.filter((p) => !p.ok).map((p): Attention => ({ level: "bad", what: `${p.name} is not well`, text: p.detail, site_id: null, site: "", seq: null, since: null }));
    const lines = [...down, ...o.attention];
    // Ages are told by the minute: a line that did not change is not drawn again under a reader's eyes.
    const text = JSON.stringify([lines, Math.floor(o.now / 60), this.all, feed.stale]);
    if (text === this.told) return;
    this.told = text;
    const urgent = lines.filter((l) => l.level !== "note");
    if (feed.stale) {
      this.withdraw(o, lines.length);
      return;
    }
    this.el.className = `attention ${urgent.some((l) => l.level === "bad") ? "bad-state" : urgent.length ? "warn-state" : "well-state"}`;
    const groups = this.all ? lines.map((l) => [l]) : grouped(lines);
    const shown = this.all ? groups : groups.slice(0, SHOWN);
    const button = h("button", { type: "button", class: "quiet" }, this.all ? "Fewer" : "Each");
    on(button, "click", () => {
      this.all = !this.all;
      this.update(o);
    });
    patch(this.el,
      h("b", { class: "lead" }, h("i", { class: `health ${urgent.length ? "ill" : "well"}`, "aria-hidden": "true" }), urgent.length ? count(urgent.length, "thing needs you", "things need you") : "Nothing needs you"),
      h("ul", {}, shown.map((g) => (g.length === 1 ? one(g[0]!, o.now) : several(g)))),
      this.all || shown.length < lines.length ? button : null);
  }

  /** Without news nothing is known to be well. */
  private withdraw(o: Overview, known: number): void {
    this.el.className = "attention warn-state";
    const before = known ? `${count(known, "thing")} stood open then.` : "Nothing stood open then.";
    patch(this.el,
      h("b", { class: "lead" }, h("i", { class: "health", "aria-hidden": "true" }), "Unknown whether anything needs you"),
      h("ul", {}, h("li", { class: "warn" }, `The console has not been heard since ${clock(o.now)} UTC. ${before}`)));
  }
}

/** Worst first, as told; what is the same at more than ALONE places (a note: at more than one) is one group. */
function grouped(lines: Attention[]): Attention[][] {
  const by = new Map<string, Attention[]>();
  for (const l of lines) by.set(`${l.level} ${l.what}`, [...(by.get(`${l.level} ${l.what}`) ?? []), l]);
  return [...by.values()].flatMap((g) => (g.length > (g[0]!.level === "note" ? 1 : ALONE) ? [g] : g.map((l) => [l])));
}

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const site = (l: Attention): Child => (l.site_id ? h("a", { href: `/site/${l.site_id}`, "data-nav": true }, l.site || l.site_id) : null);

function one(l: Attention, now: number): Child {
  return h("li", { class: l.level, "data-key": `${l.what} ${l.site_id ?? ""} ${l.seq ?? ""}` },
    h("b", {}, sentence(l.what)), " ", site(l), l.text ? `: ${l.text} ` : " ",
    l.since !== null ? h("small", {}, age(now - l.since), " ") : null,
    l.seq !== null ? h("a", { class: "ref", href: `/records/${l.seq}`, "data-nav": true }, `#${l.seq}`) : null);
}

function several(g: Attention[]): Child {
  const places = g.filter((l, i) => g.findIndex((x) => x.site_id === l.site_id) === i);
  const rest = places.length - NAMES;
  return h("li", { class: g[0]!.level, "data-key": g[0]!.what }, h("b", {}, `${sentence(g[0]!.what)}, ${num(g.length, 0)}`), ": ", places.slice(0, NAMES).map((l, i) => [i ? ", " : "", site(l)]), rest > 0 ? ` and ${rest} more` : "");
}
