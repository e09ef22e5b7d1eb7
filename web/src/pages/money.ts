// The pages of money: what is held and owed at a price, the books entry by entry, and the month as it is published.

import { get } from "../data";
import { h, put, type Child } from "../dom";
import { openRecords } from "../drawer";
import { DASH, day, num, stamp } from "../format";
import { btc, entriesOf, failed, panel, part, percent, pledgedFor, policyOf, range, recordsOf, spanOf, table, usd, type Of, type Range } from "./figures";
import { bridgeOf, cashPanels, monthReports, type Cash } from "./reports";
import { stressPanel } from "./stress";

interface Rung { loan_id: string; level: string; ltv: Range; trigger: Range | null; fall: string | null; coins: string | null }
interface Loan { loan_id: string; lender: string; debt: string; currency: string; pledged: string; ltv: string | null; may_rehypothecate: string }
interface Treasury {
  price: string | null; price_at: number | null; free_btc: string; pledged_btc: string; debt: string; cash_usd: string; value_usd: string | null; cost_usd: string;
  places: { account: string; btc: string; lots: number }[]; lots: { account: string; lot: string; at: number; btc: string; cost_usd: string }[]; lots_in_all: number;
  loans: Loan[]; ladder: Rung[]; open: string[];
  immature_btc: string; held_btc: string; cash: Cash; policy: string[];
  what_if: { proceeds: string; currency: string; stages: { sold: string; proceeds: string; repaid: string; debt: string; releasable: string }[]; debt: string; cash: string; free_btc: string; pledged_btc: string; gains: Record<string, string> } | null;
}
interface Entry {
  number: number | null; at: number; known_at: number; narration: string; simulated: boolean; reverses: string | null;
  refs: { stream: string; key: string }[]; postings: { account: string; amount: string; lot: string | null; cost: string | null }[];
}
interface Sum { commodity: string; opening: string | null; moved: string; closing: string | null }
interface Books {
  sums: Sum[];
  balances: { account: string; commodity: string; balance: string }[]; residual: Record<string, string>; entries: Entry[]; entries_in_all: number;
  next: number | null; open_from: number | null; unbookable: string[]; unbookable_in_all: number; policy: string[];
}
interface Release {
  month: string; title: string; state: string; figures: { name: string; label: string; shown: string; was: string | null }[];
  movements: { name: string; label: string; shown: string }[]; notes: string[]; policy: string[]; faults: string[]; steps: { state: string; by: string; at: number }[];
}

const TABS = [["/treasury", "Treasury"], ["/books", "Books"], ["/update", "Update"], ["/studies", "Studies"]] as const;
const head = (here: string, about: string): HTMLElement =>
  h("div", { class: "page-head" }, h("h1", {}, TABS.find(([href]) => href === here)![1]), h("p", { class: "note" }, about),
    h("nav", { class: "tabs", "aria-label": "Money" }, TABS.map(([href, name]) => h("a", { href, "data-nav": href === "/studies" ? null : true, "aria-current": href === here ? "page" : null }, name))));
export function treasuryPage(root: HTMLElement): () => void {
  document.title = "Treasury · Tieline";
  const body = h("div", {}), query = new URLSearchParams(location.search);
  const price = h("input", { id: "price", inputmode: "decimal", placeholder: "the newest price", value: query.get("price") ?? "", autocomplete: "off" });
  const ask = h("input", { id: "ask", size: "46", placeholder: "sell 100 BTC at 68524 for USDT, repay", value: query.get("ask") ?? "", autocomplete: "off" });
  const form = h("form", { class: "filters" }, h("label", { for: "price" }, "Price, USD per BTC"), price, h("label", { for: "ask" }, "What if"), ask, h("button", { class: "button", type: "submit" }, "Show"));
  put(root, head("/treasury", "Coins against loans, at a price. Every figure opens to the entries that make it."), form, body);
  const load = (): void => {
    const asked = new URLSearchParams([["price", price.value.trim()], ["ask", ask.value.trim()]].filter(([, v]) => v) as string[][]);
    history.replaceState(null, "", `/treasury${asked.size ? `?${asked}` : ""}`);
    get<Treasury>(`/api/treasury?${asked}`).then((t) => put(body, treasury(t, price.value.trim()))).catch((error: Error) => failed(body, error));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    load();
  });
  load();
  return () => undefined;
}

