// The last decisions as sentences with their numbers. What happened at many sites for one reason is one line.

import type { Change, Decision, Overview } from "./data";
import { h, on, patch, type Child } from "./dom";
import { openRecords } from "./drawer";
import { brief, change as moved, count, day, clock, mw, title } from "./format";

interface Item { key: string; at: number; seqs: number[]; sites: Set<string>; cls: string; mark: string; head: Child[]; text: string; more: string[] }
interface Move { decision: Decision; change: Change }

export class Decisions {
  readonly el: HTMLElement;
  private readonly list = h("ol", { class: "decisions" });
  private readonly site = h("select", { "aria-label": "Site" }, h("option", { value: "" }, "All sites"));
  private readonly what = h("select", { "aria-label": "What" },
    h("option", { value: "" }, "Everything"), h("option", { value: "mining" }, "Mining"), h("option", { value: "inference" }, "Inference"),
    h("option", { value: "events" }, "Grid, faults, operators"));
  private overview: Overview | null = null;

  constructor(private readonly only?: string) {
    this.el = h("div", { class: "decisions-box" }, only ? null : h("div", { class: "filters" }, this.site, this.what), this.list);
    this.site.addEventListener("change", () => this.draw());
    this.what.addEventListener("change", () => this.draw());
  }

  update(o: Overview): void {
    if (!this.overview) this.site.append(...[...o.sites].sort((a, b) => a.name.localeCompare(b.name)).map((s) => h("option", { value: s.id }, s.name)));
    this.overview = o;
    this.draw();
  }

  show(decisions: Decision[], now: number): void {
    this.write(itemsOf(decisions), now);
  }

  private draw(): void {
    const o = this.overview;
    if (!o) return;
    const site = this.only ?? this.site.value, what = this.what.value;
    let shown = o.decisions.filter((d) => !site || d.site_id === site);
    if (what === "events") shown = shown.filter((d) => d.type !== "Plan");
    else if (what) {
      shown = shown.filter((d) => d.type === "Plan").map((d) => ({ ...d, changes: (d.changes ?? []).filter((c) => c.use === what) }));
    }
    this.write(itemsOf(shown), o.now);
  }

  private write(items: Item[], now: number): void {
    if (!items.length) {
      patch(this.list, h("li", { class: "wait" }, "Nothing has changed in the time shown."));
      return;
    }
    let last = "";
    const out: Child[] = [];
    for (const item of items.slice(0, 60)) {
      const when = day(item.at) === day(now) ? clock(item.at) : `${day(item.at)} ${clock(item.at)}`;
      const button = h("button", { type: "button", class: "quiet ref", title: "Records behind this" }, item.seqs.length === 1 ? `#${item.seqs[0]}` : count(item.seqs.length, "record"));
      on(button, "click", () => openRecords("Decision", [{ stream: "Plan", seqs: item.seqs.slice(0, 40) }]));
      out.push(h("li", { class: item.cls, "data-key": item.key },
        h("time", {}, when === last ? "" : when), h("i", { class: "mark", "aria-hidden": "true" }, item.mark),
        h("div", {}, h("p", { class: "what" }, item.head, " ", button), h("p", { class: "why" }, item.text),
          item.more.length ? h("details", {}, h("summary", {}, "Each"), h("ul", {}, item.more.map((m) => h("li", {}, m)))) : null)));
      last = when;
    }
    patch(this.list, out);
  }
}

function itemsOf(decisions: Decision[]): Item[] {
  const items: Item[] = [];
  const groups = new Map<string, Move[]>();
  for (const decision of decisions) {
    // An override is shown as itself; the action that says so is in the records.
    if (decision.type === "Action" && /override|history/.test(decision.what ?? "")) continue;
    if (decision.type !== "Plan") {
      items.push(eventItem(decision));
      continue;
    }
    for (const change of decision.changes ?? []) {
      const way = change.before_mw === null ? "first" : change.after_mw > change.before_mw ? "up" : change.after_mw < change.before_mw ? "down" : "same";
      const price = change.rule === "strike" ? (change.price_usd_per_mwh ?? "") : "";
      const key = [decision.at, change.use, way, change.rule, price, decision.mode].join("|");
      const group = groups.get(key);
      if (group) group.push({ decision, change });
      else groups.set(key, [{ decision, change }]);
    }
  }
  for (const [key, moves] of groups) items.push(planItem(key, moves));
  return items.sort((a, b) => b.at - a.at || Number(b.cls.includes("event")) - Number(a.cls.includes("event")) || b.seqs[0]! - a.seqs[0]!);
}

const link = (id: string, name: string): HTMLElement => h("a", { href: `/site/${id}`, "data-nav": true }, name);

