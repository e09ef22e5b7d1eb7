// One site: what was asked, what is drawn, under which contract and weather, and an operator's commands.

import { feed, get, post, type Curve, type Decision, type Series, type Site } from "../data";
import { h, headRow, on, patch, put, say, type Child } from "../dom";
import { Decisions } from "../decisions";
import { kindTag, openRecords } from "../drawer";
import { age, clock, DASH, ehsOf, moment, mw, num, title } from "../format";
import { DOES } from "../map";
import { legend, panel } from "../panels";
import { beside, local, zoneOf } from "../times";

interface Outcome { seq: number; result: string; cause: string; detail: string; asked_mw: number; observed_mw: number | null; last_known_mw: number | null; at: number }
interface UnitView {
  id: string; feeder: string; use: "mining" | "inference"; hardware: string; model: string; count: number; firmware?: string; serves?: string; replicas_real?: number;
  rated_mw: number; observed_mw: number | null; ehs: number | null; deployed_ehs?: number; j_per_th?: number; tokens_s: number | null; heard_s: number | null; live: boolean;
  sample_seq: number | null; devices: number | null; devices_heard: number | null; temp_c: number | null; asked_mw: number | null; shares: Record<string, number>;
  replicas: number | null; rule: string | null; reason: string | null; expected_usd_per_h: number | null; strike_usd_per_mwh: number | null; outcome: Outcome | null;
}
interface SiteView {
  now: number; site: Site; zone: string | null; cooling: string; safe_default: string; interconnect_operator: string; feeders: { id: string; load: string; limit_mw: number }[];
  contract: { basis: string; market: string | null; market_15min: string | null; scale: number; adder_usd_per_mwh: number; fixed_usd_per_mwh: number | null; take_share: number; resale: boolean; delivered_usd_per_mwh: number | null; market_usd_per_mwh: number | null; price_kind: string | null; price_source: string | null; price_seq: number | null };
  weather: { station: string | null; temp_c: number | null; station_temp_c?: number | null; offset_c?: number; age_s?: number; source?: string; kind?: string; seq?: number };
  units: UnitView[]; plan: { seq: number; at: number; valid_until: number; mode: string; decided_by: string; note: string; limit_mw: number } | null;
  confirmed: { seq: number; by: string; at: number } | null; series: Series; asked: [number, number][]; curves: Curve[]; decisions: Decision[];
  faults: { seq: number; what: string; detail: string; at: number }[]; orders: { seq: number; limit_mw: number; until: number; id: string }[];
  overrides: { seq: number; override_id: string; unit_id: string | null; target_mw: number | null; until: number; by: string; why: string }[];
  causes: { since: number; until: number; full_mwh: number; drawn_mwh: number; unheard_h: number; simulated: boolean; by_cause: { cause: string; mwh: number; btc: number }[] } | null;
  kept: { seq: number; what: string; line: string; at: number; kind: string }[];
  commitments: { seq: number; product: string; mw: number; until: number; status: string }[];
  operator: string | null; can_command: boolean;
}

const remembered = (): string => sessionStorage.getItem("operator") ?? "";