const loanOf = (loan: string, text = loan): HTMLElement => entriesOf(`Liabilities:Loans:${part(loan)}`, text);

function treasury(t: Treasury, asked: string): Child[] {
  const at: Child[] = t.price === null ? ["No price is known yet: give one."] : t.price_at === null ? [`At ${usd(t.price)} per bitcoin.`]
    : ["At ", recordsOf("Price", [{ stream: "NetworkTick", until: t.price_at + 1 }], usd(t.price)), ` per bitcoin, as of ${stamp(t.price_at)}.`];
  const what = t.what_if;
  return [
    panel("Held and owed", h("p", { class: "note" }, at),
      table(["", "Now"], [
        [entriesOf({ state: "free" }, "Free"), btc(t.free_btc)],
        ...(Number(t.immature_btc) ? [[entriesOf("Assets:Bitcoin:Immature", "Immature: blocks of one's own"), btc(t.immature_btc)]] : []),
        ...(Number(t.held_btc) ? [[entriesOf({ state: "held" }, "Held for what is pending"), btc(t.held_btc)]] : []),
        [entriesOf({ state: "pledged" }, "Pledged"), btc(t.pledged_btc)],
        [entriesOf({ account: ["Assets:Bitcoin", "Assets:CollateralReceivable"] }, "Worth, at that price"), usd(t.value_usd)], [entriesOf("Trading:USD", "Cost of it"), usd(t.cost_usd)],
        [entriesOf("Liabilities:Loans", "Debt"), usd(t.debt)], [entriesOf("Assets:Cash", "Cash"), usd(t.cash_usd)],
      ]), t.open.map((line) => h("p", { class: "note" }, `Open: ${line}.`))),
    what ? panel("What if", table(["", "Sold", "Brings", "Repaid", "Debt", "Releasable"], what.stages.map((s, i) => [`${i + 1}`, entriesOf({ state: "free" }, btc(s.sold)), usd(s.proceeds, what.currency), entriesOf("Liabilities:Loans", usd(s.repaid)), entriesOf("Liabilities:Loans", usd(s.debt)), entriesOf({ state: "pledged" }, btc(s.releasable))])),
      h("p", {}, `Then ${Number(what.debt) ? `debt ${usd(what.debt)}` : "no debt"}, ${usd(what.cash, what.currency)} in hand, ${btc(String(Number(what.free_btc) + Number(what.pledged_btc)))}.`),
      Object.keys(what.gains).length ? table(["Lots taken", "Gain"], Object.entries(what.gains).map(([name, gain]) => [name, entriesOf("Trading:USD", usd(gain))])) : h("p", { class: "note" }, "Gain: not known, the lots do not cover it.")) : null,
    t.loans.length ? panel("Loans", table(["Loan", "Lender", "Debt", "Pledged", "LTV"], t.loans.map((l) => [loanOf(l.loan_id), recordsOf(`Terms of ${l.loan_id}`, [{ stream: "Loan", subject: l.lender }, { stream: "LoanFlow", subject: l.loan_id }, { stream: "Pledge", subject: l.loan_id }], l.lender), loanOf(l.loan_id, usd(l.debt, l.currency)), entriesOf(pledgedFor(l.loan_id), btc(l.pledged)), percent(l.ltv)])),
      t.ladder.length ? table(["Level", "Loan", "LTV", "Price that reaches it", "Below the price", "Coins that then cure it"], t.ladder.map((r) => [r.level, loanOf(r.loan_id), range(r.ltv, percent), r.trigger ? range(r.trigger, usd) : DASH, r.fall === null || r.level === "initial" ? DASH : `${num(Number(r.fall), 2)} %`, r.coins === null ? DASH : btc(r.coins)])) : h("p", { class: "note" }, "No level of these loans is known.")) : panel("Loans", h("p", { class: "wait" }, "No loan is in the books. Enter one: tieline books add loan, or tieline import loans.")),
    ...(t.loans.length ? [stressPanel(asked)] : []),
    ...cashPanels(t.cash),
    panel("Where coins lie", table(["Place", "Bitcoin", "Lots"], t.places.map((p) => [entriesOf({ account: [p.account], only: true }, p.account.replace("Assets:", "")), btc(p.btc), String(p.lots)]))),
    panel("Lots", h("p", { class: "note" }, t.lots_in_all > t.lots.length ? `The first ${t.lots.length} of ${t.lots_in_all}; tieline books lots lists all.` : `${t.lots_in_all} in all, the oldest first.`),
      table(["Lot", "Place", "Acquired", "Bitcoin", "Cost"], t.lots.map((l) => [entriesOf({ account: [l.account], lot: l.lot, only: true }, l.lot, new Date(l.at * 1000).toISOString().slice(0, 7)), l.account.replace("Assets:Bitcoin:", ""), day(l.at), btc(l.btc), usd(l.cost_usd)])), policyOf(t.policy)),
  ];
}

