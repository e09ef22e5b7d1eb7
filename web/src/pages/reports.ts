// Reports of a month in money: the statement with bitcoin from opening to closing, margins by site, and pools against the
// chain; and cash: where it came from, how long it lasts, what is owed by age. Every figure opens to its entries or records.

import { get } from "../data";
import { h, put, type Child } from "../dom";
import { DASH, day, num } from "../format";
import { btc, entriesOf, failed, panel, policyOf, recordsOf, spanOf, table, usd, type Of } from "./figures";

export interface Cash {
  cash: string; months: { month: string; opening: string; moved: [string, string][]; closing: string }[]; burn: string | null; runway_months: string | null;
  owed: { party: string; total: string; by_age: string[] }[];
}
interface Line { name: string; usd: string }
interface Statement {
  month: string; closed: boolean; policy: string[]; rollforward: Line[]; income: Line[]; net: string; oci: string; balance: Line[]; notes: string[];
  holdings: { place: string; btc: string; cost: string; fair_value: string | null; entity: string; restricted: string }[];
}
interface Margins {
  month: string; policy: string[]; net: string; margin: string; other: [string, string][];
  uses: { site: string; use: string; revenue: string; energy: string; demand: string; mwh: string | null; margin: string; per_mwh: string | null }[];
}
interface PoolDay { day: number; expected: number | null; due: number | null; stated: string; received: string; owed: string | null; ratio: number | null; remark: string }
interface Pools { month: string; policy: string[]; days: PoolDay[]; remarks: string[]; steps: [string, number][]; epochs: [number, number][]; luck: { found: number; expected: number; chance: number; ratio: number | null } | null }

const DAY = 86_400;
// Which account a line of the roll-forward is the movement of.
const through = (...account: string[]): string[] => account.map((name) => (name.includes(":") ? name : `Trading:Bitcoin:${name}`));
const CARRIED: Of = { account: ["Trading:USD", "Assets:BitcoinFairValue", "Assets:BitcoinImpairment", "Assets:BitcoinRevaluation"] };
const ROLLED: Record<string, string | Of> = {
  Opening: CARRIED, Closing: CARRIED, "Additions: mined": "Income:Mining", "Additions: bought": { account: ["Trading:USD"], through: through("Bought") },
  "Additions: brought into the books": { account: ["Trading:USD"], through: through("Opening") },
  "Dispositions, at what they brought": { account: ["Trading:USD", "Income:RealisedGain"], through: through("Sold", "NetworkFees", "Entered", "Assets:CollateralReceivable") },
  "Realised gains and losses": "Income:RealisedGain", "Unrealised gains and losses": "Assets:BitcoinFairValue",
  "Impairment, and what of it was taken back": "Assets:BitcoinImpairment", Revaluation: { account: ["Assets:BitcoinRevaluation", "Income:RealisedGain:RevaluedBefore"] },
};
const OF_USES = ["Income:Mining", "Income:Inference", "Income:ReservedCapacity", "Income:Credits", "Income:Grid", "Expenses:Grid", "Expenses:Power"];
const NET: Of = { account: ["Income", "Expenses"] };
// What a use's revenue is made of: what was earned, and what shares it out to sites.
const SOLD: Record<string, string[]> = { mining: ["Payout", "Sample"], inference: ["Issued", "Usage"], grid: ["Performance"] };

export function cashPanels(cash: Cash): Child[] {
  const lasts = cash.burn === null ? "no month of it has ended, so how long it lasts is not known"
    : cash.runway_months === null ? `operating brought ${usd(String(-Number(cash.burn)))} a month: it does not run out`
      : `operating used ${usd(cash.burn)} a month: it lasts ${cash.runway_months} months`;
  const names = [...new Set(cash.months.flatMap((m) => m.moved.map(([name]) => name)))];
  const moved = (m: Cash["months"][number], name: string): string => m.moved.find(([n]) => n === name)?.[1] ?? "0";
  return [
    panel("Cash", h("p", { class: "note" }, `${usd(cash.cash)} now; ${lasts}.`),
      table(["", ...cash.months.map((m) => m.month)], [
        ["Opening", ...cash.months.map((m) => entriesOf("Assets:Cash", usd(m.opening), m.month))],
        ...names.map((name) => [name, ...cash.months.map((m) => entriesOf({ account: ["Assets:Cash"], source: name }, usd(moved(m, name)), m.month))]),
        ["Closing", ...cash.months.map((m) => entriesOf("Assets:Cash", usd(m.closing), m.month))],
      ])),
    panel("Owed, by age", cash.owed.length ? table(["To", "In all", "0 to 30 days", "31 to 60", "61 to 90", "Older"], cash.owed.map((o) => [entriesOf(`Liabilities:${o.party}`, o.party), entriesOf(`Liabilities:${o.party}`, usd(o.total)), ...o.by_age.map((one) => usd(one))])) : h("p", { class: "wait" }, "Nothing is owed.")),
  ];
}