export function sitePage(root: HTMLElement, id: string): () => void {
  const head = h("div", { class: "page-head" }), alerts = h("div", { class: "alerts" }), units = h("div", { class: "scroll" });
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": "Power asked and drawn over the last day" });
  const facts = h("div", { class: "facts" }), prices = h("div", { class: "prices" }), command = h("div", { class: "command" }), causes = h("div", {}), months = h("div", {});
  const decisions = new Decisions(id);
  put(root, head, alerts,
    h("div", { class: "layout" },
      panel("Units", "Setpoint is what was asked; readback is what was observed", [{ stream: "Sample", subject: id }, { stream: "Outcome", subject: id }, { stream: "Plan", subject: id }], "full", units).el,
      panel("Power", "By 5-minute interval over one day, UTC", [{ stream: "Sample", subject: id }, { stream: "Plan", subject: id }, { stream: "PowerBill", subject: id }], "power-panel",
        legend([["mining", "mining"], ["inference", "inference"], ["aux", "auxiliary"], ["asked", "asked"], ["limit", "limit"]]), plot).el,
      panel("Contract, weather, limits", "What binds this site", null, "side-panel", facts).el,
      panel("Prices against strikes", "USD/MWh, a day back and a day ahead (dashed)", [{ stream: "PriceTick" }], "power-panel wide-prices", prices).el,
      panel("Operator", "Recorded with who and when", [{ stream: "Override", subject: id }, { stream: "Action" }], "side-panel", command).el,
      panel("Over months", "By hour or day, UTC, added up from records", [{ stream: "Sample", subject: id }, { stream: "PowerBill", subject: id }, { stream: "Shortfall", subject: id }], "full", months).el,
      panel("Below full operation", "Mining not done over the last settled day, by cause", [{ stream: "Shortfall", subject: id }, { stream: "Performance", subject: id }], "full", causes).el,
      panel("Decisions here", "What changed, and why", [{ stream: "Plan", subject: id }, { stream: "Outcome", subject: id }, { stream: "Override", subject: id }, { stream: "Instruction", subject: id }, { stream: "Fault", subject: id }], "full", decisions.el).el));

  let gone = false, view: SiteView | null = null, desk: Desk | null = null;
  let draw: ((v: SiteView) => void) | null = null, dispose: (() => void) | null = null;
  void Promise.all([import("../chart"), import("../timeline"), import("../prices"), import("./long")]).then(([lib, timeline, pricesLib, long]) => {
    if (gone) return;
    const chart = new lib.Chart(plot), over = new long.LongChart(id);
    months.append(over.el);
    const cards = new Map<string, InstanceType<typeof pricesLib.Card>>();
    draw = (v) => {
      timeline.siteChart(chart, v.series, v.asked);
      if (!v.curves.length) patch(prices, h("p", { class: "wait" }, "This site's price does not follow a market."));
      for (const curve of v.curves) {
        let card = cards.get(curve.market);
        if (!card) {
          card = new pricesLib.Card(curve.market);
          cards.set(curve.market, card);
          prices.append(card.el);
        }
        card.update({ ...curve, groups: curve.groups.filter((g) => g.site_id === id), ...own(curve, id) }, v.now);
      }
    };
    dispose = () => {
      chart.dispose();
      over.dispose();
      cards.forEach((c) => c.dispose());
    };
    if (view) draw(view);
  });

  const load = async (): Promise<void> => {
    try {
      view = await get<SiteView>(`/api/site/${encodeURIComponent(id)}`);
    } catch (error) {
      put(root, h("div", { class: "page-head" }, h("h1", {}, id), h("p", { class: "bad" }, (error as Error).message)));
      return;
    }
    if (gone) return;
    zoneOf(view.zone);
    document.title = `${view.site.name} · Tieline`;
    patch(head, heading(view));
    patch(alerts, alertsOf(view));
    patch(units, unitTable(view));
    patch(facts, factsOf(view));
    patch(causes, causesOf(view));
    decisions.show(view.decisions, view.now);
    // The form is made once, so that nothing is taken from under the hands of whoever fills it in.
    desk ??= new Desk(command, view, () => void load());
    desk.update(view);
    draw?.(view);
  };
  void load();
  const stop = feed.followAtMost(4000, () => void load());
  return () => {
    gone = true;
    zoneOf(null);
    stop();
    dispose?.();
  };
}

function own(curve: Curve, id: string): { strike_low: number | null; strike_high: number | null } {
  const known = curve.groups.filter((g) => g.site_id === id).map((g) => g.stops_above_usd_per_mwh).filter((v): v is number => v !== null && v !== undefined);
  return { strike_low: known.length ? Math.min(...known) : null, strike_high: known.length ? Math.max(...known) : null };
}

function heading(v: SiteView): Child[] {
  const s = v.site;
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/", "data-nav": true }, "Fleet"), " / ", title(s.region)),
    h("h1", {}, s.name, h("span", { class: "muted" }, ` ${s.id}`)),
    h("p", { class: "doing" }, h("i", { class: `dot ${s.does}` }), h("b", {}, DOES[s.does]), `, ${mw(s.drawn_mw)} of ${mw(s.limit_mw)} · ${ehsOf(s.ehs, s.deployed_ehs)} · heard ${age(s.age_s)}`),
    h("p", { class: "tags" }, h("span", { class: `tag mode-${s.mode}` }, { observe: "observe: nothing is sent", advise: "advise: an operator confirms", act: "act: plans are carried out" }[s.mode] ?? s.mode), h("span", { class: "tag" }, s.ownership), s.invented ? h("span", { class: "tag kind-simulated" }, "invented site") : null),
  ];
}

