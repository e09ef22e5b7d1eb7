// Inference as its operator sees it: the door now, replicas, what went wrong, who spends how much.

import { feed, get, type Replica } from "../data";
import { h, on, patch, put, say, type Child } from "../dom";
import { openRecords } from "../drawer";
import { age, brief, clock, count, DASH, day, num, si, title, words } from "../format";
import { bar, tile } from "../keys";
import { legend, panel } from "../panels";
import { meaning, type RefusedView } from "../refused";
import type { RequestRows } from "../requests";

interface Sums {
  requests: number; failed: number; lost: number; prompt_tokens: number; output_tokens: number; usd: number;
  first_token_p50_ms: number | null; first_token_p95_ms: number | null; last_at: number | null; last_seq: number | null;
}
interface Door {
  ok: boolean; detail: string; live?: number | null; waiting?: number | null; connections?: number | null; outbox_rows?: number | null;
  resumed?: number | null; refused?: Record<string, number>; ended?: Record<string, number>;
}
interface Line { project: string; model: string; requests: number; prompt_tokens: number; output_tokens: number; usd: number }
interface Tenant {
  id: string; name: string; configured: boolean; keys: number; budget_usd: number | null; requests_per_minute: number | null; tokens_per_minute: number | null;
  concurrent_requests: number | null; spent_usd: number | null; invoice_usd: number | null; lines: Line[]; hour: Sums | null;
}
interface Asked {
  seq: number; at: number; tenant: string; project: string; model: string; endpoint: string; status: number; finish: string; prompt_tokens: number;
  output_tokens: number; estimated: boolean; streamed: boolean; usd: number; first_token_ms: number | null; total_ms: number | null;
  hops: { replica: string; site_id: string; ended: string }[];
}
interface Placing { unit: string; site_id: string; model: string; replicas: number; ready: number | null; before: number | null; since: number; at_least: boolean; since_seq: number; plan_seq: number; rule: string; why: string }
interface InferenceView extends RequestRows {
  speed: number; door: Door; replicas: (Replica & { live: number | null; door_state: string | null; hour: Sums | null })[];
  tenants: Tenant[]; refused: RefusedView; month: { month: string; start: number; end: number } | null;
  hour: Sums & { moved: number; covered_s: number }; placed: Placing[]; crossed: { gateway: string; served_in: string; output_tokens: number }[]; newest: Asked[]; trouble: Asked[];
}

const USAGE = { stream: "Usage" };