export function monthReports(root: HTMLElement, of: string): void {
  const month = h("input", { id: "of", type: "month", value: of }), out = h("div", {});
  const form = h("form", { class: "filters" }, h("label", { for: "of" }, "Reports of"), month, h("button", { class: "button", type: "submit" }, "Show"));
  put(root, form, out);
  const load = (): void => {
    const q = month.value ? `month=${encodeURIComponent(month.value)}&` : "";
    const places = ["statement", "margins", "reconciliation"].map((what) => [what, h("div", { class: "report" }, h("p", { class: "wait" }, "Reading…"))] as const);
    put(out, places.map(([, place]) => place));
    for (const [what, place] of places) {
      get<Statement & Margins & Pools>(`/api/books/month?${q}what=${what}`).then((told) => {
        month.value = told.month;
        put(place, what === "statement" ? statement(told) : what === "margins" ? margins(told) : pools(told));
      }).catch((error: Error) => failed(place, error));
    }
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    history.replaceState(null, "", `/books${month.value ? `?of=${month.value}` : ""}`);
    load();
  });
  load();
}

const BALANCE: Record<string, Of> = { "Bitcoin, as carried": CARRIED, "Other currencies, at what they were worth when they came": { account: ["Trading:Currencies"], only: true }, "Earned and kept": NET };

function statement(s: Statement): Child[] {
  const line = (one: Line, of: string | Of | undefined): Child[] => [of ? entriesOf(of, one.name, s.month) : one.name, usd(one.usd)];
  const accountOf = (name: string): Of | undefined => (/^(Assets|Liabilities|Equity|Income|Expenses):/.test(name) ? { account: [name], only: true } : BALANCE[name]);
  return [
    panel(`Bitcoin from opening to closing, ${s.month}${s.closed ? "" : " (not closed)"}`, table(["", "USD"], s.rollforward.map((one) => line(one, ROLLED[one.name]))),
      table(["Place", "Bitcoin", "Cost", "Fair value", ""], s.holdings.map((one) => [entriesOf({ account: [`Assets:${one.place}`], only: true }, one.entity ? `${one.entity}: ${one.place}` : one.place, s.month), btc(one.btc), usd(one.cost), one.fair_value === null ? "not known" : usd(one.fair_value), one.restricted])),
      s.notes.map((note) => h("p", { class: "note" }, note))),
    panel(`Income and expenses, ${s.month}`, table(["", "USD"], [...s.income.map((one) => line(one, accountOf(one.name))), ["Net", entriesOf(NET, usd(s.net), s.month)], ...(Number(s.oci) ? [["Other comprehensive income", entriesOf({ account: ["Equity:RevaluationSurplus", "Equity:RetainedEarnings:RevaluationSurplus"] }, usd(s.oci), s.month)]] : [])])),
    panel(`Owned and owed at the end of ${s.month}`, table(["", "USD"], s.balance.map((one) => line(one, accountOf(one.name))))),
  ];
}

function margins(m: Margins): Child[] {
  const [since, until] = spanOf(m.month);
  const bills = (u: Margins["uses"][number], text: string): Child => recordsOf(`Power of ${u.site || "no site"}`, [{ stream: "PowerBill", subject: u.site, since, until: until + 1 }], text);
  const all = (of: (u: Margins["uses"][number]) => string, use = ""): string => usd(String(m.uses.filter((u) => !use || u.use === use).reduce((sum, u) => sum + Number(of(u)), 0)));
  return [panel(`Margin by site and use, ${m.month}`, m.uses.length ? table(["Site", "Use", "Revenue", "Energy", "Demand", "Margin", "MWh", "Per MWh"], m.uses.map((u) => [
    u.site || "no site", u.use || "other", SOLD[u.use] ? recordsOf(`Revenue of ${u.use}`, SOLD[u.use]!.map((stream) => ({ stream, since, until: until + 1 })), usd(u.revenue)) : usd(u.revenue), bills(u, usd(u.energy)), bills(u, usd(u.demand)), usd(u.margin),
    u.mwh === null ? "not known" : bills(u, num(Number(u.mwh), 3)), u.per_mwh === null ? "not known" : usd(u.per_mwh)])) : h("p", { class: "wait" }, "Nothing was mined, served or promised."),
    table(["", "USD"], [
      ["Revenue of mining, all sites", entriesOf("Income:Mining", all((u) => u.revenue, "mining"), m.month)],
      ["Energy and demand, all sites", entriesOf("Expenses:Power", all((u) => String(Number(u.energy) + Number(u.demand))), m.month)],
      ["Margin", entriesOf({ account: OF_USES }, usd(m.margin), m.month)], ...m.other.map(([account, n]) => [entriesOf({ account: [account], only: true }, account, m.month), usd(n)]), ["Net, as in the ledger", entriesOf(NET, usd(m.net), m.month)]]))];
}