function alertsOf(v: SiteView): Child[] {
  return [
    v.orders.map((o) => h("p", { class: "alert order" }, h("b", {}, `Grid order: at most ${mw(o.limit_mw)}`), ` until ${moment(o.until, v.now)} UTC${beside(o.until)} `, ref(o.seq))),
    v.commitments.map((c) => h("p", { class: "alert order" }, h("b", {}, `Promised to the grid: ${mw(c.mw)}`), ` ${c.product}, ${c.status}, until ${moment(c.until, v.now)} UTC${beside(c.until)} `, ref(c.seq))),
    v.overrides.map((o) => h("p", { class: "alert hand" }, h("b", {}, `${o.unit_id ?? "The site"} is held at ${mw(o.target_mw)}`), ` until ${moment(o.until, v.now)} UTC${beside(o.until)} by ${o.by}: ${o.why} `, ref(o.seq))),
    v.faults.map((f) => h("p", { class: "alert fault" }, h("b", {}, title(f.what)), ` since ${moment(f.at, v.now)} UTC${beside(f.at)}. ${f.detail} `, ref(f.seq))),
  ];
}

const CAUSES: Record<string, string> = { economic: "price, or better used", commitment: "called promises", fault: "faults", weather: "heat", order: "grid orders", override: "operators", none: "within ratings, or a host's choice" };

function causesOf(v: SiteView): Child[] {
  const c = v.causes;
  const kept = v.kept.map((k) => h("p", { class: "note" }, h("b", {}, title(k.what)), ` ${k.line} `, ref(k.seq)));
  if (!c) return [h("p", { class: "wait" }, "No hour of the last day is settled yet."), ...kept];
  const rows = c.by_cause.map((one) => h("tr", {}, h("td", {}, CAUSES[one.cause] ?? one.cause), h("td", { class: "num" }, `${num(one.mwh, 1)} MWh`), h("td", { class: "num" }, `${num(one.btc, 5)} BTC`)));
  const whole = c.full_mwh > 0 ? (100 * c.drawn_mwh) / c.full_mwh : 0;
  return [
    h("p", { class: "note" }, `${num(c.drawn_mwh, 0)} of ${num(c.full_mwh, 0)} MWh drawn (${num(whole, 1)} %), ${moment(c.since, v.now)} to ${moment(c.until, v.now)} UTC${beside(c.until)}${c.unheard_h > 0 ? `; ${num(c.unheard_h, 1)} unit-hours not heard` : ""} `, c.simulated ? h("span", { class: "tag kind-simulated" }, "simulated") : null),
    rows.length ? h("table", {}, h("tbody", {}, rows)) : null,
    ...kept,
  ];
}

const ref = (seq: number | null | undefined): Child => (seq === null || seq === undefined ? null : h("a", { class: "ref", href: `/records/${seq}`, "data-nav": true }, `#${seq}`));

function unitTable(v: SiteView): HTMLElement {
  return h("table", { class: "units" },
    headRow(["Unit", "Setpoint", "Readback", "Hashrate or tokens", "Bid", "Heard", "Answer", "Why"]),
    h("tbody", {}, v.units.map((u) => {
      const off = u.asked_mw !== null && u.observed_mw !== null && Math.abs(u.asked_mw - u.observed_mw) > Math.max(0.05, 0.05 * u.rated_mw);
      const rate = u.use === "mining" ? ehsOf(u.ehs, u.deployed_ehs ?? 0) : u.tokens_s === null ? DASH : `${num(u.tokens_s, 0)} tok/s modelled`;
      const button = h("button", { type: "button", class: "quiet name" }, u.id);
      on(button, "click", () => openRecords(u.id, [{ stream: "Sample", subject: v.site.id, unit: u.id }, { stream: "Outcome", subject: v.site.id, unit: u.id }, { stream: "Plan", subject: v.site.id }]));
      return h("tr", { "data-key": u.id },
        h("th", { scope: "row" }, h("i", { class: `dot ${u.use}` }), button, h("small", {}, `${num(u.count, 0)} × ${u.model}${u.j_per_th ? `, ${num(u.j_per_th, 1)} J/TH` : ""}${u.serves ? `, ${u.serves}` : ""} · ${u.hardware}`)),
        h("td", { class: "n" }, mw(u.asked_mw), u.replicas !== null ? h("small", {}, `${u.replicas} replicas`) : shares(u.shares)),
        h("td", { class: `n ${off ? "bad" : ""}` }, u.observed_mw === null ? "not heard" : mw(u.observed_mw), off ? h("small", {}, "differs from the setpoint") : null),
        h("td", { class: "n" }, rate, u.devices !== null && u.devices_heard !== null && u.devices_heard < u.devices ? h("small", {}, `${num(u.devices_heard, 0)} of ${num(u.devices, 0)} heard`) : null),
        h("td", { class: "n" }, u.strike_usd_per_mwh === null ? DASH : `${num(u.strike_usd_per_mwh, 2)}`, h("small", {}, "USD/MWh")),
        h("td", { class: "n" }, age(u.heard_s), u.live ? h("small", {}, "live") : u.sample_seq ? h("small", {}, ref(u.sample_seq)) : null),
        h("td", {}, u.outcome ? [u.outcome.result.replace("_", " "), h("small", {}, u.outcome.detail, " ", ref(u.outcome.seq))] : DASH),
        h("td", { class: "why" }, u.reason ?? "no plan yet"));
    })));
}