export function inferencePage(root: HTMLElement): () => void {
  document.title = "Inference · Tieline";
  const streams = tile("Streams now", [USAGE, { stream: "ReplicaState" }]), rate = tile("Requests", [USAGE]), tokens = tile("Output", [USAGE]);
  const first = tile("Time to first token", [USAGE]), moved = tile("Moved and failed", [USAGE]), money = tile("Billed this month", [USAGE]);
  const replicas = h("div", { class: "scroll" }), placed = h("div", { class: "scroll long" }), refused = h("div", {}), turned = h("div", { class: "scroll long" }), tenants = h("div", { class: "scroll" }), invoices = h("div", { class: "scroll" });
  const trouble = h("div", { class: "scroll long" }), newest = h("div", { class: "scroll long" });
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": "Requests and time to first token over the last day" });
  const bill = panel("Invoices to date", "Each line is a fold of Usage, rounded once, to the cent", [USAGE], "half-width", invoices);
  put(root,
    h("h1", { class: "sr" }, "Inference"),
    h("section", { class: "keys even", "aria-label": "Key numbers" }, [streams, rate, tokens, first, moved, money].map((t) => t.el)),
    h("div", { class: "layout" },
      panel("Replicas", "Model servers behind the door; figures of the last hour", [{ stream: "ReplicaState" }], "map-panel", replicas).el,
      panel("Refused at the door", "Since the door last started; refusals are not billed", null, "side-panel", refused).el,
      panel("Placed by the plan", "Which model runs where, since when, and why: replicas by group of nodes, modelled ones included", [{ stream: "Plan" }], "full", placed).el,
      panel("Tenants", "Spend counts against the month's budget to the nano-dollar", [USAGE], "full", tenants).el,
      panel("Refused, by tenant", "Before a request was taken, in the last day; told by each gateway once a minute. Whose key is nobody's is (nobody)", [{ stream: "DoorRefusals" }], "full", turned).el,
      panel("Requests over one day", "By 5-minute interval, UTC; below, the median time to first token in ms", [USAGE], "full",
        legend([["inference", "served by one replica"], ["moved", "went on at another"], ["failed", "failed"]]), plot).el,
      bill.el,
      panel("Moved and failed", "Streams that lost a replica, and requests that ended in an error, in the last day", [USAGE], "half-width", trouble).el,
      panel("Last requests", "Newest first. Route: replicas in order, with how each part ended", [USAGE], "full", newest).el));

  let gone = false, view: InferenceView | null = null;
  let draw: ((v: InferenceView) => void) | null = null, dispose: (() => void) | null = null;
  void Promise.all([import("../chart"), import("../requests")]).then(([lib, requests]) => {
    if (gone) return;
    const chart = new lib.Chart(plot);
    draw = (v) => requests.requestChart(chart, v);
    dispose = () => chart.dispose();
    if (view) draw(view);
  });

  const load = async (): Promise<void> => {
    try {
      view = await get<InferenceView>("/api/inference");
    } catch (error) {
      say(streams.foot, (error as Error).message);
      streams.foot.classList.add("bad");
      return;
    }
    if (gone) return;
    keyNumbers(view);
    patch(replicas, replicaTable(view));
    patch(placed, placedTable(view));
    patch(refused, refusals(view.door));
    patch(turned, refusedByTenant(view.refused));
    patch(tenants, tenantTable(view));
    patch(invoices, invoiceTable(view));
    bill.note.textContent = view.month ? `${view.month.month}, ${day(view.month.start)} to ${day(view.month.end)}, running; each line is a fold of Usage, rounded once, to the cent` : "The books are being read…";
    patch(trouble, view.trouble.length ? requestTable(view.trouble.slice(0, 40), view.now, true) : h("p", { class: "wait" }, "No stream lost its replica and nothing failed in the last day."));
    patch(newest, view.newest.length ? requestTable(view.newest.slice(0, 40), view.now, false) : h("p", { class: "wait" }, "No request yet. Ask the fleet something on the overview."));
    draw?.(view);
  };

  function keyNumbers(v: InferenceView): void {
    const d = v.door, hour = v.hour, slots = v.replicas.filter((r) => r.state === "ready").reduce((t, r) => t + r.slots, 0);
    say(streams.value, num(d.live, 0));
    say(streams.unit, `of ${num(slots, 0)} slots`);
    patch(streams.extra, bar([["inference", d.live ?? 0]], slots));
    say(streams.sub, d.ok ? `${num(d.waiting, 0)} waiting · ${count(d.connections ?? 0, "connection")}` : d.detail);
    say(streams.foot, d.ok ? `told by the door now${d.outbox_rows ? ` · ${count(d.outbox_rows, "bill")} not yet stored` : ""}` : "nothing is known of the door now");
    streams.foot.classList.toggle("bad", !d.ok);

    // World time may run faster; requests and tokens are per minute and second of the wall clock.
    const wall_s = hour.covered_s / v.speed;
    say(rate.value, brief((hour.requests / wall_s) * 60));
    say(rate.unit, "a minute");
    say(rate.sub, `${num(hour.requests, 0)} in the last hour${v.speed === 1 ? "" : " of world time"}`);
    say(rate.foot, hour.last_at === null ? "none in the last hour" : `last ${age(v.now - hour.last_at)}`);

    say(tokens.value, brief(hour.output_tokens / wall_s));
    say(tokens.unit, "tok/s real");
    say(tokens.sub, `${si(hour.output_tokens)} out, ${si(hour.prompt_tokens)} in`);
    say(tokens.foot, "mean of the last hour; billed tokens only");

    say(first.value, num(hour.first_token_p50_ms, 0));
    say(first.unit, "ms, median");
    say(first.sub, `95 % within ${num(hour.first_token_p95_ms, 0)} ms`);
    say(first.foot, "last hour, from the request's arrival");

    const failed = v.rows.reduce((t, r) => t + (r[2] ?? 0), 0), shifted = v.rows.reduce((t, r) => t + (r[3] ?? 0), 0);
    say(moved.value, num(hour.moved, 0));
    say(moved.unit, `moved, ${num(hour.failed, 0)} failed`);
    say(moved.sub, `last day: ${num(shifted, 0)} moved, ${num(failed, 0)} failed`);
    say(moved.foot, "moved streams are billed once");
    moved.foot.classList.toggle("bad", hour.failed > 0);

    const billed = v.tenants.reduce((t, x) => t + (x.invoice_usd ?? 0), 0), exact = v.tenants.reduce((t, x) => t + (x.spent_usd ?? 0), 0);
    say(money.value, v.month ? num(billed, 2) : DASH);
    say(money.unit, "USD");
    say(money.sub, v.month ? `${num(exact, 6)} USD before rounding` : "the books are being read");
    say(money.foot, `${count(v.tenants.length, "tenant")}${v.month ? `, ${v.month.month} to date` : ""}`);
  }

  void load();
  const stop = feed.followAtMost(1900, () => void load());
  return () => {
    gone = true;
    stop();
    dispose?.();
  };
}