export function booksPage(root: HTMLElement): () => void {
  document.title = "Books · Tieline";
  const query = new URLSearchParams(location.search), month = query.get("month") ?? "", of = query.get("of") ?? "";
  query.delete("of");
  const account = [...query.getAll("account"), ...(query.has("state") ? [`bitcoin that is ${query.get("state")}`] : [])].join(", ");
  const whole = account && month && !query.has("through") && !query.has("source");
  const ever = new URLSearchParams([...query].filter(([name]) => name !== "month" && name !== "lot"));
  const body = h("div", {}), reports = h("div", {});
  const asked = `/api/books?${query}`;
  put(root, head("/books", "Double entry: each entry sums to zero and opens to the records behind it."), account || month ? null : reports, body);
  if (!account && !month) monthReports(reports, of);
  get<Books>(asked)
    .then((b) => {
      const list = h("div", { class: "entries" }, b.entries.map(entry)), more = h("p", {});
      const further = (next: number | null): void => {
        if (next === null) return put(more);
        const button = h("button", { type: "button", class: "button" }, month ? "There are more: show them" : "There are older ones: show more");
        button.addEventListener("click", () => void get<Books>(`${asked}&before=${next}`).then((page) => {
          list.append(...page.entries.map(entry));
          further(page.next);
        }).catch((error: Error) => failed(more, error)));
        put(more, button);
      };
      further(b.next);
      const closed = b.open_from === null ? "No month is closed." : `Months before ${day(b.open_from)} are closed.`;
      const zero = Object.keys(b.residual).length ? `RESIDUAL ${JSON.stringify(b.residual)}` : "the book closes to zero";
      const opened = Boolean(account || month), none = h("p", { class: "wait" }, "None.");
      const entries = panel(`Entries${account ? ` of ${account}` : ""}${month ? ` in ${month}` : ""}`, h("p", { class: "note" }, whole ? [h("a", { href: `/books?${ever}`, "data-nav": true }, "Of all months"), " · "] : null, opened ? h("a", { href: "/books", "data-nav": true }, "All accounts and months") : "The newest first."), b.entries.length ? list : none, more);
      put(body,
        opened ? [sums(b.sums, month), entries] : null,
        b.unbookable_in_all ? panel("Not in the books", h("ul", {}, b.unbookable.map((line) => h("li", {}, line)))) : null,
        panel("Policy", h("ul", {}, b.policy.map((line) => h("li", {}, line))), h("p", { class: "note" }, "Chosen with: tieline books policy FILE.")),
        panel("Balances", h("p", { class: "note" }, `${num(b.entries_in_all, 0)} entries; ${zero}. ${closed}`), table(["Account", "Balance"], b.balances.map((one) => [entriesOf({ account: [one.account], only: true }, one.account), one.commodity === "BTC" ? btc(one.balance) : usd(one.balance, one.commodity)]))),
        opened ? null : entries);
    })
    .catch((error: Error) => failed(body, error));
  return () => undefined;
}

// What the entries below sum to, with the ledger's signs: what is earned and owed lies below zero.
function sums(made: Sum[], month: string): HTMLElement {
  const shown = (one: Sum, text: string | null): string => (text === null ? DASH : one.commodity === "BTC" ? btc(text) : usd(text, one.commodity));
  return panel(month ? `Sums of ${month}` : "Sum", made.length === 0 ? h("p", { class: "wait" }, "Nothing: these accounts are empty.")
    : month ? table(["", "Opening", "Moved", "Closing"], made.map((one) => [one.commodity, shown(one, one.opening), shown(one, one.moved), shown(one, one.closing)]))
      : table(["", "Balance"], made.map((one) => [one.commodity, shown(one, one.closing)])));
}