function shares(s: Record<string, number>): Child {
  const parts = Object.entries(s).filter(([, v]) => v > 0.0005);
  return parts.length > 1 || (parts[0] && parts[0][0] !== "normal") ? h("small", {}, parts.map(([n, v]) => `${num(100 * v, 0)} % ${n}`).join(", ")) : null;
}

function factsOf(v: SiteView): Child[] {
  const c = v.contract, w = v.weather;
  const pair = (name: string, ...value: Child[]): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const basis = c.basis === "fixed" ? `fixed at ${num(c.fixed_usd_per_mwh, 2)} USD/MWh` : `${c.basis === "tou" ? "time of use" : "spot"}: ${c.market}${c.scale !== 1 ? ` × ${c.scale}` : ""}${c.adder_usd_per_mwh ? ` + ${num(c.adder_usd_per_mwh, 2)}` : ""}`;
  return [h("dl", {},
    pair("Power now", c.delivered_usd_per_mwh === null ? "no price known" : h("b", {}, `${num(c.delivered_usd_per_mwh, 2)} USD/MWh`), " at the meter ", c.price_kind ? kindTag(c.price_kind) : null, " ", ref(c.price_seq)),
    pair("Contract", basis, c.take_share > 0 ? `, take or pay for ${num(100 * c.take_share, 0)} %${c.resale ? ", may be sold back" : ""}` : ""),
    pair("Weather", w.temp_c === null ? "not known" : `${num(w.temp_c, 1)} °C (${w.station}${w.offset_c ? `, offset ${num(w.offset_c, 1)} °C` : ""}), ${age(w.age_s)} `, w.kind ? kindTag(w.kind) : null, " ", ref(w.seq)),
    v.zone && local(v.now) ? pair("Clock there", `${local(v.now)}, ${v.zone}`) : null,
    pair("Cooling", v.cooling),
    pair("Interconnect", `${mw(v.site.interconnect_mw)}${v.interconnect_operator ? `, ${v.interconnect_operator}` : ""}${v.site.limit_mw < v.site.interconnect_mw ? `; ${mw(v.site.limit_mw)} now` : ""}`),
    pair("Site meter", v.site.meter_mw === null ? "none heard: limits hold on the sum of the units" : `${mw(v.site.meter_mw)}, ${age(v.site.meter_age_s)}${v.site.drawn_mw === null ? "" : `; ${num(v.site.meter_mw - v.site.drawn_mw, 2)} MW more than its units`} `, ref(v.site.meter_seq)),
    pair("Feeders", v.feeders.map((f) => `${f.id.split(".").pop()} ${mw(f.limit_mw)} (${f.load})`).join(", ")),
    pair("Cut off, it", { mining_off: "switches mining off", hold: "holds what it does", all_off: "switches all off" }[v.safe_default] ?? v.safe_default),
    pair("Plan in force", v.plan && v.plan.valid_until <= v.now ? h("b", { class: "bad" }, `none: the last ended at ${clock(v.plan.valid_until)} UTC${beside(v.plan.valid_until)} `, ref(v.plan.seq)) : v.plan ? [`of ${clock(v.plan.at)}, valid until ${clock(v.plan.valid_until)} UTC${beside(v.plan.valid_until)}, by ${v.plan.decided_by} `, ref(v.plan.seq), v.plan.note ? h("small", {}, v.plan.note) : null] : "none"),
  )];
}

/** An operator's commands: the form once, and above it what stands, as it is told. */
class Desk {
  private readonly said = h("p", { class: "said", role: "status" });
  private readonly standing = h("div", { class: "standing" });
  private readonly who = h("input", { id: "by", maxlength: "60", value: remembered(), autocomplete: "name", required: true });
  private readonly why = h("input", { id: "why", maxlength: "500", required: true, placeholder: "for whoever reads this tomorrow" });

  constructor(box: HTMLElement, v: SiteView, private readonly done: () => void) {
    if (v.can_command) put(box, this.standing, this.form(v));
    else put(box, h("p", { class: "note" }, "This console has no link to the core: it shows, but cannot command."));
  }