const siteName = (id: string): string => feed.overview?.sites.find((s) => s.id === id)?.name ?? id;
const siteLink = (id: string): Child => (id ? h("a", { href: `/site/${id}`, "data-nav": true }, siteName(id)) : DASH);
const ref = (seq: number): Child => h("a", { class: "ref", href: `/records/${seq}`, "data-nav": true }, `#${seq}`);
const ms = (value: number | null | undefined): string => (value === null || value === undefined ? DASH : value < 10_000 ? `${num(value, 0)} ms` : `${num(value / 1000, 1)} s`);
/** Names of columns; one that begins with > holds numbers. */
const head = (...names: string[]): HTMLElement => h("thead", {}, h("tr", {}, names.map((n) => h("th", { scope: "col", class: n.startsWith(">") ? "n" : "" }, n.replace(/^>/, "")))));

function replicaTable(v: InferenceView): Child {
  if (!v.replicas.length) return h("p", { class: "wait" }, "No replica has been heard of. The door refuses with no_capacity until one is ready.");
  const table = h("table", { class: "units list" }, head("Replica", "State", ">Streams", ">Requests", ">Tokens out", ">First token", ">Parts lost"),
    h("tbody", {}, v.replicas.map((r) => h("tr", { "data-key": r.id },
      h("th", { scope: "row" }, button(r.id, "ReplicaState", r.id), h("small", {}, siteLink(r.site_id), ` · ${r.model} · ${r.engine}`)),
      h("td", { class: r.state === "ready" ? "" : "bad" }, h("i", { class: `health ${r.state === "ready" ? "well" : "ill"}`, "aria-hidden": "true" }), r.state, h("small", {}, r.detail || `since ${age(r.age_s)}`, " ", ref(r.seq)), r.door_state && r.door_state !== r.state ? h("small", { class: "bad" }, `the door takes it for ${r.door_state}`) : null),
      h("td", { class: "n" }, r.live === null ? "not known" : `${num(r.live, 0)} of ${num(r.slots, 0)}`, bar([["inference", r.live ?? 0]], r.slots)),
      h("td", { class: "n" }, num(r.hour?.requests ?? 0, 0)),
      h("td", { class: "n" }, si(r.hour?.output_tokens ?? 0)),
      h("td", { class: "n" }, ms(r.hour?.first_token_p50_ms), r.hour ? h("small", {}, `95 %: ${ms(r.hour.first_token_p95_ms)}`) : null),
      h("td", { class: `n ${r.hour?.lost ? "bad" : ""}` }, num(r.hour?.lost ?? 0, 0))))));
  if (!v.crossed.length) return table;
  const ways = v.crossed.map((one) => `${si(one.output_tokens)} tokens from ${title(one.served_in)} to the gateway in ${title(one.gateway)}`);
  return h("div", {}, table, h("p", { class: "note" }, `Crossed between regions in the last hour: ${ways.join(", ")}.`));
}