function pools(p: Pools): Child[] {
  const coins = (n: number | string | null): string => (n === null ? DASH : num(Number(n), 8));
  const within = (d: PoolDay, stream: string) => ({ stream, since: d.day, until: d.day + DAY });
  const luck = p.luck === null ? null : h("p", {}, `Blocks of one's own: ${p.luck.found}, ${num(p.luck.expected, 4)} expected${p.luck.ratio === null ? "" : `, luck ${num(p.luck.ratio, 2)}`}.`);
  return [panel(`Pools against the chain, ${p.month}`, h("p", { class: "note" }, "BTC by UTC day: what the measured hashes earn on average, what is due of it by the pool's terms, what was stated, what was received."), luck,
    p.days.length ? table(["Day", "Expected", "Due", "Stated", "Received", "Owed", "Remark"], p.days.map((d) => [day(d.day),
      recordsOf("Hashes", [within(d, "Sample"), within(d, "NetworkTick")], coins(d.expected)), coins(d.due), recordsOf("Stated", [{ stream: "Payout", since: d.day + 1, until: d.day + DAY + 1 }], coins(d.stated)), recordsOf("Received", [within(d, "Receipt")], coins(d.received)), coins(d.owed), d.remark])) : h("p", { class: "wait" }, "Nothing was heard, stated or received."),
    p.days.length ? table(["From expected to stated", "BTC"], [...p.steps.map(([name, n]) => [step(TO_STATED, name, ...spanOf(p.month)), num(n, 8)]), ...p.epochs.map(([d, n]) => [recordsOf("Network", [{ stream: "NetworkTick", since: spanOf(p.month)[0], until: spanOf(p.month)[1] }], `of the subsidy at difficulty ${num(d, 0)}`), num(n, 8)])]) : null,
    policyOf(p.policy))];
}

interface Bridge { base: string; before: string; after: string; change: string; change_pct: string; steps: { name: string; btc: string; says: string }[]; causes: { cause: string; before: string; after: string }[] }
// What a step of the bridge is made of.
const STEP: [RegExp, string[]][] = [[/^days/, ["Payout"]], [/^deployed/, ["Deployed"]], [/operating/, ["Sample", "Operated", "Deployed"]], [/difficulty/, ["NetworkTick"]], [/fees|luck/, ["Payout", "NetworkTick"]]];
// And a step from what was expected to what a pool stated.
const TO_STATED: [RegExp, string[]][] = [[/^expected/, ["Sample", "NetworkTick"]], [/^transaction/, ["NetworkTick"]], [/^pool's fee$/, ["PolicyChosen"]], [/./, ["Payout"]]];
const step = (steps: [RegExp, string[]][], name: string, since: number, until: number): Child => {
  const streams = steps.find(([said]) => said.test(name))?.[1] ?? [];
  return streams.length ? recordsOf(name, streams.map((stream) => ({ stream, since: stream === "PolicyChosen" ? undefined : since, until })), name) : name;
};
const monthBefore = (month: string): string => new Date(spanOf(month)[0] * 1000 - 1).toISOString().slice(0, 7);
const signed = (n: string): string => `${Number(n) > 0 ? "+" : ""}${n}`;

// Why a month's production changed from the one before: steps that sum to the change.
export function bridgeOf(root: HTMLElement, month: string): void {
  const named = (body: Child[]): void => put(root, panel("Why production changed", ...body));
  get<Bridge | { why_not: string }>(`/api/release/bridge?month=${month}`).then((b) => named("why_not" in b ? [h("p", { class: "wait" }, `No bridge: ${b.why_not}`)] : [
    h("p", { class: "note" }, "From ", entriesOf("Trading:Bitcoin:Mined", `${b.base}, ${b.before} BTC`, monthBefore(month)), ", to ", entriesOf("Trading:Bitcoin:Mined", `${b.after} BTC`, month), "."),
    table(["Step", "BTC", ""], [...b.steps.map((s) => [step(STEP, s.name, spanOf(monthBefore(month))[0], spanOf(month)[1]), signed(s.btc), s.says]), ["Change", entriesOf("Trading:Bitcoin:Mined", signed(b.change), month), `${signed(b.change_pct)} %`]]),
    b.causes.length ? table(["Bitcoin not earned", "Month before", "This month"], b.causes.map((c) => [recordsOf(c.cause, [{ stream: "Shortfall", since: spanOf(month)[0], until: spanOf(month)[1] }], c.cause), c.before, c.after])) : null,
  ])).catch((error: Error) => named([h("p", { class: "wait" }, `No bridge: ${error.message}`)]));
}
