// The pages of money: what is held and owed at a price, the books entry by entry, and the month as it is published.

import { get } from "../data";
import { h, put, type Child } from "../dom";
import { openRecords } from "../drawer";
import { DASH, day, num, stamp } from "../format";
import { btc, entriesOf, failed, panel, percent, policyOf, range, recordsOf, spanOf, table, usd, type Range } from "./figures";
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
interface Books {
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

function treasury(t: Treasury, asked: string): Child[] {
  const at: Child[] = t.price === null ? ["No price is known yet: give one."] : t.price_at === null ? [`At ${usd(t.price)} per bitcoin.`]
    : ["At ", recordsOf("Price", [{ stream: "NetworkTick", until: t.price_at + 1 }], usd(t.price)), ` per bitcoin, as of ${stamp(t.price_at)}.`];
  const what = t.what_if;
  return [
    panel("Held and owed", h("p", { class: "note" }, at),
      table(["", "Now"], [
        [entriesOf("Assets:Bitcoin", "Free"), btc(t.free_btc)],
        ...(Number(t.immature_btc) ? [[entriesOf("Assets:Bitcoin:Immature", "Immature: blocks of one's own"), btc(t.immature_btc)]] : []),
        ...(Number(t.held_btc) ? [[recordsOf("Holds", [{ stream: "Transfer" }], "Held for what is pending"), btc(t.held_btc)]] : []),
        [entriesOf("Assets:Bitcoin:Pledged", "Pledged"), btc(t.pledged_btc)],
        [entriesOf("Assets:Bitcoin", "Worth, at that price"), usd(t.value_usd)], [entriesOf("Trading:USD", "Cost of what is held"), usd(t.cost_usd)],
        [entriesOf("Liabilities:Loans", "Debt"), usd(t.debt)], [entriesOf("Assets:Cash", "Cash"), usd(t.cash_usd)],
      ]), t.open.map((line) => h("p", { class: "note" }, `Open: ${line}.`))),
    what ? panel("What if", table(["", "Sold", "Brings", "Repaid", "Debt", "Releasable"], what.stages.map((s, i) => [`${i + 1}`, entriesOf("Assets:Bitcoin", btc(s.sold)), usd(s.proceeds, what.currency), entriesOf("Liabilities:Loans", usd(s.repaid)), entriesOf("Liabilities:Loans", usd(s.debt)), entriesOf("Assets:Bitcoin:Pledged", btc(s.releasable))])),
      h("p", {}, `Then ${Number(what.debt) ? `debt ${usd(what.debt)}` : "no debt"}, ${usd(what.cash, what.currency)} in hand, ${btc(String(Number(what.free_btc) + Number(what.pledged_btc)))}.`),
      Object.keys(what.gains).length ? table(["Lots taken", "Gain"], Object.entries(what.gains).map(([name, gain]) => [name, entriesOf("Trading:USD", usd(gain))])) : h("p", { class: "note" }, "Gain: not known, the lots do not cover it.")) : null,
    t.loans.length ? panel("Loans", table(["Loan", "Lender", "Debt", "Pledged", "LTV"], t.loans.map((l) => [entriesOf(`Liabilities:Loans:${l.loan_id}`, l.loan_id), recordsOf(`Terms of ${l.loan_id}`, [{ stream: "Loan", subject: l.lender }, { stream: "LoanFlow", subject: l.loan_id }, { stream: "Pledge", subject: l.loan_id }], l.lender), entriesOf(`Liabilities:Loans:${l.loan_id}`, usd(l.debt, l.currency)), entriesOf(`Assets:Bitcoin:Pledged:${l.loan_id}`, btc(l.pledged)), percent(l.ltv)])),
      t.ladder.length ? table(["Level", "Loan", "LTV", "Price that reaches it", "Below the price", "Coins that then cure it"], t.ladder.map((r) => [r.level, r.loan_id, range(r.ltv, percent), r.trigger ? range(r.trigger, usd) : DASH, r.fall === null || r.level === "initial" ? DASH : `${num(Number(r.fall), 2)} %`, r.coins === null ? DASH : btc(r.coins)])) : h("p", { class: "note" }, "No level of these loans is known.")) : panel("Loans", h("p", { class: "wait" }, "No loan is in the books. Enter one: tieline books add loan, or tieline import loans.")),
    ...(t.loans.length ? [stressPanel(asked)] : []),
    ...cashPanels(t.cash),
    panel("Where coins lie", table(["Place", "Bitcoin", "Lots"], t.places.map((p) => [entriesOf(p.account, p.account.replace("Assets:", "")), btc(p.btc), String(p.lots)]))),
    panel("Lots", h("p", { class: "note" }, t.lots_in_all > t.lots.length ? `The first ${t.lots.length} of ${t.lots_in_all}; tieline books lots lists all.` : `${t.lots_in_all} in all, the oldest first.`),
      table(["Lot", "Place", "Acquired", "Bitcoin", "Cost"], t.lots.map((l) => [entriesOf(l.account, l.lot), l.account.replace("Assets:Bitcoin:", ""), day(l.at), btc(l.btc), usd(l.cost_usd)])), policyOf(t.policy)),
  ];
}

export function booksPage(root: HTMLElement): () => void {
  document.title = "Books · Tieline";
  const query = new URLSearchParams(location.search), account = query.get("account") ?? "", month = query.get("month") ?? "";
  const body = h("div", {}), reports = h("div", {});
  const asked = `/api/books?account=${encodeURIComponent(account)}${month ? `&month=${encodeURIComponent(month)}` : ""}`;
  put(root, head("/books", "Double entry: each entry sums to zero and opens to the records behind it."), account || month ? null : reports, body);
  if (!account && !month) monthReports(reports, query.get("of") ?? "");
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
      put(body,
        b.unbookable_in_all ? panel("Not in the books", h("ul", {}, b.unbookable.map((line) => h("li", {}, line)))) : null,
        panel("Policy", h("ul", {}, b.policy.map((line) => h("li", {}, line))), h("p", { class: "note" }, "Chosen with: tieline books policy FILE.")),
        panel("Balances", h("p", { class: "note" }, `${num(b.entries_in_all, 0)} entries; ${zero}. ${closed}`), table(["Account", "Balance"], b.balances.map((one) => [entriesOf(one.account, one.account), one.commodity === "BTC" ? btc(one.balance) : usd(one.balance, one.commodity)]))),
        panel(`Entries${account ? ` of ${account}` : ""}${month ? ` in ${month}` : ""}`, h("p", { class: "note" }, account || month ? h("a", { href: "/books", "data-nav": true }, "All accounts and months") : "The newest first."), b.entries.length ? list : h("p", { class: "wait" }, "None."), more));
      if (account || month) body.lastElementChild?.scrollIntoView();
    })
    .catch((error: Error) => failed(body, error));
  return () => undefined;
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
          panel("Bitcoin, from opening to closing", table(["Movement", "Bitcoin"], r.movements.map((f) => [entriesOf(MOVED[f.name] ?? "Assets:Bitcoin", f.label, f.name === "opening" || f.name === "closing" ? "" : r.month), f.shown]))),
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
  fees: "Trading:Bitcoin:NetworkFees", lent: "Trading:Bitcoin:Lent", entered: "Trading:Bitcoin:Entered",
};
// What makes a figure of the update: entries of an account, or records of machines.
function opened(name: string, label: string, month: string): HTMLElement {
  const [since, until] = spanOf(month), within = (stream: string) => ({ stream, since, until });
  if (name === "deployed_ehs") return recordsOf(label, [{ stream: "Deployed", until }], label);
  if (name === "avg_operating_ehs" || name === "operating_share_pct") return recordsOf(label, [within("Sample"), within("Operated"), { stream: "Deployed", until }], label);
  if (name === "btc_held_end") return entriesOf("Assets:Bitcoin", label);
  if (name === "restricted_or_pledged_btc") return entriesOf("Assets:Bitcoin:Pledged", label);
  if (name === "btc_sold") return entriesOf("Trading:Bitcoin:Sold", label, month);
  if (name === "cash_usd") return entriesOf("Assets:Cash", label);
  return entriesOf("Trading:Bitcoin:Mined", label, month);
}