function placedTable(v: InferenceView): Child {
  if (!v.placed.length) return h("p", { class: "wait" }, "No plan has placed a model yet.");
  return h("table", { class: "units list" }, head("Group", "Model", ">Replicas", "Since", "Why"),
    h("tbody", {}, v.placed.map((p) => h("tr", { "data-key": p.unit },
      h("th", { scope: "row" }, button(p.unit, "Plan", p.site_id), h("small", {}, siteLink(p.site_id))),
      h("td", {}, p.model || DASH),
      h("td", { class: "n" }, num(p.replicas, 0), h("small", {}, p.ready === null ? "modelled" : `${num(p.ready, 0)} real ready`)),
      h("td", {}, `${p.at_least ? "at least " : ""}${day(p.since)}, ${clock(p.since)} UTC `, ref(p.since_seq), p.before === null ? null : h("small", {}, `before: ${num(p.before, 0)}`)),
      h("td", { class: "why" }, p.why, h("small", {}, `rule: ${words(p.rule)} `, ref(p.plan_seq)))))));
}

function button(name: string, stream: string, subject: string): HTMLElement {
  const el = h("button", { type: "button", class: "quiet name" }, name);
  on(el, "click", () => openRecords(name, [{ stream, subject }]));
  return el;
}

function refusals(d: Door): Child {
  if (!d.ok) return h("p", { class: "bad" }, d.detail);
  const found = Object.entries(d.refused ?? {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const ended = Object.entries(d.ended ?? {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  return [
    found.length ? h("dl", {}, found.map(([code, n]) => h("div", {}, h("dt", {}, meaning(code), h("small", {}, code)), h("dd", {}, h("b", {}, num(n, 0)))))) : h("p", { class: "wait" }, "Nobody was refused."),
    ended.length ? [h("h3", { class: "under" }, "How parts of requests ended"), h("dl", {}, ended.map(([how, n]) => h("div", {}, h("dt", {}, words(how)), h("dd", {}, num(n, 0)))))] : null,
  ];
}

function refusedByTenant(v: RefusedView): Child {
  if (!v.rows.length) return h("p", { class: "wait" }, "Nobody was refused in the last day.");
  return [
    h("table", { class: "units list" }, head("Tenant", "Why", ">This hour", ">Last day", ">Last, UTC"),
      h("tbody", {}, v.rows.map((r) => h("tr", { "data-key": `${r.tenant} ${r.code}` },
        h("th", { scope: "row" }, button(r.tenant, "DoorRefusals", r.tenant)),
        h("td", {}, meaning(r.code), h("small", {}, r.code)),
        h("td", { class: "n" }, num(r.hour, 0)), h("td", { class: "n" }, num(r.day, 0)),
        h("td", { class: "n" }, `in the hour from ${clock(r.last)}`, h("small", {}, day(r.last))))))),
    v.more ? h("p", { class: "note" }, `${num(v.more, 0)} more rows`) : null,
  ];
}

function tenantTable(v: InferenceView): Child {
  if (!v.tenants.length) return h("p", { class: "wait" }, "No tenant is configured: whoever reaches the door may use it, so it stays on loopback.");
  return h("table", { class: "units list" }, head("Tenant", ">Last hour", ">Tokens this month", ">Billed this month", "Budget", "Limits", ">Last request"),
    h("tbody", {}, v.tenants.map((t) => {
      const share = t.budget_usd && t.spent_usd !== null ? t.spent_usd / t.budget_usd : null;
      const limits = [t.requests_per_minute !== null && `${num(t.requests_per_minute, 0)} requests/min`, t.tokens_per_minute !== null && `${num(t.tokens_per_minute, 0)} tokens/min`, t.concurrent_requests !== null && `${num(t.concurrent_requests, 0)} at once`].filter(Boolean);
      return h("tr", { "data-key": t.id },
        h("th", { scope: "row" }, button(t.name, "Usage", t.id), h("small", {}, `${t.id} · ${t.configured ? count(t.keys, "key") : "no longer configured"}`)),
        h("td", { class: "n" }, count(t.hour?.requests ?? 0, "request"), h("small", {}, `${si(t.hour?.output_tokens ?? 0)} tokens out`)),
        h("td", { class: "n" }, `${si(t.lines.reduce((n, l) => n + l.output_tokens, 0))} out`, h("small", {}, `${si(t.lines.reduce((n, l) => n + l.prompt_tokens, 0))} in`)),
        h("td", { class: "n" }, t.invoice_usd === null ? DASH : `${num(t.invoice_usd, 2)} USD`, t.spent_usd === null ? null : h("small", {}, `exactly ${num(t.spent_usd, 6)}`)),
        h("td", { class: share !== null && share > 0.9 ? "bad" : "" }, t.budget_usd === null ? "none" : [`${num(t.budget_usd, 2)} USD a month`, bar([["inference", t.spent_usd ?? 0]], t.budget_usd), h("small", {}, share === null ? "" : `${num(100 * share, share < 0.1 ? 2 : 0)} % spent`)]),
        h("td", {}, limits.length ? limits.map((l) => h("div", {}, l as string)) : "none"),
        h("td", { class: "n" }, t.hour?.last_at ? age(v.now - t.hour.last_at) : "not in the last hour", t.hour?.last_seq ? h("small", {}, ref(t.hour.last_seq)) : null));
    })));
}

function invoiceTable(v: InferenceView): Child {
  const rows = v.tenants.flatMap((t) => t.lines.map((l) => ({ t, l })));
  if (!rows.length) return h("p", { class: "wait" }, v.month ? "Nothing was billed this month yet." : "The books are being read…");
  return h("table", { class: "units list" }, head("Tenant", "Project and model", ">Requests", ">Tokens in", ">Tokens out", ">USD"),
    h("tbody", {}, rows.map(({ t, l }) => h("tr", { "data-key": `${t.id} ${l.project} ${l.model}` }, h("th", { scope: "row" }, button(t.id, "Usage", t.id)), h("td", {}, l.model, h("small", {}, l.project)), h("td", { class: "n" }, num(l.requests, 0)), h("td", { class: "n" }, si(l.prompt_tokens)), h("td", { class: "n" }, si(l.output_tokens)), h("td", { class: "n" }, num(l.usd, 2))))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row", colspan: 5 }, "To date"), h("td", { class: "n" }, h("b", {}, num(v.tenants.reduce((n, t) => n + (t.invoice_usd ?? 0), 0), 2))))));
}

function requestTable(rows: Asked[], now: number, brief_: boolean): Child {
  const names = brief_ ? ["At, UTC", "Tenant", "Route", ">Tokens out", ">Status"] : ["At, UTC", "Tenant and model", "Route", ">Tokens in", ">Tokens out", ">First token", ">Whole", ">USD", ">Status"];
  return h("table", { class: "units list requests" }, head(...names),
    h("tbody", {}, rows.map((u) => {
      const bad = u.status >= 400, state = h("td", { class: `n ${bad ? "bad" : ""}` }, num(u.status, 0), h("small", {}, words(u.finish || (bad ? "failed" : ""))));
      const when = h("td", {}, day(u.at) === day(now) ? clock(u.at) : `${day(u.at)} ${clock(u.at)}`, h("small", {}, ref(u.seq)));
      const route = h("td", {}, u.hops.length ? u.hops.map((hop, i) => [i ? " → " : "", siteLink(hop.site_id), u.hops.length > 1 ? h("small", { class: "inline" }, ` ${words(hop.ended)}`) : null]) : "no replica", h("small", {}, u.hops.map((hop) => hop.replica).join(" → ")));
      const out = h("td", { class: "n" }, num(u.output_tokens, 0), u.estimated ? h("small", {}, "estimated") : null);
      if (brief_) return h("tr", { "data-key": `#${u.seq}` }, when, h("td", {}, u.tenant, h("small", {}, u.model)), route, out, state);
      return h("tr", { "data-key": `#${u.seq}` }, when, h("td", {}, u.tenant, h("small", {}, `${u.model} · ${u.endpoint.replace("/v1/", "")}${u.streamed ? ", streamed" : ""}`)), route, h("td", { class: "n" }, num(u.prompt_tokens, 0)), out, h("td", { class: "n" }, ms(u.first_token_ms)), h("td", { class: "n" }, ms(u.total_ms)), h("td", { class: "n" }, num(u.usd, 6)), state);
    })));
}