function planItem(key: string, moves: Move[]): Item {
  const { decision, change } = moves[0]!;
  const before = moves.reduce((t, m) => t + (m.change.before_mw ?? 0), 0), after = moves.reduce((t, m) => t + m.change.after_mw, 0);
  const fresh = change.before_mw === null;
  const rated = Math.max(...moves.map((m) => Math.max(m.change.after_mw, m.change.before_mw ?? 0)), 0.001);
  const stops = moves.every((m) => m.change.after_mw < 0.05 * rated), starts = moves.every((m) => (m.change.before_mw ?? 0) < 0.05 * rated);
  const up = after > before;
  const sites = new Set(moves.map((m) => m.decision.site_id));
  const mode = decision.mode === "act" ? "" : decision.mode === "observe" ? " (observed only: nothing is sent)" : " (advised: waits for an operator)";
  const delta = `${up ? "+" : "−"}${mw(Math.abs(after - before))}`;
  const still = !fresh && Math.abs(after - before) <= Math.max(0.05 * moves.length, 0.02 * rated);
  const verb = still ? "stays at" : change.use === "mining"
    ? (fresh ? "begins at" : stops ? "stops mining" : starts ? "starts mining" : up ? "mines more" : "mines less")
    : (fresh ? "serves with" : up ? "serves more" : "serves less");
  const plural = still ? "stay as they are" : change.use === "mining"
    ? (fresh ? "begin at" : stops ? "stop mining" : starts ? "start mining" : up ? "mine more" : "mine less")
    : (fresh ? "serve with" : up ? "serve more" : "serve less");
  const item = { key, at: decision.at, seqs: [...new Set(moves.map((m) => m.decision.seq))], sites, cls: `${change.use} ${still ? "" : up ? "up" : "down"}`, mark: still ? "•" : up ? "▲" : "▼" };
  if (sites.size === 1) {
    const amount = fresh || still ? ` ${mw(after)}` : `: ${moved(before, after)}`;
    return { ...item, head: [link(decision.site_id, decision.site), ` ${verb}`, h("b", {}, amount)], text: change.text + mode, more: moves.slice(1).map((m) => `${m.change.unit_id}: ${m.change.text}`) };
  }
  const bids = moves.map((m) => m.change.bid_usd_per_mwh).filter((b): b is number => b !== null);
  const range = bids.length ? (Math.min(...bids) === Math.max(...bids) ? brief(bids[0]) : `${brief(Math.min(...bids))} to ${brief(Math.max(...bids))}`) : null;
  let text = `Rule: ${change.rule}.`;
  if (change.rule === "strike" && range && change.price_usd_per_mwh !== null) {
    text = `Price ${brief(change.price_usd_per_mwh)} USD/MWh ${up ? "is below" : "is not below"} their strikes (${range} USD/MWh).`;
  } else if (range && change.price_usd_per_mwh !== null) {
    const prices = moves.map((m) => m.change.price_usd_per_mwh ?? 0);
    const low = Math.min(...prices), high = Math.max(...prices);
    text = `Bids of ${range} against ${brief(low) === brief(high) ? `a price of ${brief(low)}` : `prices of ${brief(low)} to ${brief(high)}`} USD/MWh (rule: ${change.rule}).`;
  }
  return {
    ...item,
    head: [h("span", { class: "many" }, count(sites.size, "site")), ` ${plural}`, h("b", {}, fresh ? ` ${mw(after)}` : still ? `: ${mw(after)}` : `: ${delta}`)],
    text: text + mode,
    more: moves.map((m) => `${m.decision.site}: ${m.change.before_mw === null ? mw(m.change.after_mw) : moved(m.change.before_mw, m.change.after_mw)}. ${m.change.text}`),
  };
}

function eventItem(d: Decision): Item {
  const base = { key: `#${d.seq}`, at: d.at, seqs: [d.seq], sites: new Set([d.site_id]), more: [] };
  const until = d.until ? ` until ${clock(d.until)}` : "";
  const site = link(d.site_id, d.site);
  if (d.type === "Instruction") return { ...base, cls: "event order", mark: "◆", head: ["Grid order: ", site, h("b", {}, ` at most ${mw(d.limit_mw)}`)], text: `${until.trim() || "now"}, told ${d.notice_s ? `${Math.round(d.notice_s / 60)} min ahead` : "for at once"} by ${d.source}.` };
  if (d.type === "Commitment") return { ...base, cls: "event order", mark: "◇", head: [site, h("b", {}, ` ${d.status ?? ""} ${mw(d.limit_mw)}`), ` for ${d.what ?? "a commitment"}`], text: `${until.trim()}${d.usd_per_mw_h ? `, ${brief(d.usd_per_mw_h)} USD per MW and hour` : ""}. ${d.detail ?? ""}` };
  if (d.type === "Fault") return { ...base, cls: "event fault", mark: "!", head: [site, h("b", {}, ` ${d.what ?? "fault"}`)], text: `${d.detail ?? ""}${until}` };
  if (d.type === "Override") return { ...base, cls: "event hand", mark: "■", head: [site, h("b", {}, ` held at ${d.target_mw === null ? "its mode" : mw(d.target_mw)}${until}`)], text: `${d.by}: ${d.why}${d.unit_id ? ` (${d.unit_id})` : ""}` };
  return { ...base, cls: "event hand", mark: "■", head: [h("b", {}, `${d.by}: ${title(d.what ?? "")}`), ` ${(d.target ?? "").split("|")[0]}`], text: d.detail ?? "" };
}