  update(v: SiteView): void {
    const out: Child[] = [];
    if (v.site.mode === "advise" && v.plan && v.plan.valid_until > v.now) {
      const plan = v.plan;
      const confirm = h("button", { class: "button", type: "button" }, "Confirm this plan");
      on(confirm, "click", () => this.run("/api/confirm", { site_id: v.site.id, plan_seq: plan.seq }));
      out.push(h("div", { class: "advised", "data-key": `plan ${plan.seq}` }, h("p", {}, h("b", {}, "Advised: "), v.units.map((u) => `${u.id.split(".").pop()} ${mw(u.asked_mw)}`).join(", "), ` until ${clock(plan.valid_until)} UTC${beside(plan.valid_until)} `, ref(plan.seq)),
        v.confirmed ? h("p", { class: "good" }, `Confirmed by ${v.confirmed.by} at ${clock(v.confirmed.at)} UTC${beside(v.confirmed.at)} `, ref(v.confirmed.seq)) : confirm));
    }
    for (const o of v.overrides) {
      const end = h("button", { class: "button plain", type: "button" }, "End it now");
      on(end, "click", () => this.run("/api/override/end", { override_id: o.override_id, why: this.why.value || "no longer needed" }));
      out.push(h("p", { class: "held", "data-key": `override ${o.override_id}` }, `${o.unit_id ?? "site"} at ${mw(o.target_mw)} until ${moment(o.until, v.now)} UTC${beside(o.until)} `, end));
    }
    for (const o of v.orders) {
      const end = h("button", { class: "button plain", type: "button" }, "It was lifted");
      on(end, "click", () => this.run("/api/order/end", { instruction_id: o.id, why: this.why.value || "lifted by the grid operator" }));
      out.push(h("p", { class: "held", "data-key": `order ${o.id}` }, `grid order, at most ${mw(o.limit_mw)} until ${moment(o.until, v.now)} UTC${beside(o.until)} `, end));
    }
    if (v.site.mode !== "act" || v.site.ownership === "hosted") out.push(h("p", { class: "note" }, v.site.ownership === "hosted" ? "The host actuates here: an override is recorded and shown, and nothing is sent." : v.site.mode === "observe" ? "In observe mode nothing is sent: an override is recorded and planned with." : "In advise mode what is planned waits for a confirmation."));
    patch(this.standing, out);
  }

  private run(path: string, body: object): void {
    sessionStorage.setItem("operator", this.who.value);
    say(this.said, "Recording…");
    post<{ stored: number }>(path, { ...body, by: this.who.value }).then(() => {
      this.said.className = "said";
      say(this.said, "Recorded.");
      this.done();
    }).catch((error: Error) => {
      this.said.className = "said bad";
      say(this.said, error.message);
    });
  }

  private form(v: SiteView): HTMLElement {
    const { why } = this;
    const unit = h("select", { id: "unit" }, v.units.map((u) => h("option", { value: u.id }, `${u.id} (${u.use})`)), h("option", { value: "" }, "the whole site"));
    const target = h("input", { id: "target", type: "number", min: "0", max: String(v.site.interconnect_mw), step: "any", value: "0", required: true });
    const minutes = h("select", { id: "minutes" }, [["15", "15 minutes"], ["60", "1 hour"], ["240", "4 hours"], ["720", "12 hours"], ["1440", "1 day"]].map(([n, t]) => h("option", { value: n, selected: n === "60" }, t)));
    const kind = h("select", { id: "kind" }, h("option", { value: "hold" }, "Hold at a power"), h("option", { value: "order" }, "Grid order by telephone"));
    const send = h("button", { class: "button", type: "submit" }, "Override");
    const unitField = field("unit", "What", unit), targetField = field("target", "At, MW", target);
    const dress = (): void => {
      const order = kind.value === "order";
      unitField.hidden = order;
      say(targetField.querySelector("label")!, order ? "The site draws at most, MW" : "At, MW");
      say(send, order ? "Carry out the order" : "Override");
    };
    kind.addEventListener("change", dress);
    const form = h("form", { class: "fields" },
      v.operator ? h("p", { class: "wide note" }, `You are ${v.operator}.`) : field("by", "Your name", this.who), field("kind", "Do", kind), unitField, targetField, field("minutes", "For", minutes), h("div", { class: "wide" }, field("why", "Why", why)),
      send, this.said);
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const asked = { site_id: v.site.id, minutes: Number(minutes.value), why: why.value };
      if (kind.value === "order") this.run("/api/order", { ...asked, limit_mw: Number(target.value) });
      else this.run("/api/override", { ...asked, unit_id: unit.value || null, target_mw: Number(target.value) });
    });
    return form;
  }
}

const field = (id: string, name: string, input: HTMLElement): HTMLElement => h("div", { class: "field" }, h("label", { for: id }, name), input);