function entry(e: Entry): HTMLElement {
  const refs = e.refs.map((ref) => {
    const button = h("button", { type: "button", class: "quiet" }, ref.stream);
    // A record of this moment: an entry belongs to the last instant before its payout's, or to its own.
    button.addEventListener("click", () => openRecords(e.narration, [{ stream: ref.stream, since: e.at - 1, until: e.at + 1 }]));
    return button;
  });
  return h("details", { class: "record" }, h("summary", {}, h("span", { class: "seq" }, e.number === null ? "" : `${e.number + 1}`), h("b", {}, e.narration), e.simulated ? h("span", { class: "tag kind-simulated" }, "simulated") : null, e.reverses ? h("span", { class: "tag" }, "correction") : null, h("time", { title: `known ${stamp(e.known_at)}` }, stamp(e.at))),
    table(["Account", "Amount", "Lot", "Cost"], e.postings.map((p) => [p.account, p.amount, p.lot ?? "", p.cost ?? ""])), h("p", { class: "note" }, "From ", refs));
}

export function updatePage(root: HTMLElement): () => void {
  document.title = "Update · Tieline";
  const body = h("div", {}), asked = new URLSearchParams(location.search).get("month") ?? "";
  const month = h("input", { id: "month", type: "month", value: asked });
  const form = h("form", { class: "filters" }, h("label", { for: "month" }, "Month"), month, h("button", { class: "button", type: "submit" }, "Show"));
  put(root, head("/update", "The month as one publishes it, from the books. Two people take it there: tieline update MONTH --state."), form, body);
  const load = (): void => {
    history.replaceState(null, "", `/update${month.value ? `?month=${month.value}` : ""}`);
    get<Release>(`/api/release${month.value ? `?month=${month.value}` : ""}`)
      .then((r) => {
        month.value = r.month;
        const why = h("div", { class: "report" });
        bridgeOf(why, r.month);
        put(body,
          panel(r.title, h("p", {}, h("span", { class: "tag" }, r.state), r.steps.map((one) => h("small", {}, ` ${one.state} by ${one.by}, ${stamp(one.at)} UTC`))),
            table(["Figure", "Value"], r.figures.map((f) => [opened(f.name, f.label, r.month), f.was === null ? f.shown : `${f.shown} (restated; ${f.was} was published before)`])), r.notes.map((note) => h("p", { class: "note" }, note)), policyOf(r.policy)),
          panel("Bitcoin, from opening to closing", table(["Movement", "Bitcoin"], r.movements.map((f) => [entriesOf(MOVED[f.name] ?? "Assets:Bitcoin", f.label, r.month), f.shown]))),
          why,
          panel("What keeps it from being published", r.faults.length ? h("ul", {}, r.faults.map((line) => h("li", {}, line))) : h("p", {}, "Nothing.")));
      })
      .catch((error: Error) => failed(body, error));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    load();
  });
  load();
  return () => undefined;
}

// Where the coins of a movement went to or came from.
const MOVED: Record<string, string> = {
  brought_in: "Trading:Bitcoin:Opening", produced: "Trading:Bitcoin:Mined", bought: "Trading:Bitcoin:Bought", sold: "Trading:Bitcoin:Sold",
  fees: "Trading:Bitcoin:NetworkFees", lent: "Assets:CollateralReceivable", entered: "Trading:Bitcoin:Entered",
};
const FIGURE: Record<string, string | Of> = {
  btc_held_end: "Assets:Bitcoin", restricted_or_pledged_btc: "Assets:Bitcoin:Pledged", free_btc: { state: "free" }, cash_usd: "Assets:Cash",
  btc_sold: MOVED.sold!, btc_purchased: MOVED.bought!, service_fee_btc: MOVED.fees!, btc_brought_in: MOVED.brought_in!, btc_lenders_net: MOVED.lent!, btc_entered_net: MOVED.entered!,
};
// What makes a figure of the update: entries of an account, or records of machines.
function opened(name: string, label: string, month: string): HTMLElement {
  const [since, until] = spanOf(month), within = (stream: string) => ({ stream, since, until });
  if (name === "deployed_ehs") return recordsOf(label, [{ stream: "Deployed", until }], label);
  if (name === "avg_operating_ehs" || name === "operating_share_pct") return recordsOf(label, [within("Sample"), within("Operated"), { stream: "Deployed", until }], label);
  return entriesOf(FIGURE[name] ?? "Trading:Bitcoin:Mined", label, month);
}
